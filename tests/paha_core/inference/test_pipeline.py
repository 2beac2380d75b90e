import json
from dataclasses import replace

import numpy as np
import pytest
import soundfile
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
    # The bytes as encoded; the signed claim that marks the file has an id of its own each time.
    assert make_video(pipeline, again.request)["video_sha256"] == about["video_sha256"]
    first, second = (read_frames(tmp_path / f"{name}.mp4") for name in "ab")
    assert np.array_equal(first, second)
    other = make_video(pipeline, request(inputs, tmp_path / "c.mp4", seed=4))
    assert other["video_sha256"] != about["video_sha256"]


def test_the_voice_may_be_a_video_and_is_cut_to_its_picture(pipeline, inputs, tmp_path):
    quick = {"mode": "unguided", "steps": 1}
    make_video(pipeline, request(inputs, tmp_path / "a.mp4", **quick))
    spoken = (inputs[0], tmp_path / "a.mp4")
    about = make_video(pipeline, request(spoken, tmp_path / "b.mp4", **quick))
    assert about["frames"] == 15
    with open_media(tmp_path / "b.mp4") as container:
        [sound] = container.streams.audio
        assert sound.codec_context.name == "aac"
        assert float(sound.duration * sound.time_base) == pytest.approx(15 / 25, abs=1e-3)
    first_wave, second_wave = (read_audio(tmp_path / f"{name}.mp4") for name in "ba")
    assert np.corrcoef(first_wave[:9600], second_wave[:9600])[0, 1] > 0.99


def test_a_sidecar_records_inputs_and_networks(pipeline, inputs, tmp_path):
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


def test_a_verdict_about_other_weights_does_not_count(trained_store, pipeline):
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


def test_guidance_without_its_classifiers_names_them(pipeline, inputs):
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


def test_a_batch_resumes_where_it_stopped(pipeline, inputs, tmp_path):
    image, voice = inputs
    (tmp_path / "list.csv").write_text(
        f"image,audio,out\n{image},{voice},one.mp4\n{voice},{voice},two.mp4\n"
    )
    how = Settings(mode="unguided", steps=1, max_seconds=0.2)
    requests = read_batch(tmp_path / "list.csv", how, 64)
    outcomes = []
    first = make_batch(pipeline, requests, lambda asked, outcome: outcomes.append(outcome))
    assert first.made == [tmp_path / "one.mp4"]
    assert "not a picture" in first.failed[tmp_path / "two.mp4"]
    assert len(outcomes) == 2
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


def test_the_given_sound_is_muxed_as_it_is(pipeline, inputs, tmp_path):
    """At its own rate and channels, cut to the video; the network's 16 kHz mono stays inside."""
    time = np.arange(44100) / 44100
    stereo = np.stack([0.4 * np.sin(2 * np.pi * 440 * time), 0.4 * np.sin(2 * np.pi * 9000 * time)])
    soundfile.write(tmp_path / "song.wav", stereo.T, 44100)
    quick = {"mode": "unguided", "steps": 1, "max_seconds": 0.6}
    make_video(pipeline, request((inputs[0], tmp_path / "song.wav"), tmp_path / "a.mp4", **quick))
    with open_media(tmp_path / "a.mp4") as container:
        [sound] = container.streams.audio
        assert (sound.codec_context.sample_rate, sound.codec_context.channels) == (44100, 2)
        assert float(sound.duration * sound.time_base) == pytest.approx(0.6, abs=1e-3)
        heard = np.concatenate([f.to_ndarray() for f in container.decode(sound)], axis=1)
    spectrum = np.abs(np.fft.rfft(heard[1][4410:22050]))
    loudest = np.fft.rfftfreq(22050 - 4410, 1 / 44100)[spectrum.argmax()]
    assert loudest == pytest.approx(9000, abs=20)  # beyond what 16 kHz can hold


def test_files_of_the_user_are_never_replaced(inputs, tmp_path):
    own_json, own_video = tmp_path / "take1.json", tmp_path / "take2.mp4"
    own_json.write_text('{"notes": "mine"}')
    own_video.write_bytes(b"mine")
    spoken = (inputs[0], own_video)
    for out, files, words in (
        (tmp_path / "take1.mp4", inputs, "is not a video's sidecar"),
        (own_video, inputs, "was not made by paha"),
        (own_video, spoken, "is an input"),
        (tmp_path, inputs, "is not an .mp4"),
        (tmp_path / "folder.mp4", inputs, "is a folder"),
        (own_video / "deep" / "a.mp4", inputs, "take2.mp4 is a file"),
        (tmp_path / f"{'x' * 300}.mp4", inputs, "shorter"),
        (tmp_path / ("x" * 300) / "a.mp4", inputs, "shorter"),
        (tmp_path / ("deep/" * 900) / "a.mp4", inputs, "not a possible path"),
        (tmp_path / "a\0b.mp4", inputs, "not a possible path"),
    ):
        (tmp_path / "folder.mp4").mkdir(exist_ok=True)
        with pytest.raises(InputError, match=words):
            request(files, out).check()
    assert own_json.read_text() == '{"notes": "mine"}'
    assert own_video.read_bytes() == b"mine"


def test_a_video_with_a_sidecar_is_recognised(pipeline, inputs, tmp_path):
    quick = {"mode": "unguided", "steps": 1}
    wanted = request(inputs, tmp_path / "a.mp4", **quick)
    make_video(pipeline, wanted)
    make_video(pipeline, wanted)  # our own is replaced
    wanted.out.unlink()
    make_video(pipeline, wanted)  # as after a kill between the two
    assert wanted.out.is_file()


def test_a_bad_row_does_not_stop_the_others(pipeline, inputs, tmp_path):
    (tmp_path / "folder.mp4").mkdir()
    (tmp_path / "file").write_text("")
    image, audio = inputs
    longest = "好" * 83 + "_.mp4"  # 254 bytes, and one more for the sidecar's
    outs = ["folder.mp4", "file/a.mp4", "x" * 300 + ".mp4", longest, "good.mp4"]
    rows = [f"{image},{audio},{out}" for out in outs]
    rows.insert(0, f"{tmp_path / 'none.png'},{audio},absent.mp4")
    rows.insert(1, f"{tmp_path / 'file'},{audio},empty.mp4")
    (tmp_path / "list.csv").write_text("image,audio,out\n" + "\n".join(rows) + "\n")
    requests = read_batch(tmp_path / "list.csv", Settings(mode="unguided", steps=1), 64)
    result = make_batch(pipeline, requests)
    assert [path.name for path in result.made] == [longest, "good.mp4"]
    assert len(result.failed) == 5
    assert all("\n" not in reason for reason in result.failed.values())


def test_one_place_under_two_names_is_refused(inputs, tmp_path):
    (tmp_path / "sub").mkdir()
    (tmp_path / "link").symlink_to(tmp_path)
    for other in ("sub/../same.mp4", "./same.mp4", "link/same.mp4"):
        rows = "".join(f"{inputs[0]},{inputs[1]},{out}\n" for out in ("same.mp4", other))
        (tmp_path / "list.csv").write_text("image,audio,out\n" + rows)
        with pytest.raises(InputError, match="twice"):
            read_batch(tmp_path / "list.csv", Settings())
