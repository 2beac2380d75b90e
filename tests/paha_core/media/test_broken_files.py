"""Damaged files: every reader either reads them or says so in one sentence.

The corpus is small whole files of each container and format, with bytes flipped, cut out, zeroed or
repeated by a seeded generator.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
from media_files import ffmpeg
from PIL import Image

from paha_core.media.audio import read_audio
from paha_core.media.encode import write_video
from paha_core.media.ffmpeg import MediaError
from paha_core.media.picture import picture_size, read_picture
from paha_core.media.probe import probe
from paha_core.media.timeline import frame_times, frames_at_rate
from paha_core.media.video import conversion_at, decode_frames

VIDEOS = ("mp4", "mkv", "ts", "avi", "flv", "mpg", "ogv", "webm", "mov", "wmv")
SOUNDS = ("wav", "flac", "mp3", "ogg", "m4a", "caf", "au", "aiff")
PICTURES = ("png", "jpg", "webp", "avif", "gif", "bmp", "tif", "jp2", "ppm", "tga")
DAMAGES = 12  # of each file


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("whole")
    draw = np.random.default_rng(0)
    frames = draw.integers(0, 255, (12, 48, 64, 3), np.uint8)
    wave = draw.normal(0, 0.2, 8000).astype(np.float32)
    write_video(folder / "a.mp4", frames, wave=wave)
    soundfile.write(folder / "a.wav", wave, 16000)
    files = {"mp4": folder / "a.mp4", "wav": folder / "a.wav"}
    codecs = {
        "webm": ["-c:v", "libvpx", "-c:a", "libvorbis", "-deadline", "realtime"],
        "ogv": ["-c:v", "libtheora", "-c:a", "libvorbis"],
        "flv": ["-ar", 44100],
    }
    for name in (*VIDEOS, *SOUNDS):
        if name not in files:
            files[name] = folder / f"a.{name}"
            source = files["mp4" if name in VIDEOS else "wav"]
            ffmpeg("-i", source, *codecs.get(name, []), files[name])
    for name in PICTURES:
        files[name] = folder / f"p.{name}"
        Image.fromarray(frames[0]).save(files[name])
    return files


def damaged(content: bytes, draw: np.random.Generator) -> bytes:
    data = bytearray(content)
    start, stop = sorted(draw.integers(0, len(data), 2))
    kind = draw.integers(6)
    if kind == 0:  # flipped bits, often in the header
        for _ in range(8):
            data[int(draw.integers(0, min(len(data), 400)))] ^= 1 << int(draw.integers(8))
    elif kind == 1:
        data = data[:stop]
    elif kind == 2:
        del data[start:stop]
    elif kind == 3:
        data[start:stop] = bytes(stop - start)
    elif kind == 4:
        data[start:start] = data[start:stop]
    else:
        data[start:stop] = draw.bytes(stop - start)
    return bytes(data)


def complaint(read: Callable[..., Any], *args: Any, **options: Any) -> str:
    """What a reader says of a file; empty when it reads it. Any other error fails the test."""
    message = ""
    try:
        read(*args, **options)
    except MediaError as error:
        message = str(error)
    assert "\n" not in message
    return message


def decode(path: Path) -> None:
    for frame in decode_frames(path, start=0.2):
        frame.to_rgb(32)


def decode_at_rate(path: Path) -> None:
    for frame in frames_at_rate(path, 25, 10):
        frame.to_rgb()


@pytest.mark.parametrize("name", [*VIDEOS, *SOUNDS])
def test_damaged_video_and_sound(whole: dict[str, Path], tmp_path: Path, name: str) -> None:
    draw = np.random.default_rng((*VIDEOS, *SOUNDS).index(name))
    for number in range(DAMAGES):
        path = tmp_path / f"{number}.{name}"
        path.write_bytes(damaged(whole[name].read_bytes(), draw))
        if name in VIDEOS:
            complaint(probe, path)
            complaint(frame_times, path, end=1.0)
            complaint(decode, path)
            complaint(decode_at_rate, path)
            complaint(conversion_at, path, 0.3)
        complaint(read_audio, path, seconds=2.0)


@pytest.mark.parametrize("name", PICTURES)
def test_damaged_pictures(whole: dict[str, Path], name: str) -> None:
    draw, complaints = np.random.default_rng(PICTURES.index(name)), 0
    for _ in range(5 * DAMAGES):
        broken = damaged(whole[name].read_bytes(), draw)
        if complaint(picture_size, broken):
            complaints += 1
        elif np.prod(picture_size(broken)) < 10**7:  # readers refuse what announces absurd sizes
            complaints += bool(complaint(read_picture, broken))
    assert complaints > 0


def test_bytes_that_are_nothing() -> None:
    draw = np.random.default_rng(0)
    heads = (b"\x89PNG\r\n\x1a\n", b"\xff\xd8\xff", b"GIF89a", b"RIFF\0\0\0\0WEBP", b"BM", b"II*\0")
    for head in heads:
        for length in (0, 10, 300):
            assert complaint(read_picture, head + draw.bytes(length))
