"""A pipeline with adapters: loaded, switched, merged, and recorded in sidecars."""

import copy
import json
from dataclasses import replace

import numpy as np
import pytest
import torch
from typer.testing import CliRunner

from paha_core.cli import app
from paha_core.inference.adapters import (
    FILE,
    AdapterInfo,
    fingerprint_of,
    read_adapter,
    write_adapter,
)
from paha_core.inference.inputs import InputError
from paha_core.inference.pipeline import PahaPipeline, Settings
from paha_core.models.lora import add_lora, lora_parameters, remove_lora, target_layers

UNGUIDED = Settings(mode="unguided", steps=1)


@pytest.fixture
def own(pipeline):
    """The shared pipeline with a UniVDM of its own, since adapters change it in place."""
    return replace(pipeline, univdm=copy.deepcopy(pipeline.univdm), adapters={})


@pytest.fixture(scope="session")
def made(pipeline, tmp_path_factory):
    """Writes `<name>/adapter.safetensors` with random matrices; returns the folder."""

    def write(name, seed):
        folder = tmp_path_factory.mktemp("adapters") / name
        folder.mkdir()
        univdm = copy.deepcopy(pipeline.univdm)
        info = AdapterInfo(
            *(name, "my own; base: no part forbids any use", fingerprint_of(univdm)),
            *("smoke", pipeline.codec.sha256, 2, 2, ("attentions",), 1, 1, 1.0),
        )
        add_lora(univdm, "x", target_layers(univdm, info.targets), info.rank, info.alpha)
        draw = torch.Generator().manual_seed(seed)
        with torch.no_grad():
            for parameter in lora_parameters(univdm, "x").values():
                parameter.copy_(2.0 * torch.randn(parameter.shape, generator=draw))
        write_adapter(folder / FILE, univdm, "x", info)
        remove_lora(univdm)
        return folder

    return write


@pytest.fixture(scope="session")
def me(made):
    return made("me", 1)


def video(pipeline, inputs):
    generated, _ = pipeline(*inputs, replace(UNGUIDED, max_seconds=0.2))
    return generated.frames.astype(int)


def distance(a, b):
    """The largest difference of a pixel's grey levels; 1 is a rounding."""
    return np.abs(a - b).max()


def test_adapters_act_together_or_alone_and_leave_the_base(own, me, made, inputs):
    base = video(own, inputs)
    assert own.load_adapter(me) == "me"
    alone = video(own, inputs)
    assert own.load_adapter(made("you", 2), scale=0.5) == "you"
    together = video(own, inputs)
    assert min(distance(base, alone), distance(base, together), distance(alone, together)) > 1
    own.set_adapters({"me": 1.0})
    assert distance(video(own, inputs), alone) <= 1
    own.set_adapters({})
    assert distance(video(own, inputs), base) <= 1
    own.unload_adapters()
    assert distance(video(own, inputs), base) == 0
    with pytest.raises(InputError, match="no adapter me is loaded"):
        own.set_adapters({"me": 1.0})


def test_a_merged_pipeline_is_saved_and_opened_as_its_own(own, me, inputs, tmp_path):
    before = own.networks["univdm"]["sha256"]
    own.load_adapter(me)
    assert own.networks["univdm"]["sha256"] == before, "the base is what it was"
    with pytest.raises(InputError, match="fuse_adapters or unload_adapters"):
        own.save_pretrained(tmp_path / "merged")
    own.fuse_adapters()
    assert own.networks["univdm"]["sha256"] != before
    own.save_pretrained(tmp_path / "merged")
    opened = PahaPipeline.from_pretrained(tmp_path / "merged")
    assert distance(video(opened, inputs), video(own, inputs)) == 0
    with pytest.raises(InputError, match="trained on another UniVDM"):
        opened.load_adapter(me)


def test_a_half_export_of_the_base_takes_the_adapter(own, me):
    rounded = own.rounded()
    assert rounded.networks["univdm"]["sha256"] != own.networks["univdm"]["sha256"]
    assert rounded.load_adapter(me) == "me"


def test_what_is_no_adapter_is_refused_in_a_sentence(own, me, tmp_path):
    with pytest.raises(FileNotFoundError, match="paha adapt"):
        own.load_adapter(tmp_path / "nobody")
    data = (me / FILE).read_bytes()
    (tmp_path / "short.safetensors").write_bytes(data[: len(data) // 2])
    (tmp_path / "text.safetensors").write_text("not a network")
    for name in ("short", "text"):
        with pytest.raises(InputError, match="is not an adapter"):
            own.load_adapter(tmp_path / f"{name}.safetensors")
    assert not own.adapters


def test_its_file_says_whom_it_shows_and_under_which_licence(me):
    info, tensors = read_adapter(me / FILE)
    assert (info.speaker, info.licence) == ("me", "my own; base: no part forbids any use")
    assert {key.rsplit(".", 2)[1] for key in tensors} == {"lora_A", "lora_B"}


def test_a_sidecar_repeats_a_video_with_its_adapter(trained_store, me, inputs, tmp_path):
    image, audio = inputs
    out = tmp_path / "a.mp4"
    asked = ["--image", image, "--audio", audio, "--out", out, "--adapter", f"{me}:0.5"]
    asked += ["--preset", "smoke", "--mode", "unguided", "--steps", "1", "--size", "64"]
    run = CliRunner().invoke(
        app, list(map(str, ["generate", *asked, "--store", trained_store.root]))
    )
    assert run.exit_code == 0, run.output
    [recorded] = json.loads(out.with_suffix(".json").read_text())["adapters"]
    assert (recorded["speaker"], recorded["scale"]) == ("me", 0.5)
    again = ["generate", "--from", out.with_suffix(".json"), "--out", tmp_path / "b.mp4"]
    run = CliRunner().invoke(app, list(map(str, again)))
    assert run.exit_code == 0, run.output
    assert "identical to the first" in run.output


def test_an_export_with_an_adapter_is_merged_and_its_card_has_the_licence_line(
    trained_store, me, tmp_path
):
    asked = ["export", "--adapter", me, "--out", tmp_path / "merged", "--preset", "smoke"]
    run = CliRunner().invoke(app, list(map(str, [*asked, "--store", trained_store.root])))
    assert run.exit_code == 0, run.output
    card = (tmp_path / "merged/README.md").read_text()
    assert "A merged adapter: my own; base: no part forbids any use." in card
    opened = PahaPipeline.from_pretrained(tmp_path / "merged")
    assert not opened.adapters
    wrong = CliRunner().invoke(app, ["export", "--folder", str(tmp_path), "--preset", "smoke"])
    assert "leave out --preset" in wrong.output
