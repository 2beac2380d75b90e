"""Videos of int8 weights: close to those of float32, repeatable, and never taken for them."""

import json

import numpy as np
import pytest
from typer.testing import CliRunner

from paha_core.cli import app
from paha_core.config import derived, load_preset
from paha_core.inference.held_out import generation_fingerprint
from paha_core.inference.inputs import InputError
from paha_core.inference.pipeline import PahaPipeline, Settings
from paha_core.models.int8 import bytes_of, is_int8
from paha_core.stages.adapt import adapt

SETTINGS = Settings(mode="sequential", steps=2, max_seconds=0.3, force=True)


@pytest.fixture(scope="module")
def preset():
    return load_preset("smoke")


@pytest.fixture(scope="module")
def rounded(trained_store, preset):
    return PahaPipeline.from_store(trained_store, preset.with_generation(weights="int8"))


def test_a_guided_video_is_close_to_that_of_float32_weights(rounded, trained_store, preset, inputs):
    whole = PahaPipeline.from_store(trained_store, preset)
    assert rounded.networks == whole.networks  # those that were trained
    assert all(map(is_int8, (rounded.univdm, *rounded.classifiers.values())))
    assert bytes_of(rounded.univdm) < 0.35 * bytes_of(whole.univdm)
    made, exact = (one(*inputs, SETTINGS)[0].frames.astype(float) for one in (rounded, whole))
    assert 0 < np.square(made - exact).mean() < 255**2 / 10**3  # 30 dB


def test_its_videos_are_not_taken_for_those_of_float32_weights(trained_store, preset):
    assert "weights" not in preset.generation.settings()  # those made before keep theirs
    both = {
        generation_fingerprint(trained_store, one, SETTINGS)
        for one in (preset, derived(preset, {"generation": {"weights": "int8"}}))
    }
    assert len(both) == 2


def test_it_takes_no_adapter_and_is_neither_saved_nor_trained(rounded, tmp_path):
    with pytest.raises(InputError, match="int8 takes no adapters"):
        rounded.load_adapter("me")
    with pytest.raises(InputError, match="can't be saved"):
        rounded.save_pretrained(tmp_path / "saved")
    with pytest.raises(InputError, match="can't be trained"):
        adapt(rounded, [], tmp_path / "me", "mine")
    assert list(tmp_path.iterdir()) == []


def test_the_sidecar_repeats_a_video_of_int8_weights(trained_store, inputs, tmp_path):
    image, audio = map(str, inputs)
    store = ["--preset", "smoke", "--store", str(trained_store.root)]
    given = ["--image", image, "--audio", audio, "--max-seconds", "0.3", "--steps", "1"]
    out = ["--mode", "unguided", "--weights", "int8", "--out", str(tmp_path / "a.mp4")]
    made = CliRunner().invoke(app, ["generate", *store, *given, *out])
    assert made.exit_code == 0, made.output
    sidecar = json.loads((tmp_path / "a.json").read_text())
    assert sidecar["preset"]["generation"]["weights"] == "int8"
    again = ["--from", str(tmp_path / "a.json"), "--out", str(tmp_path / "b.mp4")]
    repeated = CliRunner().invoke(app, ["generate", *again])
    assert "identical to the first" in repeated.output, repeated.output
