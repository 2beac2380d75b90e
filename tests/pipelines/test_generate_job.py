"""The jobs outside of the stages, in this process, on networks with random weights."""

import json

import dagster as dg
import pytest

from paha_core.config import load_preset
from paha_core.inference.untrained import untrained_pipeline
from paha_core.store import Store
from pipelines.definitions import defs


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    pipeline = untrained_pipeline(load_preset("smoke"))
    store = Store(str(tmp_path_factory.mktemp("store")))
    networks = {"univdm": pipeline.univdm, "latent_codec": pipeline.codec.autoencoder}
    for name, network in networks.items():
        with store.writing_folder(f"checkpoints/{name}/final") as folder:
            network.save_pretrained(folder)
    return store


@pytest.fixture(scope="module")
def inputs(tmp_path_factory):
    import cv2
    import numpy as np

    from paha_core.corpora.studio import programme
    from paha_core.media.audio import write_wav

    folder = tmp_path_factory.mktemp("inputs")
    drawn = programme.prepare("lin", 0, seconds=1, height=256, seed=0)
    frame = next(iter(programme.draw_frames(drawn)))
    cv2.imwrite(str(folder / "me.png"), frame[:, :, ::-1])
    write_wav(folder / "voice.wav", 0.3 * np.sin(np.arange(6400, dtype=np.float32) / 9), 16000)
    return {"image": str(folder / "me.png"), "audio": str(folder / "voice.wav")}


def execute(store, **config):
    run_config = {
        "ops": {"generate_video": {"config": config}},
        "resources": {"workspace": {"config": {"preset": "smoke", "store": store.url}}},
    }
    with dg.DagsterInstance.ephemeral() as instance:
        job = defs.resolve_job_def("generate")
        return job.execute_in_process(run_config, instance=instance, raise_on_error=False)


def test_the_job_makes_the_video_and_its_sidecar(store, inputs, tmp_path):
    out = tmp_path / "out.mp4"
    guidance = {"rate": 1, "lambda_face": 5, "form": "printed", "device": "cpu", "dataset": "cnas"}
    done = execute(store, **inputs, out=str(out), mode="unguided", seed=5, steps=1, **guidance)
    assert done.success
    [event] = done.asset_materializations_for_node("generate_video")
    assert event.metadata["frames"].value == 10
    about = json.loads(out.with_suffix(".json").read_text())
    settings = about["request"]["settings"]
    used = settings["guidance"]
    assert (settings["seed"], used["lambda_face"], used["rate"]) == (5, 5, 1)
    assert settings["guidance"]["form"] == "printed"
    assert about["preset"]["device"] == "cpu"
    assert about["video_sha256"] == event.metadata["sha256"].value
    assert out.is_file()


def test_what_is_missing_is_one_sentence(store, inputs, tmp_path):
    out = str(tmp_path / "out.mp4")
    for config, words in (
        (inputs | {"mode": "sequential"}, "guidance needs face_classifier and non_face"),
        (inputs | {"mode": "unguided", "image": "no.png"}, "no file no.png"),
    ):
        failed = execute(store, **config, out=out)
        assert not failed.success
        [event] = [e for e in failed.all_events if e.is_step_failure]
        user_data = event.step_failure_data.user_failure_data
        assert words in user_data.description


def test_the_adapt_job_says_what_is_missing_in_one_sentence(store, tmp_path, monkeypatch):
    def description(**changes):
        config = {"videos": ["no.mp4"], "out": str(tmp_path / "me"), "licence": "mine", "steps": 1}
        run_config = {
            "ops": {"adapt_speaker": {"config": config | changes}},
            "resources": {"workspace": {"config": {"preset": "smoke", "store": store.url}}},
        }
        with dg.DagsterInstance.ephemeral() as instance:
            job = defs.resolve_job_def("adapt")
            failed = job.execute_in_process(run_config, instance=instance, raise_on_error=False)
        [event] = [e for e in failed.all_events if e.is_step_failure]
        return event.step_failure_data.user_failure_data.description

    assert "no video no.mp4" in description()
    assert "holds no pipeline" in description(folder=str(tmp_path / "gone"))
    pipeline = untrained_pipeline(load_preset("smoke"))
    pipeline.save_pretrained(tmp_path / "base")
    monkeypatch.setattr("paha_core.inference.saved.base_folder", lambda: tmp_path / "base")
    assert "no video no.mp4" in description(folder="base"), "it was opened by its name"
