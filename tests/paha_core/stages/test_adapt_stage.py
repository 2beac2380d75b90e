"""From a video to an adapter's file, with the smoke preset's networks at random weights."""

import pytest

from paha_core.config import derived, load_preset
from paha_core.errors import UserError
from paha_core.inference.adapters import FILE, read_adapter
from paha_core.inference.untrained import untrained_pipeline
from paha_core.stages.adapt import ROUGH_DB, adapt, adapted_preset, footage_preset, link_videos

OFF = ("min_body_share", "max_hand_gap", "min_dnsmos", "max_jitter", "max_still_seconds")
OFF += ("min_speech_share", "min_face_share", "max_crowd_share", "min_part_share")
FOOTAGE = {"clip_frames": 12, "region": (128, 224)} | dict.fromkeys(OFF)


@pytest.fixture
def pipeline():
    train = {"steps": 2, "batch": 2, "frames": 4, "checkpoint_every": 2, "validate_every": 2}
    preset = derived(
        load_preset("smoke"),
        {
            "adapt": {
                "rank": 1,
                "alpha": 1,
                "prior_samples": 8,
                "train": train,
                "footage": FOOTAGE,
            },
            "generation": {"ddim_steps": 1},
            "trainer": {"validation_windows": 1, "tensorboard": False},
            "workers": 1,
        },
    )
    return untrained_pipeline(preset)


@pytest.fixture
def footage(tmp_path):
    """Two seconds of a drawn person."""
    from paha_core.corpora.studio.programme import draw_frames, prepare, sound
    from paha_core.media.encode import write_video

    drawn = prepare("lin", 0, seconds=2, height=128, seed=0)
    frames = [frame for frame, _ in zip(draw_frames(drawn), range(40), strict=False)]
    rate = drawn.form.sample_rate
    wave = sound(drawn)[: 40 * rate // 25, 0].astype("float32") / 32768
    path = tmp_path / "take 1.mp4"
    write_video(path, frames, fps=25, wave=wave, sample_rate=rate)
    return path


def test_a_video_becomes_an_adapter(pipeline, footage, tmp_path, in_this_process, caplog):
    out, stages = tmp_path / "me", []
    with in_this_process():
        report = adapt(pipeline, [footage], out, "my own face", on_report=stages.append)
    assert [s.stage for s in stages] == [
        *("clips", "keypoints", "face_boxes", "par_masks", "training_shards")
    ]
    assert stages[0].kept == 3, stages[0].reasons
    info, _ = read_adapter(out / FILE)
    assert (info.speaker, info.clips, info.steps) == ("me", 2, 2)
    assert info.licence == "my own face; base: no part forbids any use"
    assert report.figures["other people"] == "7 samples of the base"
    assert 0 < report.figures["codec, dB"] < ROUGH_DB, "an untrained codec"
    assert "a rough likeness" in caplog.text
    assert report.computed == 1
    again = adapt(pipeline, [footage], out, "my own face")
    assert (again.computed, again.reused) == (0, 1)
    assert pipeline.load_adapter(out) == "me"


def test_links_follow_the_videos_that_are_named(tmp_path):
    (tmp_path / "a.mp4").touch()
    (tmp_path / "b").mkdir()
    (tmp_path / "b/a.mp4").touch()
    link_videos([tmp_path / "a.mp4"], tmp_path / "links")
    link_videos([tmp_path / "b"], tmp_path / "links")
    assert [p.name for p in (tmp_path / "links").iterdir()] == ["b"]
    with pytest.raises(UserError, match=r"two videos are called a\.mp4"):
        link_videos([tmp_path / "a.mp4", tmp_path / "b/a.mp4"], tmp_path / "links")
    with pytest.raises(FileNotFoundError, match=r"no video .*gone"):
        link_videos([tmp_path / "gone"], tmp_path / "links")


def test_the_footage_is_the_only_corpus_and_keeps_the_presets_filters(tmp_path):
    preset = adapted_preset(load_preset("smoke"), steps=7, rank=3)
    assert (preset.adapt.train.steps, preset.adapt.rank, preset.adapt.alpha) == (7, 3, 3)
    corpora = footage_preset(preset, tmp_path, "me", "mine").corpora
    assert corpora.datasets == ["footage"]
    entry = corpora.entry("footage")
    assert (entry.speaker, entry.licence, entry.test_share) == ("me", "mine", 0.0)
    assert entry.min_face_share == preset.adapt.footage.min_face_share
