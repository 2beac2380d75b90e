"""A pipeline with `univdm_fast` in the place of UniVDM."""

import numpy as np
import pytest
from typer.testing import CliRunner

from paha_core.cli import app
from paha_core.config import load_preset
from paha_core.inference.held_out import generation_fingerprint
from paha_core.inference.inputs import InputError
from paha_core.inference.offload import layers_of, offload_layers
from paha_core.inference.pipeline import PahaPipeline, Settings
from paha_core.store import Store


@pytest.fixture(scope="module")
def store(save_networks, pipeline, tmp_path_factory):
    """The shared networks, and a student with UniVDM's weights."""
    made = Store(str(tmp_path_factory.mktemp("student")))
    save_networks(made)
    with made.writing_folder("checkpoints/univdm_fast/final") as folder:
        pipeline.univdm.save_pretrained(folder)
    made.write_json("checkpoints/univdm_fast/final/training.json", {"fingerprint": "student"})
    return made


def test_the_student_takes_its_own_steps_and_no_others(store, pipeline, inputs):
    preset = load_preset("smoke")
    student = PahaPipeline.from_store(store, preset.with_student())
    assert student.networks["univdm"]["name"] == "univdm_fast"
    assert student.preset.num_inference_steps == preset.fast.steps == 2
    made, _ = student(*inputs, Settings(mode="unguided", max_seconds=0.3))
    same, _ = pipeline(*inputs, Settings(mode="unguided", max_seconds=0.3, steps=2))
    assert np.array_equal(made.frames, same.frames)
    for settings in (Settings(mode="unguided", steps=4), Settings(mode="unguided", solver="unipc")):
        with pytest.raises(InputError, match="trained for 2 steps of ddim"):
            student.check(settings)


def test_videos_of_the_student_are_not_taken_for_its_teachers(store):
    preset = load_preset("smoke")
    settings = Settings(mode="unguided")
    teacher = generation_fingerprint(store, preset, settings)
    assert generation_fingerprint(store, preset.with_student(), settings) != teacher
    assert "fast" not in preset.generation.settings()  # those made before keep their fingerprint


def test_a_saved_pipeline_holds_the_student_and_a_folder_without_one_is_told(
    store, pipeline, tmp_path
):
    student = PahaPipeline.from_store(store, load_preset("smoke").with_student())
    student.save_pretrained(tmp_path / "student")
    again = PahaPipeline.from_pretrained(tmp_path / "student")
    assert again.preset.generation.fast
    assert again.networks == student.networks
    pipeline.save_pretrained(tmp_path / "teacher")
    command = ["generate", "--fast", "--folder", str(tmp_path / "teacher"), "--image", "a.png"]
    told = CliRunner().invoke(app, [*command, "--audio", "a.wav", "--out", "a.mp4"])
    assert told.exit_code == 1
    assert "holds UniVDM and not its student" in told.output


def test_a_network_whose_layers_are_offloaded_makes_the_same_video(store, inputs):
    """The layers are on the meta device between their forward passes: one that was not brought
    back would end in an error."""
    preset = load_preset("smoke")
    whole, other = (PahaPipeline.from_store(store, preset) for _ in range(2))
    settings = Settings(mode="unguided", steps=2, max_seconds=0.3)
    offload_layers(other.univdm, "cpu")
    offload_layers(other.univdm, "cpu")
    devices = {p.device.type for layer in layers_of(other.univdm) for p in layer.parameters()}
    assert devices == {"meta"}
    assert other.univdm.device.type == "cpu"
    made, same = (one(*inputs, settings)[0].frames for one in (whole, other))
    assert np.array_equal(made, same)
    with pytest.raises(InputError, match="takes no adapters"):
        other.load_adapter("me")
