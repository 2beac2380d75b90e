"""Properties of a video file."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import av

from paha_core.media.ffmpeg import Media, MediaError, open_media
from paha_core.media.streams import audio_stream, video_stream

MAX_SECONDS = 24 * 3600.0  # a longer duration tag is a broken or hostile file
MAX_PIXELS = 8192 * 8192


@dataclass(frozen=True)
class MediaInfo:
    """Properties of a video file; width and height as displayed (rotated, square pixels)."""

    width: int
    height: int
    fps: float  # average
    duration: float  # seconds
    frames: int | None  # as the container declares
    has_audio: bool
    audio_rate: int  # Hz; 0 without audio
    audio_channels: int
    video_codec: str
    square_pixels: bool


def probe(path: Media) -> MediaInfo:
    """The properties of a file or an open one; its first frame is decoded to prove that it can be.

    Raises `MediaError` for an empty, truncated or unreadable file, for one without video, and for
    an absurd duration or size.
    """
    with open_media(path) as container:
        stream = video_stream(container)
        _check_complete(stream, container.size)
        if stream.codec_context.width * stream.codec_context.height > MAX_PIXELS:
            raise MediaError("the picture is absurdly large")
        duration = _duration(container, stream)
        fps = float(stream.average_rate or stream.guessed_rate or 0)
        if fps <= 0 and stream.frames:
            fps = stream.frames / duration
        if not 0 < fps < 1000:
            raise MediaError(f"the frame rate makes no sense ({fps:g} fps)")
        container.seek(0)
        frame = next(container.decode(stream), None)
        if frame is None:
            raise MediaError("no picture can be decoded")
        aspect = float(stream.sample_aspect_ratio or 1) or 1.0
        width, height = round(frame.width * aspect), frame.height
        if not 0 < width * height <= MAX_PIXELS:
            raise MediaError(f"the shape of its pixels makes no sense ({aspect:g} to 1)")
        if int(frame.rotation) % 180:
            width, height = height, width
        audio = audio_stream(container) if container.streams.audio else None
        return MediaInfo(
            width=width,
            height=height,
            fps=fps,
            duration=duration,
            frames=stream.frames or None,
            has_audio=audio is not None,
            audio_rate=int(audio.codec_context.sample_rate or 0) if audio else 0,
            audio_channels=audio.codec_context.channels if audio else 0,
            video_codec=stream.codec_context.name,
            square_pixels=abs(aspect - 1) < 1e-3,
        )


def read_comment(path: Media) -> str:
    """The comment in a file's metadata; empty where it has none. Raises `MediaError` for a file
    that can't be read."""
    with open_media(path) as container:
        return str(container.metadata.get("comment", ""))


def _check_complete(stream: Any, size: int) -> None:
    """A truncated mp4 whose index is in front still opens: compare the index with the size."""
    entries = stream.index_entries
    if len(entries):
        last = max(
            entries[i].pos + entries[i].size for i in range(max(0, len(entries) - 8), len(entries))
        )
        if last > size:
            raise MediaError("the file is truncated: its index points past its end")


def _duration(container: Any, stream: Any) -> float:
    if container.duration:
        seconds = container.duration / av.time_base
    elif stream.duration:
        seconds = float(stream.duration * stream.time_base)
    else:  # a live recording without a duration tag
        times = [p.pts for p in container.demux(stream) if p.pts is not None]
        seconds = float((max(times) - min(times)) * stream.time_base) if times else 0.0
    if seconds <= 0:
        raise MediaError("the video has no duration")
    if seconds > MAX_SECONDS:
        raise MediaError(f"the duration is absurd ({seconds / 3600:.0f} hours)")
    return seconds
