"""Cutting: exact frames of the right moments, sound of the same span, upright and square."""

from __future__ import annotations

import json
from dataclasses import dataclass, replace
from pathlib import Path
from typing import ClassVar

import av
import numpy as np
import pytest
import soundfile
from media_files import ffmpeg

from paha_core.config import ClipConfig
from paha_core.corpora.clips import ClipTask, Span, cut_clip
from paha_core.corpora.filters import Audible, ClipData, OneScene
from paha_core.corpora.names import require_plain_name, slug, unique
from paha_core.corpora.regions import Crop
from paha_core.corpora.source_files import RemoteFile
from paha_core.corpora.source_manifest import Source
from paha_core.engine.manifest_stage import Rejection
from paha_core.media import FPS
from paha_core.media.audio import read_audio
from paha_core.media.encode import write_video
from paha_core.media.ffmpeg import OutputError, file_url, run
from paha_core.media.probe import probe
from paha_core.media.video import read_frames
from paha_core.store import Store, sha256_file

RATE = 16000  # Hz, of the counter


def source_of(path: Path) -> Source:
    return Source(path, sha256_file(path), probe(path))


def cut(store: Store, path: Path, *, start: float, frames: int, crop=None, filters=()) -> dict:
    span = Span(
        dataset="pats",
        speaker="ada",
        interval="i1",
        source_id="p",
        source=source_of(path),
        start=start,
        frames=frames,
        crop=crop or Crop(16, 0, 64),
    )
    return cut_clip(ClipTask(store, span, ClipConfig(size=64, crf=4), tuple(filters)))


def frame_numbers(store: Store, row: dict) -> np.ndarray:
    return numbers_in(read_frames(store.full(row["path"])))


def numbers_in(frames: np.ndarray) -> np.ndarray:
    """Which frame of the counter each of these squares shows."""
    stripes = frames.reshape(len(frames), frames.shape[1], 8, -1, 3).mean(axis=(1, 3, 4))
    return ((stripes > 125) << np.arange(8)).sum(axis=1)


@pytest.mark.parametrize(
    ("fps", "start", "frames"),
    [(30, 0.0, 25), (30, 1.0, 30), (30, 0.31, 40), (25, 0.6, 20), (24, 2.5, 12), (50, 0.02, 30)],
)
def test_frames_are_those_of_the_moment(tmp_path, store, counter, fps, start, frames):
    path = counter(tmp_path / "s.mp4", fps=fps, frames=110)
    row = cut(store, path, start=start, frames=frames)
    moments = (start + np.arange(frames) / FPS) * fps
    numbers = frame_numbers(store, row)
    assert len(numbers) == frames
    # the frame nearest in time, within the rounding of both rates
    assert np.abs(numbers - moments).max() <= 0.5 + 0.5 * max(1, fps / FPS)
    assert abs((numbers - moments).mean()) < 0.75


def test_thirty_to_twenty_five_drops_every_sixth_frame(tmp_path, store, counter):
    row = cut(store, counter(tmp_path / "s.mp4"), start=0.0, frames=75)
    numbers = frame_numbers(store, row)
    assert len(set(numbers)) == 75  # none twice
    assert numbers[0] == 0
    assert sorted(set(np.diff(numbers))) == [1, 2]
    assert (np.diff(numbers) == 2).sum() in (14, 15)


def test_variable_rate_keeps_time(tmp_path, store, counter):
    """Half the frames of the second second are gone; what is shown when must not move."""
    whole = counter(tmp_path / "s.mp4", fps=25, frames=75)
    keep = ["-vf", "select='lt(t,1)+gte(t,2)+not(mod(n,2))'", "-fps_mode", "vfr", "-crf", "4"]
    run(["-i", file_url(whole), *keep, "-c:a", "copy", file_url(tmp_path / "v.mp4")])
    numbers = frame_numbers(store, cut(store, tmp_path / "v.mp4", start=0.4, frames=60))
    assert np.abs(numbers - (10 + np.arange(60))).max() <= 1.5


def test_a_recording_whose_size_changes(tmp_path, store, counter):
    """As those of calls do when the line gets better: clips keep the time and the square."""
    whole, path = counter(tmp_path / "s.mp4", fps=25, frames=100), tmp_path / "call.ts"
    for start, size in ((0, "96:64"), (2, "192:128")):
        span = ["-ss", str(start), "-t", "2", "-i", file_url(whole), "-vf", f"scale={size}"]
        made = ["-crf", "4", "-bf", "0", "-f", "mpegts", "-output_ts_offset", str(start)]
        run([*span, *made, file_url(tmp_path / "part.ts")])
        with path.open("ab") as file:
            file.write((tmp_path / "part.ts").read_bytes())
    frames = read_frames(path)
    assert frames.shape[1:] == (64, 96, 3)
    assert set(np.diff(numbers_in(frames[:, :, 16:80]))) <= {1, 2}  # the muxer may lose one
    row = cut(store, path, start=1.0, frames=50)
    expected = round(row["cut_start"] * 25) + np.arange(50)
    assert np.abs(frame_numbers(store, row) - expected).max() <= 1


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("s.ts", ["-c:v", "libx264", "-g", "250"]),
        ("s.ts", ["-c:v", "libx264", "-g", "100"]),
        ("s.mpg", ["-c:v", "mpeg2video", "-q:v", "2", "-g", "100", "-c:a", "mp2", "-ar", "48000"]),
        ("s.flv", ["-c:v", "libx264", "-g", "250", "-c:a", "aac", "-ar", "44100"]),
    ],
)
def test_containers_without_an_index_are_cut_at_the_moment(tmp_path, store, counter, name, options):
    """Their seeks may land behind the keyframe that is needed."""
    whole, path = counter(tmp_path / "whole.mp4", fps=25, frames=240), tmp_path / name
    shape = ["-vf", "scale=384:256:flags=neighbor", "-crf", "4", "-preset", "veryfast"]
    run(["-i", file_url(whole), *shape, *options, file_url(path)])
    for start, click in ((0.0, 1), (5.0, 6), (7.24, None)):
        row = cut(store, path, start=start, frames=50, crop=Crop(64, 0, 256))
        off = frame_numbers(store, row) - (start * 25 + np.arange(50))
        assert np.abs(off).max() <= 1.5  # the sound may begin a little before the picture
        read = numbers_in(read_frames(path, start=start, end=start + 0.2)[:, :, 64:320])
        assert abs(read[0] - start * 25) <= 1.5
        if click is not None:
            wave, rate = soundfile.read(store.full(row["audio_path"]), always_2d=True)
            heard = int(np.argmax(np.abs(wave[:, 0]) > 0.4)) / rate
            assert heard == pytest.approx(click - start, abs=0.06)


def test_a_picture_that_comes_late(tmp_path, store, counter):
    path = counter(tmp_path / "s.mp4")
    late = ["-itsoffset", "0.5", "-i", file_url(path), "-i", file_url(path)]
    run([*late, "-map", "0:v", "-map", "1:a", "-c", "copy", file_url(tmp_path / "l.mkv")])
    with pytest.raises(Rejection, match=r"first picture that can be decoded is at 0\.50 s"):
        cut(store, tmp_path / "l.mkv", start=0.2, frames=25)
    assert len(frame_numbers(store, cut(store, tmp_path / "l.mkv", start=0.6, frames=25))) == 25


def test_a_picture_held_for_long_is_the_one_on_show(tmp_path, store, counter):
    """Frames 25 to 99 are missing: frame 24 is shown for three seconds."""
    whole = counter(tmp_path / "s.mp4", fps=25, frames=150)
    hold = ["-vf", "select='lt(t,1)+gte(t,4)'", "-fps_mode", "vfr", "-crf", "4", "-c:a", "copy"]
    run(["-i", file_url(whole), *hold, file_url(tmp_path / "h.mp4")])
    numbers = frame_numbers(store, cut(store, tmp_path / "h.mp4", start=3.4, frames=30))
    assert (numbers[:14] == 24).all()
    assert np.abs(numbers[16:] - np.arange(101, 115)).max() <= 1.5


@pytest.mark.parametrize("gap", [0.02, 0.08, 0.29])
def test_a_gap_in_the_sound_is_silence(tmp_path, store, counter, gap):
    """Not left out: then all that is heard after it would come too early."""
    path = counter(tmp_path / "s.mp4", frames=210)
    lost = f"asetnsamples=160,aselect='not(between(t,2,{1.99 + gap}))'"
    options = ["-c:v", "copy", "-filter:a", lost, "-c:a", "pcm_s16le"]
    run(["-i", file_url(path), *options, file_url(tmp_path / "gap.mkv")])
    row = cut(store, tmp_path / "gap.mkv", start=0.5, frames=150)
    wave, rate = soundfile.read(store.full(row["audio_path"]))
    late = wave[3 * rate :]
    assert int(np.argmax(np.abs(late) > 0.4)) / rate + 3 == pytest.approx(5.5, abs=0.003)
    whole = read_audio(tmp_path / "gap.mkv", RATE)[3 * RATE :]
    assert int(np.argmax(np.abs(whole) > 0.4)) / RATE + 3 == pytest.approx(6.0, abs=0.003)


def test_a_full_disk_is_the_runs_own_trouble(tmp_path, store, counter):
    span = ["-i", file_url(counter(tmp_path / "s.mp4")), "-f", "wav", "file:/dev/full"]
    with pytest.raises(OutputError, match="No space left on device"):
        run(span)


def test_sound_is_of_the_same_span(tmp_path, store, counter):
    row = cut(store, counter(tmp_path / "s.mp4"), start=0.31, frames=40)
    wave, rate = soundfile.read(store.full(row["audio_path"]))
    assert (rate, row["audio_rate"], len(wave)) == (RATE, RATE, round(40 / FPS * RATE))
    assert row["audio_seconds"] == pytest.approx(40 / FPS)
    assert row["cut_start"] == pytest.approx(0.3, abs=1e-6)  # the nearest frame at 30 fps
    assert int(np.argmax(np.abs(wave) > 0.4)) / rate == pytest.approx(1 - 0.3, abs=0.002)
    assert probe(store.full(row["path"])).duration == pytest.approx(40 / FPS)


def test_the_row_records_the_video_and_repeats(tmp_path, store, counter):
    path = counter(tmp_path / "s.mp4")
    row = cut(store, path, start=0.5, frames=30, filters=[Audible(), OneScene(255)])
    assert row["path"] == "clips/pats/ada/i1.mp4"
    assert row["sha256"] == sha256_file(store.full(row["path"]))
    assert set(json.loads(row["scores"])) == {"mean_db", "frame_change"}
    assert cut(store, path, start=0.5, frames=30)["sha256"] == row["sha256"]


def test_a_rotated_video_is_cut_upright(tmp_path, store):
    frames = np.zeros((30, 64, 128, 3), np.uint8)
    frames[:, :, :64] = 250  # left half bright
    wave = np.full(30 * RATE // FPS, 0.1, np.float32)
    write_video(tmp_path / "w.mp4", frames, wave=wave)
    turn = ["-display_rotation", "90", "-i", file_url(tmp_path / "w.mp4"), "-c", "copy"]
    run([*turn, file_url(tmp_path / "t.mp4")])
    upright = read_frames(tmp_path / "t.mp4")[0]
    assert upright.shape == (128, 64, 3)
    row = cut(store, tmp_path / "t.mp4", start=0, frames=20, crop=Crop(0, 64, 64))
    expected = upright[64:].mean()
    assert read_frames(store.full(row["path"])).mean() == pytest.approx(expected, abs=3)


def test_ten_bit_odd_sides_and_five_channels(tmp_path, store, counter):
    make = ["-vf", "scale=97:65", "-c:v", "libx264", "-pix_fmt", "yuv444p10le", "-ac", "6"]
    path = counter(tmp_path / "s.mp4", frames=60)
    run(["-i", file_url(path), *make, "-c:a", "flac", file_url(tmp_path / "odd.mkv")])
    row = cut(store, tmp_path / "odd.mkv", start=0.2, frames=30, crop=Crop(3, 0, 65))
    assert read_frames(store.full(row["path"])).shape == (30, 64, 64, 3)
    assert soundfile.info(store.full(row["audio_path"])).channels == 2


def test_audio_that_ends_early(tmp_path, store, counter):
    path = counter(tmp_path / "s.mp4")
    run(["-i", file_url(path), "-c:v", "copy", "-af", "atrim=end=2", file_url(tmp_path / "a.mp4")])
    with pytest.raises(Rejection, match=r"audio ends 0\.9. s before the picture"):
        cut(store, tmp_path / "a.mp4", start=0.5, frames=61)
    assert not store.glob("clips/pats/ada/*")
    cut(store, tmp_path / "a.mp4", start=0.5, frames=30)


def test_audio_that_starts_late_stays_in_sync(tmp_path, store, counter):
    path = counter(tmp_path / "s.mp4")
    shift = ["-i", file_url(path), "-itsoffset", "0.5", "-i", file_url(path)]
    run([*shift, "-map", "0:v", "-map", "1:a", "-c", "copy", file_url(tmp_path / "l.mp4")])
    row = cut(store, tmp_path / "l.mp4", start=0.2, frames=60)
    wave, rate = soundfile.read(store.full(row["audio_path"]))
    assert int(np.argmax(np.abs(wave) > 0.4)) / rate == pytest.approx(1.5 - 0.2, abs=0.002)


def test_a_span_beyond_the_end(tmp_path, store, counter):
    with pytest.raises(Rejection, match=r"its source at 3\.00 s"):
        cut(store, counter(tmp_path / "s.mp4"), start=2.0, frames=50)
    nowhere = RemoteFile("memory://nowhere/s.mp4", 1000, "stamp")
    source = replace(source_of(tmp_path / "s.mp4"), path=nowhere)
    span = Span("pats", "ada", "i", "p", source, 2.0, 50, Crop(16, 0, 64))
    with pytest.raises(Rejection, match="its source at"):  # known without fetching it
        cut_clip(ClipTask(store, span, ClipConfig(), ()))


@dataclass(frozen=True)
class SameFrames:
    """Fails unless the frames that it reads were decoded before."""

    name: ClassVar[str] = "same"

    def check(self, clip: ClipData) -> float:
        assert clip.frames() is clip.frames()
        return float(len(list(clip.frames())))


def test_the_filters_of_a_clip_share_one_decoding(tmp_path, store, counter):
    path = counter(tmp_path / "s.mp4", fps=25, frames=60)
    row = cut(store, path, start=0.2, frames=30, filters=[SameFrames()])
    assert json.loads(row["scores"])["same"] == 30


def test_filters_on_synthetic_pictures():
    rng = np.random.default_rng(0)
    grey = np.full((20, 32, 32), 90, np.uint8)
    switched = grey.copy()
    switched[12:] = 200
    loud = rng.normal(0, 0.1, RATE).astype(np.float32)
    blank = [np.zeros((64, 64, 3), np.uint8)]
    assert Audible().check(ClipData(blank, grey, loud)) == pytest.approx(-20, abs=0.5)
    assert OneScene().check(ClipData(blank, grey, loud)) == 0
    with pytest.raises(Rejection, match=r"scene switches at 0\.48 s"):
        OneScene().check(ClipData(blank, switched, loud))
    with pytest.raises(Rejection, match="silence"):
        Audible().check(ClipData(blank, grey, loud * 0))


def test_names():
    assert slug("April 6, 2015 - part.1 #x") == "April_6_2015_-_part_1_x"
    assert slug("新闻 联播") == "新闻_联播"
    assert slug("../..") == "unnamed"
    assert slug("a" * 300) == "a" * 110
    assert slug("播" * 80) == "播" * 36  # three bytes each: a file name holds 255
    assert unique(["a", "b", "a", "a_2", "a"]) == ["a", "b", "a_2", "a_2_2", "a_3"]
    assert require_plain_name("it's # 1.webm", "name") == "it's # 1.webm"
    for bad in ("../x", "/etc/passwd", "a\\b", ".hidden", "", "a\0b", "a\nb"):
        with pytest.raises(Rejection):
            require_plain_name(bad, "name")


def test_hdr_sources_become_sdr(tmp_path, store, counter):
    """What `media.conversion` says about a source holds for the clips cut from it."""
    plain, hdr = counter(tmp_path / "s.mp4", fps=25), tmp_path / "hdr.mp4"
    to_hdr = "zscale=tin=bt709:pin=bt709:min=bt709:t=linear:npl=203:p=bt2020,format=gbrpf32le,"
    to_hdr += "zscale=t=arib-std-b67:npl=203:m=bt2020nc:r=tv,format=yuv420p10le"
    ffmpeg("-i", plain, "-vf", to_hdr, "-c:v", "libx264", "-crf", 4, "-c:a", "copy", hdr)
    expected = read_frames(store.full(cut(store, plain, start=0.4, frames=20)["path"]))
    row = cut(store, hdr, start=0.4, frames=20)
    assert np.abs(read_frames(store.full(row["path"])).astype(int) - expected).mean() < 5
    with av.open(store.full(row["path"])) as container:  # and is tagged as such
        frame = next(container.decode(video=0))
    tags = int(frame.color_trc), int(frame.color_primaries), frame.format.name
    assert tags == (1, 1, "yuv420p")


def test_interlaced_sources_become_progressive(tmp_path, store, counter):
    frames = np.full((100, 64, 96, 3), 40, np.uint8)
    for n in range(100):
        frames[n, :, (4 * n) % 90 : (4 * n) % 90 + 20] = 220
    wave = np.random.default_rng(0).normal(0, 0.01, 2 * RATE).astype(np.float32)
    write_video(tmp_path / "s.mp4", frames, fps=50, wave=wave, crf=4)
    fields = ["-vf", "tinterlace=interleave_top,setfield=tff", "-c:v", "libx264", "-crf", 4]
    flags = ["-flags", "+ildct+ilme", "-x264opts", "tff=1", "-c:a", "copy"]
    ffmpeg("-i", tmp_path / "s.mp4", *fields, *flags, tmp_path / "tv.mp4")
    row = cut(store, tmp_path / "tv.mp4", start=0.4, frames=20)
    clip = read_frames(store.full(row["path"])).astype(int)
    assert np.abs(2 * clip[:, 1:-1] - clip[:, :-2] - clip[:, 2:]).mean() < 3


def test_the_default_audio_track_is_cut(tmp_path, store, counter):
    path = tmp_path / "two.mp4"
    silence = ["-f", "lavfi", "-i", "anullsrc=r=48000:cl=stereo"]
    tracks = ["-map", "0:v", "-map", "1:a", "-map", "0:a", "-t", "3", "-c:v", "copy"]
    default = ["-disposition:a:0", "0", "-disposition:a:1", "default"]
    source = counter(tmp_path / "s.mp4")
    ffmpeg("-i", source, *silence, *tracks, *default, path)
    row = cut(store, path, start=0.5, frames=25)
    wave, rate = soundfile.read(store.full(row["audio_path"]))
    assert (rate, wave.ndim) == (RATE, 1)
    assert abs(int(np.argmax(np.abs(wave) > 0.3)) / rate - 0.5) < 0.003


def test_opposite_phases_do_not_make_a_clip_silent(tmp_path, store, counter):
    mono = counter(tmp_path / "s.mp4")
    opposite = ["-af", "pan=stereo|c0=c0|c1=-1*c0", "-c:v", "copy"]
    ffmpeg("-i", mono, *opposite, tmp_path / "o.mp4")
    row = cut(store, tmp_path / "o.mp4", start=0.5, frames=25, filters=[Audible(-60.0)])
    assert row["audio_seconds"] == pytest.approx(1.0)
