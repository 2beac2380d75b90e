"""Frames are picked by their own times, and stay in sync with the sound."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from media_files import ffmpeg

from paha_core.media.audio import read_audio
from paha_core.media.encode import SoundFile, write_video
from paha_core.media.ffmpeg import MediaError
from paha_core.media.timeline import at_rate, frame_times, frames_at_rate, is_steady, pick
from paha_core.media.video import decode_frames, iter_frames

FLASHES = (0.5, 1.1, 2.3)  # seconds: white pictures and clicks of one instant


@pytest.fixture(scope="module")
def recording(tmp_path_factory) -> Path:
    """60 fps for a second, then every 5th frame; a picture is white while its click sounds."""
    path = tmp_path_factory.mktemp("vfr") / "phone.mp4"
    times = np.arange(180) / 60
    frames = np.full((180, 64, 64, 3), 20, np.uint8)
    wave = np.zeros(3 * 16000, np.float32)
    for flash in FLASHES:
        frames[(times >= flash - 1e-6) & (times < flash + 0.2)] = 235
        wave[round(flash * 16000) : round((flash + 0.01) * 16000)] = 0.8
    write_video(path.with_name("whole.mp4"), frames, fps=60, wave=wave)
    select = "select='lt(t,1)+not(mod(n,5))'"
    whole = ["-i", path.with_name("whole.mp4"), "-vf", select]
    ffmpeg(*whole, "-fps_mode", "vfr", "-c:a", "copy", path)
    return path


def onsets(light: np.ndarray, fps: float) -> list[float]:
    bright = light > 128
    return [n / fps for n in np.flatnonzero(bright[1:] & ~bright[:-1]) + 1]


def test_frames_of_a_varying_rate_are_shown_at_their_own_times(recording):
    light = np.array([f.to_rgb().mean() for f in frames_at_rate(recording, 25, 75)])
    assert len(light) == 75
    # The source itself shows the last two flashes up to 1/12 s late.
    times = frame_times(recording)[:-1]
    shown = [times[times >= flash - 1e-6][0] for flash in FLASHES]
    np.testing.assert_allclose(onsets(light, 25), shown, atol=0.0201)


def test_times_are_the_frames_own(recording):
    times = frame_times(recording)
    assert len(times) == 60 + 24 + 1
    np.testing.assert_allclose(times[:60], np.arange(60) / 60, atol=1e-3)
    np.testing.assert_allclose(np.diff(times[60:-1]), 5 / 60, atol=1e-3)
    assert not is_steady(times[:-1], 25)
    assert is_steady(times[:60], 60, start=0)
    assert not is_steady(times[:60], 60, start=0.02)
    assert len(frame_times(recording, end=0.1)) == 7


def test_a_picture_that_starts_after_its_sound_keeps_its_place(tmp_path, recording):
    late = tmp_path / "late.mkv"
    source = recording.with_name("whole.mp4")
    tracks = ["-map", "1:v", "-map", "0:a", "-c", "copy"]
    ffmpeg("-i", source, "-itsoffset", "0.4", "-i", source, *tracks, late)
    assert frame_times(late)[0] == pytest.approx(0.4, abs=1e-3)
    light = np.array([f.to_rgb().mean() for f in frames_at_rate(late, 25, 85)])
    np.testing.assert_allclose(onsets(light, 25), np.add(FLASHES, 0.4), atol=0.0201)


def test_one_rule_in_three_forms():
    """`at_rate`, `pick` and ffmpeg's fps filter, which ingestion uses, agree."""
    times = np.cumsum(np.random.default_rng(0).uniform(0.005, 0.09, 60))
    picked = pick(times, 25, 40)
    assert list(at_rate(zip(times, range(60)), 25, 40)) == picked.tolist()
    halves = np.arange(100) / 50  # every second frame lies between two of 25 fps
    assert pick(halves, 25, 50).tolist() == list(range(0, 100, 2))
    assert list(at_rate(zip(times[:2], "ab"), 25, 9))[-1] == "b"  # the last one is held
    assert list(at_rate([], 25, 3)) == []


def test_reading_stops_behind_the_last_frame():
    seen = []

    def source():
        for n in range(1000):
            seen.append(n)
            yield n / 30, n

    assert len(list(at_rate(source(), 25, 10))) == 10
    assert len(seen) < 15


def test_the_filter_of_ingestion_picks_the_same_frames(tmp_path, recording):
    ffmpeg("-i", recording, "-vf", "fps=25:start_time=0:round=near", "-an", tmp_path / "clip.mp4")
    ours = [f.to_rgb().mean() for f in frames_at_rate(recording, 25, 70)]
    theirs = [frame.mean() for frame in iter_frames(tmp_path / "clip.mp4", end=69.5 / 25)]
    np.testing.assert_allclose(ours, theirs, atol=3)


def test_raw_streams_have_no_times_but_a_rate(tmp_path, recording):
    raw = tmp_path / "raw.h264"
    raw_h264 = ["-an", "-c:v", "copy", "-bsf:v", "h264_mp4toannexb"]
    ffmpeg("-i", recording.with_name("whole.mp4"), *raw_h264, raw)
    times = [frame.time for frame in decode_frames(raw)]
    assert len(times) == 180
    assert (np.diff(times) > 0).all()


def test_sound_of_a_file_is_muxed_with_its_rate_channels_and_place(tmp_path, recording):
    stereo = tmp_path / "stereo.wav"
    ffmpeg("-i", recording, "-vn", "-ar", "44100", "-ac", "2", stereo)
    frames = np.zeros((50, 64, 64, 3), np.uint8)
    for start, first in ((0.0, 0.5), (0.2, 0.3), (-0.25, 0.75)):
        write_video(tmp_path / "v.mp4", iter(frames), sound=SoundFile(stereo, start), count=50)
        wave = read_audio(tmp_path / "v.mp4", 44100)
        assert np.argmax(np.abs(wave) > 0.3) / 44100 == pytest.approx(first, abs=0.002)
        assert len(wave) / 44100 == pytest.approx(2.0, abs=0.03)
    ffmpeg("-i", tmp_path / "v.mp4", "-c", "copy", "-f", "null", "-")
    write_video(tmp_path / "mute.mp4", frames)
    with pytest.raises(MediaError, match="no audio"):
        write_video(tmp_path / "w.mp4", frames, sound=SoundFile(tmp_path / "mute.mp4"))
