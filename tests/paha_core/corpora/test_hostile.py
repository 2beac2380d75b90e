"""Strangers' files: each gives a kept clip or a row with a reason a person understands."""

from __future__ import annotations

import csv
from collections.abc import Callable
from pathlib import Path

import pytest

from paha_core.corpora.pats import ingest_pats
from paha_core.media.ffmpeg import file_url, run
from paha_core.media.probe import probe

Make = Callable[[Path, Path], None]  # from a good source to the file


def ffmpeg(*options: str, before: tuple[str, ...] = ()) -> Make:
    def make(source: Path, made: Path) -> None:
        run([*before, "-i", file_url(source), *options, file_url(made)])

    return make


def bytes_of(change: Callable[[bytes], bytes]) -> Make:
    return lambda source, made: made.write_bytes(change(source.read_bytes())) and None


def names_the_secret(text: str) -> Make:
    """A file that asks to read another one."""
    return lambda source, made: made.write_text(text.format(secret=source)) and None


def without_a_rate(source: Path, made: Path) -> None:
    """An avi whose header says 0 fps, as broken recorders write it."""
    run(["-i", file_url(source), "-c:v", "mpeg4", "-c:a", "mp3", file_url(made)])
    data = bytearray(made.read_bytes())
    strh = data.index(b"vids") - 8
    data[strh + 28 : strh + 36] = bytes(8)  # dwScale, dwRate
    avih = data.index(b"avih")
    data[avih + 8 : avih + 12] = bytes(4)  # dwMicroSecPerFrame
    made.write_bytes(data)


def picture_ends(source: Path, made: Path) -> None:
    second = ["-i", file_url(source)]
    streams = ["-map", "0:v", "-map", "1:a", "-c", "copy"]
    run(["-t", "2", *second, *second, *streams, file_url(made)])


HEVC = ("-c:v", "libx265", "-x265-params", "log-level=none:pools=none", "-preset", "ultrafast")

# name -> (how it is made, what the row says; empty: a clip of exactly 50 frames)
FILES: dict[str, tuple[Make, str]] = {
    "good.mp4": (ffmpeg("-c", "copy"), ""),
    # files that are not what they say
    "truncated.mp4": (bytes_of(lambda b: b[: len(b) // 2]), "truncated|cut off"),
    "empty.mp4": (bytes_of(lambda b: b""), "the file is empty"),
    "junk.mp4": (bytes_of(lambda b: b"junk" * 5000), "not a readable"),
    "holes.mp4": (bytes_of(lambda b: b[:9000] + bytes(40_000) + b[49_000:]), ""),
    "song.mp4": (ffmpeg("-vn", "-f", "mp3"), "only audio"),
    "mute.mp4": (ffmpeg("-an", "-c", "copy"), "no audio"),
    # files that ask for others
    "list.mp4": (
        names_the_secret("#EXTM3U\n#EXTINF:7,\nfile://{secret}\n#EXT-X-ENDLIST\n"),
        "not a readable",
    ),
    "concat.mp4": (names_the_secret("ffconcat version 1.0\nfile '{secret}'\n"), "not a readable"),
    "net.mp4": (
        names_the_secret("#EXTM3U\n#EXTINF:7,\nhttp://127.0.0.1:9/x.ts\n#EXT-X-ENDLIST\n"),
        "not a readable",
    ),
    "sdp.mp4": (
        names_the_secret("v=0\nc=IN IP4 127.0.0.1\nm=video 5004 RTP/AVP 96\n"),
        "not a readable",
    ),
    # times and rates that make no sense
    "long.mkv": (ffmpeg("-c", "copy", before=("-itsscale", "60000")), "absurd"),
    "day.mkv": (ffmpeg("-c", "copy", before=("-itsscale", "5000")), "longer than 7200 s"),
    "norate.avi": (without_a_rate, ""),
    "still.mp4": (ffmpeg("-frames:v", "1", "-c:a", "copy"), "but its source at"),
    "slow.mp4": (ffmpeg("-r", "2", "-c:a", "copy"), ""),
    # shapes and codecs
    "odd.mkv": (ffmpeg("-vf", "scale=227:127", "-pix_fmt", "yuv444p", "-c:a", "copy"), ""),
    "turned.mp4": (ffmpeg("-c", "copy", before=("-display_rotation", "90")), "no square"),
    "upside down.mp4": (
        ffmpeg("-vf", "hflip,vflip", "-metadata:s:v", "rotate=180", "-c:a", "copy"),
        "no face",
    ),
    "narrow.mp4": (ffmpeg("-vf", "setsar=1/3", "-c:a", "copy"), "no square"),
    "ten bit.mp4": (ffmpeg("-pix_fmt", "yuv420p10le", "-c:a", "copy"), ""),
    "hevc.mp4": (ffmpeg(*HEVC, "-c:a", "copy"), ""),
    "hevc ten bit.mkv": (ffmpeg(*HEVC, "-pix_fmt", "yuv420p10le", "-c:a", "copy"), ""),
    "vp9 opus.webm": (ffmpeg("-c:v", "libvpx-vp9", "-cpu-used", "8", "-deadline", "realtime"), ""),
    # sound
    "mono.mp4": (ffmpeg("-c:v", "copy", "-ac", "1", "-ar", "8000"), ""),
    "surround.mkv": (ffmpeg("-c:v", "copy", "-ac", "6", "-ar", "48000", "-c:a", "ac3"), ""),
    "sound ends.mp4": (ffmpeg("-c:v", "copy", "-af", "atrim=end=2"), "the audio ends 1.0"),
    "sound goes on.mp4": (ffmpeg("-c:v", "copy", "-af", "apad=pad_dur=5"), ""),
    "picture ends.mp4": (picture_ends, "the source holds"),
}


def test_every_file_gives_a_clip_or_a_reason(studio, config, store, tmp_path):
    source = studio / "pats/videos/ada_000.mp4"
    folder = tmp_path / "videos"
    folder.mkdir()
    for name, (make, _) in FILES.items():
        make(source, folder / name)
    listed = tmp_path / "i.csv"
    with listed.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["speaker", "video_fn", "interval_id", "start_time", "end_time", "dataset"])
        for n, name in enumerate(FILES):
            writer.writerow(["ada", name, n, 1, 3, "train"])
    result = ingest_pats(store, config, "pats", listed, folder, workers=0)

    rows = result.table.to_pylist()
    assert len(rows) == len(FILES)
    for row, (name, (_, words)) in zip(rows, FILES.items(), strict=True):
        context = (name, row["reason"])
        assert row["status"] == ("rejected" if words else "kept"), context
        assert any(w in row["reason"] for w in words.split("|")), context
        if not words:
            made = probe(store.full(row["path"]))
            assert (made.frames, made.width, made.height) == (50, 128, 128), context
            assert row["audio_seconds"] == pytest.approx(2.0), context
    assert store.glob("clips/**/*.mp4") == sorted(r["path"] for r in rows if r["path"])
    assert not [p for p in folder.iterdir() if p.name not in FILES]
