"""Sources whose own clock misleads: no times, or two recordings in one file."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import soundfile

from paha_core.config import ClipConfig
from paha_core.corpora.clips import ClipTask, Span, cut_clip
from paha_core.corpora.clock import clock_breaks, container_of, rebuild
from paha_core.corpora.long_sources import clip_starts
from paha_core.corpora.pats import ingest_pats
from paha_core.corpora.regions import Crop
from paha_core.corpora.source_manifest import SourceTask, inspect_source, source_of
from paha_core.media.audio import read_audio
from paha_core.media.ffmpeg import file_url, run
from paha_core.media.video import decode_frames, iter_frames, read_frames
from paha_core.store import Store, sha256_file

RATE = 16000


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("PAHA_CACHE", str(tmp_path / "cache"))


def numbers_in(frames: np.ndarray) -> np.ndarray:
    """Which frame of the counter each of these squares shows."""
    stripes = frames.reshape(len(frames), frames.shape[1], 8, -1, 3).mean(axis=(1, 3, 4))
    return ((stripes > 125) << np.arange(8)).sum(axis=1)


def click(wave: np.ndarray, rate: int) -> float:
    """Seconds to the first click."""
    return int(np.argmax(np.abs(wave) > 0.4)) / rate


def inspected(path: Path):
    task = SourceTask(path, sha256_file(path), ClipConfig())
    return source_of(path, inspect_source(task))


def cut(store: Store, path: Path, start: float, frames: int) -> dict:
    span = Span("pats", "ada", "i", "s", inspected(path), start, frames, Crop(64, 0, 256))
    return cut_clip(ClipTask(store, span, ClipConfig(size=256, crf=4), ()))


LARGE = ["-vf", "scale=384:256:flags=neighbor", "-preset", "veryfast", "-crf", "4"]


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("s.mp4", ["-c:v", "libx264", "-c:a", "aac"]),
        ("s.ts", ["-c:v", "libx264", "-c:a", "aac"]),
        ("s.flv", ["-c:v", "libx264", "-c:a", "aac", "-ar", "44100"]),
        ("s.avi", ["-c:v", "mpeg4", "-q:v", "2", "-c:a", "ac3", "-ar", "48000"]),
        ("s.avi", ["-c:v", "mpeg4", "-q:v", "2", "-c:a", "libmp3lame", "-q:a", "4"]),
        ("s.ogv", ["-c:v", "libtheora", "-q:v", "10", "-c:a", "libvorbis", "-ar", "44100"]),
    ],
)
def test_picture_and_sound_begin_at_one_frames_own_time(tmp_path, store, counter, name, options):
    """Wherever the interval begins, a clip is as much in sync as its source is from its start."""
    whole, path = counter(tmp_path / "whole.mp4", fps=25, frames=240), tmp_path / name
    run(["-i", file_url(whole), *LARGE, *options, file_url(path)])
    with_times = tmp_path / "timed.mkv"
    rebuild(path, with_times)
    heard = click(read_audio(with_times, 48000)[4 * 48000 :], 48000) + 4
    shown = time_of(150, with_times)
    for start in (4.41, 5.0, 5.3, 5.59):
        row = cut(store, path, start, 50)
        assert abs(row["cut_start"] - start) <= 0.021
        numbers = numbers_in(read_frames(store.full(row["path"])))
        assert sorted(set(np.diff(numbers))) == [1]  # each once
        wave, rate = soundfile.read(store.full(row["audio_path"]), always_2d=True)
        apart = click(wave[:, 0], rate) - int(np.argmax(numbers == 150)) / 25
        assert apart == pytest.approx(heard - shown, abs=0.002)


@pytest.mark.parametrize("ending", ["mp4", "mov"])
def test_a_recording_that_was_trimmed_without_encoding(tmp_path, store, counter, ending):
    """Phones and editors keep the frames before the cut and hide them by an edit list."""
    whole = counter(tmp_path / "whole.mp4", fps=25, frames=240)
    large, path = tmp_path / "large.mp4", tmp_path / f"trimmed.{ending}"
    run(["-i", file_url(whole), *LARGE, "-c:v", "libx264", "-g", "250", file_url(large)])
    run(["-ss", "4.32", "-i", file_url(large), "-c", "copy", file_url(path)])
    assert time_of(150, path) == pytest.approx(6 - 4.32, abs=0.021)
    assert click(read_audio(path, 48000), 48000) == pytest.approx(6 - 4.32, abs=0.03)
    assert numbers_in(next(iter_frames(path))[None, :, 64:320])[0] == 108
    row = cut(store, path, 0.8, 40)
    numbers = numbers_in(read_frames(store.full(row["path"])))
    np.testing.assert_array_equal(numbers, numbers[0] + np.arange(40))
    assert numbers[0] == pytest.approx((4.32 + 0.8) * 25, abs=1)
    wave, rate = soundfile.read(store.full(row["audio_path"]), always_2d=True)
    assert click(wave[:, 0], rate) == pytest.approx((150 - numbers[0]) / 25, abs=0.03)


def time_of(number: int, path: Path) -> float:
    """When a file shows that frame of the counter."""
    decoded = decode_frames(path)
    return next(f.time for f in decoded if numbers_in(f.to_rgb()[None, :, 64:320])[0] == number)


def spliced(counter, tmp_path, *offsets: float) -> Path:
    """Two recordings of 4 s in one transport stream, each from its own clock."""
    whole = counter(tmp_path / "whole.mp4", fps=25, frames=100)
    parts = []
    for n, offset in enumerate(offsets):
        part = tmp_path / f"{n}.ts"
        clock = ["-output_ts_offset", f"{offset:g}"]
        run(["-i", file_url(whole), *LARGE, "-c:v", "libx264", *clock, file_url(part)])
        parts.append(part.read_bytes())
    path = tmp_path / "spliced.ts"
    path.write_bytes(b"".join(parts))
    return path


@pytest.mark.parametrize("offsets", [(0, 3000), (3000, 0), (0, 0), (0, 20)])
def test_a_spliced_stream_is_read_as_one(tmp_path, store, counter, offsets):
    """Clock jumps ahead, goes back, restarts, and loses some time: nothing twice, nothing lost."""
    path = spliced(counter, tmp_path, *offsets)
    assert container_of(path) == "mpegts"
    assert clock_breaks(path) == pytest.approx([4.0], abs=0.1)
    source = inspected(path)
    assert source.info.duration == pytest.approx(8.0, abs=0.15)
    numbers = numbers_in(read_frames(store.full(cut(store, path, 0.0, 95)["path"])))
    assert np.abs(numbers - np.arange(95)).max() <= 1
    row = cut(store, path, 4.5, 60)
    numbers = numbers_in(read_frames(store.full(row["path"])))
    assert 10 <= numbers[0] <= 13
    assert (np.diff(numbers) == 1).all()
    wave, rate = soundfile.read(store.full(row["audio_path"]), always_2d=True)
    assert click(wave[:, 0], rate) == pytest.approx((25 - numbers[0]) / 25, abs=0.03)


def test_a_stream_with_one_clock_is_read_as_it_is(tmp_path, counter):
    path = spliced(counter, tmp_path, 5)
    assert clock_breaks(path) == []
    assert inspected(path).breaks is None
    assert not (tmp_path / "cache").exists()


def test_no_clip_lies_across_a_break():
    still = np.zeros((250, 32, 32), np.uint8)
    assert clip_starts(still, 250, 50, 25.0) == [0, 50, 100, 150, 200]
    assert clip_starts(still, 250, 50, 25.0, [5.6]) == [0, 50, 145, 195]
    assert clip_starts(still, 250, 50, None, [1.98]) == [54, 104, 154]  # at a clip's very end


def test_intervals_behind_a_break_are_rejected_with_a_reason(tmp_path, store, config, counter):
    spliced(counter, tmp_path, 0, 3000).rename(tmp_path / "s.ts")
    head = "dataset,speaker,video_fn,interval_id,start_time,end_time\n"
    rows = "train,oliver,s.ts,1,0.5,2.5\ntrain,oliver,s.ts,2,3,5\n"
    (tmp_path / "i.csv").write_text(head + rows)
    result = ingest_pats(store, config, "pats", tmp_path / "i.csv", tmp_path, workers=0)
    before, behind = (row["reason"] for row in result.table.to_pylist())
    assert "clock" not in before
    assert behind.startswith("the clock of its source jumps at 4.0")
