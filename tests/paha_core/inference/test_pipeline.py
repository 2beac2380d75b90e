import json
from dataclasses import replace

import numpy as np
import pytest
import torch

from paha_core.config import GuidanceConfig
from paha_core.errors import UserError
from paha_core.inference.batch import make_batch, read_batch
from paha_core.inference.inputs import InputError
from paha_core.inference.pipeline import PahaPipeline, Settings, window_view
from paha_core.inference.sampling import Conditions
from paha_core.inference.segment_guidance import GateError
from paha_core.inference.video_file import Request, make_video, read_sidecar
from paha_core.media.audio import read_audio
from paha_core.media.ffmpeg import open_media
from paha_core.media.probe import probe
from paha_core.media.video import read_frames
from paha_core.models.audio_encoder import audio_windows

GUIDED = {"mode": "differential", "seed": 3, "steps": 2, "force": True}


def request(inputs, out, size=64, **settings):
    return Request(*inputs, out, Settings(**(GUIDED | settings)), size)


def test_a_video_comes_again_from_its_sidecar_bit_for_bit(pipeline, inputs, tmp_path):
    about = make_video(pipeline, request(inputs, tmp_path / "a.mp4"))
    info = probe(tmp_path / "a.mp4")
    assert (info.width, info.height, len(read_frames(tmp_path / "a.mp4"))) == (64, 64, 15)
    assert info.has_audio
    assert about["segments"] == 2
    assert about["gates_failed"] == ["face_classifier", "non_face_classifier"]
    assert len(about["guided_steps"]) == 2
    assert [p.name for p in sorted(tmp_path.iterdir())] == ["a.json", "a.mp4"]

    again = read_sidecar(tmp_path / "a.json", tmp_path / "b.mp4")
    again.check_networks(pipeline)
    assert again.preset == pipeline.preset
    make_video(pipeline, again.request)
    assert (tmp_path / "b.mp4").read_bytes() == (tmp_path / "a.mp4").read_bytes()
    other = make_video(pipeline, request(inputs, tmp_path / "c.mp4", seed=4))
    assert other["video_sha256"] != about["video_sha256"]


def test_the_voice_may_be_a_video_and_is_heard_as_long_as_it_is_seen(pipeline, inputs, tmp_path):
    quick = {"mode": "unguided", "steps": 1}
    make_video(pipeline, request(inputs, tmp_path / "a.mp4", **quick))
    spoken = (inputs[0], tmp_path / "a.mp4")
    about = make_video(pipeline, request(spoken, tmp_path / "b.mp4", **quick))
    assert about["frames"] == 15
    with open_media(tmp_path / "b.mp4") as container:
        [sound] = container.streams.audio
        assert sound.codec_context.name == "aac"
        assert float(sound.duration * sound.time_base) == pytest.approx(15 / 25, abs=1e-3)
    heard, said = (read_audio(tmp_path / f"{name}.mp4") for name in "ba")
    assert np.corrcoef(heard[:9600], said[:9600])[0, 1] > 0.99


def test_a_sidecar_knows_its_inputs_and_networks(pipeline, inputs, tmp_path):
    make_video(pipeline, request(inputs, tmp_path / "a.mp4", mode="unguided", steps=1))
    sidecar, out = tmp_path / "a.json", tmp_path / "b.mp4"
    with pytest.raises(InputError, match="is not the image"):
        read_sidecar(sidecar, out, image=inputs[1])
    about = json.loads(sidecar.read_text())
    about["networks"]["univdm"]["sha256"] = "0"
    sidecar.write_text(json.dumps(about))
    with pytest.raises(InputError, match="univdm is not the one"):
        read_sidecar(sidecar, out).check_networks(pipeline)
    sidecar.write_text("{}")
    with pytest.raises(InputError, match="not the sidecar"):
        read_sidecar(sidecar, out)


def test_a_classifier_that_failed_its_gate_guides_only_by_force(trained_store, pipeline, inputs):
    generation = pipeline.preset.generation.model_copy(update={"force_guidance": False})
    strict = pipeline.preset.model_copy(update={"generation": generation})
    opened = PahaPipeline.from_store(trained_store, strict)
    assert opened.gates == {"face": True, "non_face": False}
    assert opened.source == {"store": trained_store.root}
    with pytest.raises(GateError, match=r"^non_face_classifier did not pass .*--force"):
        opened(*inputs, Settings(mode="sequential", steps=1))
    short = {"steps": 1, "max_seconds": 0.2}
    opened(*inputs, Settings(mode="unguided", **short))
    opened(*inputs, Settings(mode="sequential", **short, force=True))
    # one that has no strength is not asked, here neither
    alone = GuidanceConfig(lambda_non_face=0)
    opened(*inputs, Settings(mode="sequential", **short, guidance=alone))


def test_a_verdict_about_other_weights_lets_nobody_pass(trained_store, pipeline):
    rel = "checkpoints/face_classifier/final/training.json"
    trained_store.write_json(rel, {"fingerprint": "trained again"})
    try:
        opened = PahaPipeline.from_store(trained_store, pipeline.preset)
        assert opened.gates == {"face": False, "non_face": False}
    finally:
        trained_store.write_json(rel, {"fingerprint": "face_classifier"})


def test_a_batch_that_may_not_guide_is_refused_before_its_first_video(pipeline, inputs, tmp_path):
    generation = pipeline.preset.generation.model_copy(update={"force_guidance": False})
    strict = replace(pipeline, preset=pipeline.preset.model_copy(update={"generation": generation}))
    wanted = [request(inputs, tmp_path / "a.mp4", force=False)]
    with pytest.raises(GateError, match="did not pass"):
        make_batch(strict, wanted)


def test_without_strength_real_networks_make_the_unguided_video_bit_for_bit(pipeline, inputs):
    short = {"steps": 2, "max_seconds": 0.2, "force": True}
    none = GuidanceConfig(lambda_face=0, lambda_non_face=0, rate=1)
    plain, _ = pipeline(*inputs, Settings(mode="unguided", **short))
    for mode in ("sequential", "differential"):
        made, _ = pipeline(*inputs, Settings(mode=mode, guidance=none, **short))
        assert np.array_equal(made.frames, plain.frames)
        assert [step["face_logit"] for step in made.trace.steps] == [None, None]
    strong = none.changed(lambda_face=50)
    face, _ = pipeline(*inputs, Settings(mode="sequential", guidance=strong, **short))
    assert not np.array_equal(face.frames, plain.frames)
    assert face.trace.steps[0]["non_face_logit"] is None


def test_guidance_without_a_face_is_refused(pipeline):
    given = Conditions(
        torch.zeros(2, 4, 8, 8),
        torch.zeros(2, pipeline.reference.width),
        torch.zeros(2, 4, 5, pipeline.audio.layers, pipeline.audio.width),
    )
    boxes = np.array([[0.2, 0.2, 0.6, 0.6], [0, 0, 0, 0]])
    with pytest.raises(InputError, match="no face is known in reference picture 1"):
        pipeline.generate(given, boxes, Settings(mode="sequential", steps=1))
    pipeline.generate(given, boxes, Settings(mode="unguided", steps=1))


def test_guidance_without_its_classifiers_says_which(pipeline, inputs):
    alone = replace(pipeline, classifiers={"face": pipeline.classifiers["face"]})
    with pytest.raises(FileNotFoundError, match="needs non_face_classifier"):
        alone(*inputs, Settings(mode="sequential", steps=1))


def test_a_saved_pipeline_makes_the_same_video(pipeline, inputs, tmp_path):
    pipeline.save_pretrained(tmp_path / "saved")
    opened = PahaPipeline.from_pretrained(tmp_path / "saved")
    assert opened.preset == pipeline.preset
    assert opened.networks == pipeline.networks
    short = GUIDED | {"max_seconds": 0.2}
    (one, wave), (other, _) = (p(*inputs, Settings(**short)) for p in (pipeline, opened))
    assert np.array_equal(one.frames, other.frames)
    assert one.frames.shape == (1, 5, 32, 32, 3)
    assert len(wave) == 5 * 640
    pipeline.save_pretrained(tmp_path / "saved")  # replaces itself, and nothing else
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "diary.txt").write_text("dear")
    with pytest.raises(InputError, match="something else"):
        pipeline.save_pretrained(tmp_path / "other")
    with pytest.raises(FileNotFoundError, match="holds no pipeline"):
        PahaPipeline.from_pretrained(tmp_path / "other")


def test_a_batch_goes_on_where_it_stopped(pipeline, inputs, tmp_path):
    image, voice = inputs
    (tmp_path / "list.csv").write_text(
        f"image,audio,out\n{image},{voice},one.mp4\n{voice},{voice},two.mp4\n"
    )
    how = Settings(mode="unguided", steps=1, max_seconds=0.2)
    requests = read_batch(tmp_path / "list.csv", how, 64)
    told = []
    first = make_batch(pipeline, requests, lambda asked, outcome: told.append(outcome))
    assert first.made == [tmp_path / "one.mp4"]
    assert "not a picture" in first.failed[tmp_path / "two.mp4"]
    assert len(told) == 2
    again = make_batch(pipeline, requests)
    assert again.reused == [tmp_path / "one.mp4"]
    changed = read_batch(tmp_path / "list.csv", replace(how, seed=1), 64)
    assert make_batch(pipeline, changed[:1]).made == [tmp_path / "one.mp4"]


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("image,out\na,b\n", "no column audio"),
        ("image,audio,out\n", "no rows"),
        ("image,audio,out\na,,b.mp4\n", "line 2: a cell is empty"),
        ("image,audio,out\na,b,c.mp4\nd,e,c.mp4\n", "twice"),
    ],
)
def test_a_bad_csv_is_one_sentence(tmp_path, text, words):
    (tmp_path / "list.csv").write_text(text)
    with pytest.raises(UserError, match=words):
        read_batch(tmp_path / "list.csv", Settings())


def test_bfloat16_makes_nearly_the_same_video(pipeline, inputs):
    short = {"mode": "sequential", "force": True, "steps": 2, "max_seconds": 0.2}
    full, _ = pipeline(*inputs, Settings(**short))
    half, _ = pipeline(*inputs, Settings(**short, precision="bf16"))
    apart = np.abs(full.frames.astype(int) - half.frames.astype(int))
    assert apart.max() > 0
    assert apart.mean() < 3


def test_windows_as_a_view_are_the_windows():
    features = np.random.default_rng(0).normal(size=(7, 2, 3)).astype(np.float32)
    assert np.array_equal(window_view(features, 2), audio_windows(features, 2))
    assert torch.from_numpy(window_view(features, 2)).stride(1) == 6


def test_a_sliding_window_is_unguided(pipeline, inputs):
    settings = pipeline.preset.generation.model_copy(update={"long_video": "sliding_window"})
    baseline = replace(pipeline, preset=pipeline.preset.model_copy(update={"generation": settings}))
    made, _ = baseline(*inputs, Settings(mode="unguided", steps=1))
    assert made.frames.shape[1] == 15
    with pytest.raises(InputError, match="unguided"):
        baseline(*inputs, Settings(mode="sequential", steps=1))
