"""Write video files: H.264 and AAC in mp4."""

from __future__ import annotations

import tempfile
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any

import ffmpeg
import numpy as np

from paha_core.media.audio import IN_TIME, Wave, pad_or_trim, write_wav
from paha_core.media.ffmpeg import file_url, open_media, run, safe_input
from paha_core.media.streams import audio_stream
from paha_core.media.video import Frames


@dataclass(frozen=True)
class SoundFile:
    """The audio of a file to mux into a video.

    start: seconds in the file at which the video begins; negative, silence comes first.
    """

    path: Path
    start: float = 0.0

    def stream(self, seconds: float) -> Any:
        """An ffmpeg stream of exactly that length. Raises `MediaError` for a file without audio."""
        with open_media(self.path) as container:
            index = audio_stream(container).index
        stream = safe_input(self.path)[str(index)].filter("aresample", **IN_TIME)
        if self.start > 0:
            stream = stream.filter("atrim", start=self.start).filter("asetpts", "PTS-STARTPTS")
        elif self.start < 0:
            stream = stream.filter("adelay", f"{-self.start * 1000:.3f}", all=1)
        return stream.filter("apad", whole_dur=seconds).filter("atrim", end=seconds)


def write_video(
    path: str | Path,
    frames: Iterable[Frames] | Frames,
    *,
    fps: float = 25,
    wave: Wave | None = None,
    sample_rate: int = 16000,
    sound: SoundFile | None = None,
    crf: int = 18,
    count: int | None = None,
    timeout: float | None = 600.0,
) -> None:
    """Write H.264 (yuv420p) and AAC as an mp4 that browsers play; same input, same bytes.

    frames: uint8 RGB [T, H, W, 3], H and W even. wave: float32 mono [N] in [-1, 1], cut or padded
    with silence to exactly T / fps seconds. sound: instead of `wave`, the audio of a file at its
    own rate and channels, cut or padded alike. count: T, so that the frames of an iterator need not
    be collected to know it. Raises `ValueError` for other frames, `MediaError` when ffmpeg fails.
    """
    rate = Fraction(fps).limit_denominator(1001)
    iterator = iter(frames)
    first = next(iterator, None)
    if first is None:
        raise ValueError("a video needs at least one frame")
    height, width = _check_frame(first, first.shape)
    if height % 2 or width % 2:
        raise ValueError(f"frame width and height must be even, got {width}x{height}")
    if isinstance(frames, np.ndarray):
        count = len(frames)
    elif wave is None and sound is None:
        count = 0
    elif count is None:  # the audio's length depends on the number of frames
        rest = list(iterator)
        iterator, count = iter(rest), len(rest) + 1

    def pieces() -> Iterator[bytes]:
        yield first.tobytes()
        for frame in iterator:
            _check_frame(frame, first.shape)
            yield np.ascontiguousarray(frame).tobytes()

    pictures = ffmpeg.input(
        "pipe:0", format="rawvideo", pix_fmt="rgb24", s=f"{width}x{height}", r=str(rate)
    ).filter("scale", out_color_matrix="bt709", out_range="tv")
    options = x264_options(crf) | {
        "pix_fmt": "yuv420p",
        "colorspace": "bt709",
        "color_primaries": "bt709",
        "color_trc": "bt709",
        "color_range": "tv",
        "movflags": "+faststart",
        "f": "mp4",
    }
    with tempfile.TemporaryDirectory(prefix="paha-") as folder:
        streams = [pictures]
        if sound is not None:
            streams.append(sound.stream(float(count / rate)))
            options |= {"acodec": "aac", "audio_bitrate": "192k"}
        elif wave is not None:
            pcm = Path(folder) / "sound.wav"
            write_wav(pcm, pad_or_trim(wave, round(count / rate * sample_rate)), sample_rate)
            streams.append(ffmpeg.input(file_url(pcm)).audio)
            options |= {"acodec": "aac", "audio_bitrate": "128k"}
        run(ffmpeg.output(*streams, file_url(path), **options), timeout=timeout, stdin=pieces())


def with_comment(path: str | Path, out: str | Path, comment: str) -> None:
    """Copy the mp4 `path` to `out`, not encoded again, with that comment in its metadata."""
    options = {"c": "copy", "map_metadata": 0, "fflags": "+bitexact", "flags": "+bitexact"}
    options |= {"movflags": "+faststart", "f": "mp4", "metadata": f"comment={comment}"}
    run(ffmpeg.output(safe_input(path), file_url(out), **options), timeout=None)


def x264_options(crf: int) -> dict[str, Any]:
    """Encoder options for the same bytes everywhere: x264's output depends on its thread count."""
    return {
        "vcodec": "libx264",
        "crf": crf,
        "preset": "veryfast",
        "threads": 1,
        "fflags": "+bitexact",
        "flags": "+bitexact",
        "map_metadata": -1,
    }


def _check_frame(frame: Frames, shape: tuple[int, ...]) -> tuple[int, int]:
    if frame.dtype != np.uint8 or frame.ndim != 3 or frame.shape[2] != 3 or frame.shape != shape:
        got = f"{frame.dtype} {frame.shape}"
        raise ValueError(f"frames must be uint8 [H, W, 3] of one size, got {got}")
    return int(frame.shape[0]), int(frame.shape[1])
