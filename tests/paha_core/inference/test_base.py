"""The base in the package: float16 with its sidecar, found by name, refused when poor."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from typer.testing import CliRunner

from paha_core.cli import app
from paha_core.config import GuidanceConfig, load_preset
from paha_core.corpora.studio import IDENTITIES, presenters
from paha_core.corpora.studio.people import person_seed
from paha_core.errors import UserError
from paha_core.inference import base, saved
from paha_core.inference.base import SIDECAR, export_base
from paha_core.inference.pipeline import PahaPipeline, Settings
from paha_core.inference.portraits import MARGIN_DB, familiar_psnr, reconstruction_psnr
from paha_core.inference.untrained import untrained_pipeline
from paha_core.store import sha256_file

UNGUIDED = Settings(mode="unguided", seed=1)
NO_FRAMES = np.zeros((0, 32, 32, 3), np.uint8)


@pytest.fixture(scope="module")
def ready(pipeline):
    return replace(pipeline, gates={"face": True, "non_face": True})


@pytest.fixture
def package(tmp_path, monkeypatch):
    """A package that has no base yet: where it would lie."""
    monkeypatch.setattr(saved, "base_folder", lambda: tmp_path / "package" / "base")
    return tmp_path / "package" / "base"


@pytest.fixture
def exported(ready, trained_store, package, picture):
    drawn = np.ascontiguousarray(np.stack([picture, picture[:, ::-1]])[:, ::8, ::8])
    command, figures = ["paha", "export", "--base"], {"lips": 0.8}
    sidecar = export_base(ready, trained_store, package, drawn, command, figures)
    return package, sidecar


def test_weights_are_float16_and_come_back_as_float32(exported, ready):
    from safetensors.torch import load_file

    folder, _ = exported
    for path in folder.rglob("*.safetensors"):
        assert {t.dtype for t in load_file(path).values() if t.is_floating_point()} == {
            torch.float16
        }
    opened = PahaPipeline.from_pretrained("base")
    assert opened.source == {"folder": str(folder)}
    assert opened.familiar_from is not None
    for name, network in (("univdm", opened.univdm), ("codec", opened.codec.autoencoder)):
        of = ready.univdm if name == "univdm" else ready.codec.autoencoder
        for key, value in of.state_dict().items():
            assert network.state_dict()[key].dtype == torch.float32
            torch.testing.assert_close(network.state_dict()[key], value.half().float())
    # the hashes in the index are those of the rounded weights
    index = json.loads((folder / "index.json").read_text())
    assert index["networks"] == opened.networks
    assert index["networks"]["univdm"]["sha256"] != ready.networks["univdm"]["sha256"]


def test_the_base_makes_the_video_of_its_rounded_networks(exported, inputs):
    image, audio = inputs
    opened = PahaPipeline.from_pretrained("base")
    made, _ = opened(image, audio, UNGUIDED)
    again, _ = PahaPipeline.from_pretrained(exported[0])(image, audio, UNGUIDED)
    np.testing.assert_array_equal(made.frames, again.frames)


def test_the_sidecar_describes_the_base(exported, ready):
    folder, sidecar = exported
    assert json.loads((folder / SIDECAR).read_text()) == sidecar
    assert sidecar["preset"] == ready.preset.name
    assert sidecar["corpus"]["code_version"] >= 5
    assert sidecar["figures"] == {"lips": 0.8}
    assert sidecar["command"] == "paha export --base"
    assert sidecar["networks"]["univdm"]["fingerprint"] == "univdm"
    for name, digest in sidecar["files"].items():
        assert sha256_file(folder / name) == digest
    assert sidecar["bytes"] == sum((folder / name).stat().st_size for name in sidecar["files"])
    assert sidecar["bytes"] < base.LIMIT_BYTES


def test_a_base_without_its_gates_is_not_shipped(pipeline, trained_store, package):
    failed = replace(pipeline, gates={"face": True, "non_face": False})
    with pytest.raises(UserError, match="non_face_classifier"):
        export_base(failed, trained_store, package, NO_FRAMES, [], {})
    assert not package.exists()


def test_a_base_that_is_too_large_is_not_shipped(ready, trained_store, package, monkeypatch):
    monkeypatch.setattr(base, "LIMIT_BYTES", 1000)
    with pytest.raises(UserError, match="MB"):
        export_base(ready, trained_store, package, NO_FRAMES, [], {})
    assert not package.exists()


def test_without_a_base_the_error_says_how_to_get_one(package):
    with pytest.raises(FileNotFoundError, match="paha export --base"):
        PahaPipeline.from_pretrained("base")
    with pytest.raises(FileNotFoundError, match="holds no pipeline"):
        PahaPipeline.from_pretrained("nowhere")


def test_the_package_carries_whatever_lies_in_base():
    import tomllib

    root = Path(__file__).parents[3]
    data = tomllib.loads((root / "pyproject.toml").read_text())
    patterns = data["tool"]["setuptools"]["package-data"]["paha_core"]
    assert "base/**/*" in patterns


class Halver:
    """A codec that gives back pictures of few colours and spoils others: it keeps 16 levels."""

    def encode(self, frames):
        return torch.from_numpy(frames // 16 * 16 + 8)

    def decode(self, latents):
        return latents.numpy()


@pytest.fixture(scope="module")
def of_the_preset():
    """Networks of the base's sizes with random weights."""
    made = untrained_pipeline(load_preset("base"))
    return replace(made, gates={"face": True, "non_face": True})


def test_the_presets_networks_fit_into_the_package(of_the_preset):
    counts = [p.numel() for net in of_the_preset.trained().values() for p in net.parameters()]
    assert 2 * sum(counts) < base.LIMIT_BYTES


def test_the_preset_makes_256_pixels_in_either_mode(of_the_preset, inputs):
    image, audio = inputs
    for mode in ("unguided", "sequential"):
        guidance = GuidanceConfig(rate=1.0)
        how = Settings(mode=mode, steps=1, max_seconds=0.4, guidance=guidance, seed=0)
        made, _ = of_the_preset(image, audio, how)
        assert made.frames.shape == (1, 10, 256, 256, 3)


def test_the_preset_trains_on_nobody_it_is_measured_on():
    studio = load_preset("base").corpora.studio
    known = presenters(studio.people, studio.people_seed)
    assert len(known) >= 200
    assert not set(known) & set(IDENTITIES)
    assert max(map(person_seed, known)) < 100_000


def test_familiar_pictures_are_those_that_the_codec_gives_back():
    flat = np.full((8, 16, 16, 3), 40, np.uint8)
    noise = np.random.default_rng(0).integers(0, 256, (8, 16, 16, 3)).astype(np.uint8)
    assert np.isfinite(reconstruction_psnr(Halver(), flat)).all()
    limit = familiar_psnr(Halver(), flat)
    assert limit == pytest.approx(reconstruction_psnr(Halver(), flat).min() - MARGIN_DB)
    assert (reconstruction_psnr(Halver(), noise) < reconstruction_psnr(Halver(), flat)).all()


# the command --------------------------------------------------------------------------------------


def paha(*arguments):
    return CliRunner().invoke(app, [*map(str, arguments)])


def test_generate_uses_the_base_where_nothing_else_is_named(exported, inputs, tmp_path):
    out = tmp_path / "spoken.mp4"
    how = ("--mode", "unguided", "--steps", 1, "--size", 64, "--max-seconds", 0.4)
    done = paha("generate", "--image", inputs[0], "--text", "Hello.", "--out", out, *how)
    assert done.exit_code == 0, done.output
    sidecar = json.loads(out.with_suffix(".json").read_text())
    assert sidecar["source"] == {"folder": str(exported[0])}
    assert sidecar["request"]["audio"]["path"] == str(out.with_suffix(".wav"))
    assert out.with_suffix(".wav").is_file()
    by_name = paha("generate", "--folder", "base", "--image", inputs[0], "--audio",
                   out.with_suffix(".wav"), "--out", tmp_path / "b.mp4", *how)  # fmt: skip
    assert by_name.exit_code == 0, by_name.output
    again = json.loads((tmp_path / "b.json").read_text())
    assert again["video_sha256"] == sidecar["video_sha256"]


def test_a_portrait_unlike_the_corpus_is_announced(exported, inputs, tmp_path):
    folder, _ = exported
    index = json.loads((folder / "index.json").read_text())
    how = ("--mode", "unguided", "--steps", 1, "--size", 64, "--max-seconds", 0.2)
    for limit, warned in ((0.0, False), (99.0, True)):
        (folder / "index.json").write_text(json.dumps(index | {"familiar_from": limit}))
        done = paha("generate", "--image", inputs[0], "--audio", inputs[1], "--out",
                    tmp_path / "a.mp4", *how)  # fmt: skip
        assert done.exit_code == 0, done.output
        assert ("portrait is unlike" in done.output) == warned


def test_text_and_a_recording_contradict_each_other(exported, inputs, tmp_path):
    both = ("--text", "Hello.", "--audio", inputs[1])
    done = paha("generate", "--image", inputs[0], *both, "--out", tmp_path / "a.mp4")
    assert done.exit_code == 1
    assert "leave out --audio" in done.output


def test_text_without_words_is_refused(exported, inputs, tmp_path):
    done = paha("generate", "--image", inputs[0], "--text", "...", "--out", tmp_path / "a.mp4")
    assert done.exit_code == 1
    assert "nothing to say" in done.output
    assert list(tmp_path.glob("a.*")) == []


def test_a_recording_of_the_users_is_not_replaced(exported, inputs, tmp_path):
    (tmp_path / "a.wav").write_bytes(b"mine")
    done = paha("generate", "--image", inputs[0], "--text", "Hello.", "--out", tmp_path / "a.mp4")
    assert done.exit_code == 1
    assert "choose another name" in done.output
    assert (tmp_path / "a.wav").read_bytes() == b"mine"


def test_an_export_names_its_folder_or_the_base(trained_store):
    assert "give --out" in paha("export").output
    wrong = paha("export", "--base", "--out", "x")
    assert "leave out --out" in wrong.output
    poor = paha("export", "--base", "--preset", "smoke", "--store", trained_store.root)
    assert poor.exit_code == 1
