"""Video in and out: uint8 RGB frames [T, H, W, 3], as displayed (rotation applied)."""

from __future__ import annotations

import tempfile
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import cv2
import ffmpeg
import numpy as np
from numpy.typing import NDArray

from paha_core.media.audio import Wave, write_wav
from paha_core.media.ffmpeg import Media, MediaError, file_url, open_media, run

Frames = NDArray[np.uint8]

MAX_SECONDS = 24 * 3600.0  # a longer duration tag is a broken or hostile file
MAX_PIXELS = 8192 * 8192


@dataclass(frozen=True)
class MediaInfo:
    """What a video file holds. Width and height as displayed (rotation and pixel shape applied)."""

    width: int
    height: int
    fps: float  # average
    duration: float  # seconds
    frames: int | None  # as the container says
    has_audio: bool
    audio_rate: int  # Hz; 0 without audio
    audio_channels: int
    video_codec: str
    square_pixels: bool


def probe(path: Media) -> MediaInfo:
    """Open the file (or one that is open), decode its first picture and say what is in it.

    Raises `MediaError` in plain words for an empty, truncated or unreadable file, one without a
    picture, and one with an absurd duration or size.
    """
    with open_media(path) as container:
        stream = _video_stream(container)
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
        if int(frame.rotation) % 180:
            width, height = height, width
        audio = next(iter(container.streams.audio), None)
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


def seek_point(path: str | Path, start: float) -> tuple[float, float]:
    """Where to seek to, in seconds, so that the picture on show at `start` can be decoded, and the
    time of the first picture that a decoder gives from there; (0, …): read from the beginning.

    A seek in a container without an index (MPEG-TS, MPEG-PS) may land behind the keyframe it needs,
    and a decoder is silent up to the next one: so one steps back until a keyframe is early enough.
    """
    back = 0.0
    with open_media(path) as container:
        while (seek := start - back) > 0:
            container.seek(int((seek + _zero(container)) * av.time_base))
            first = _first_keyframe(container)
            if first is not None and first <= start:
                return seek, first
            back = 2 * back or 1.0
    with open_media(path) as container:
        first = _first_keyframe(container)
    return 0.0, 0.0 if first is None else first  # without times (raw streams) it is the beginning


@dataclass(frozen=True)
class Moment:
    """A decoded frame that is not a picture yet, and its time in seconds."""

    time: float
    frame: Any  # PyAV's

    def picture(self, size: int | None = None) -> Frames:
        """RGB, upright; a square of `size`, cut at its longer sides equally, when that is given."""
        return _picture(self.frame, size)

    def grey(self, side: int) -> NDArray[np.uint8]:
        """The whole picture as [side, side], whatever its shape."""
        small = self.frame.reformat(width=side, height=side, format="gray", interpolation="AREA")
        return np.asarray(small.to_ndarray(), dtype=np.uint8)


def iter_moments(
    path: str | Path,
    *,
    start: float | None = None,
    end: float | None = None,
    all_cores: bool = False,
) -> Iterator[Moment]:
    """The frames with `start <= time < end` (seconds). Raises `MediaError` when the file can't be
    decoded."""
    seek = seek_point(path, start)[0] if start else 0.0
    with open_media(path) as container:
        stream = _video_stream(container)
        if all_cores:
            stream.thread_type = "AUTO"
        if seek:
            container.seek(int((seek + _zero(container)) * av.time_base))
        for frame in container.decode(stream):
            time = (frame.time or 0.0) - _zero(container)
            if start is not None and time < start - 1e-3:
                continue
            if end is not None and time >= end - 1e-3:
                break
            yield Moment(time, frame)


def iter_frames(
    path: str | Path,
    size: int | None = None,
    *,
    start: float | None = None,
    end: float | None = None,
) -> Iterator[Frames]:
    """The pictures [H, W, 3] of `iter_moments`, squares of `size` when that is given."""
    return (moment.picture(size) for moment in iter_moments(path, start=start, end=end))


def read_frames(
    path: str | Path,
    *,
    size: int | None = None,
    start: float | None = None,
    end: float | None = None,
) -> Frames:
    """The frames of `iter_frames` as one array [T, H, W, 3]; `MediaError` when there are none."""
    frames = list(iter_frames(path, size, start=start, end=end))
    if not frames:
        raise MediaError(f"no frames in {Path(path).name} between {start} and {end} s")
    return np.stack(frames)


def write_video(
    path: str | Path,
    frames: Iterable[Frames] | Frames,
    *,
    fps: float = 25,
    wave: Wave | None = None,
    sample_rate: int = 16000,
    crf: int = 18,
    count: int | None = None,
    timeout: float = 600.0,
) -> None:
    """Write H.264 (yuv420p) and AAC as an mp4 that browsers play; same input, same bytes.

    frames: uint8 RGB [T, H, W, 3], H and W even. wave: float32 mono [N] in [-1, 1], cut or padded
    with silence to exactly T / fps seconds. count: T, so that an iterator's frames need not all be
    held to know it. Raises `ValueError` for other frames, `MediaError` when
    ffmpeg fails.
    """
    rate = Fraction(fps).limit_denominator(1001)
    iterator = iter(frames)
    first = next(iterator, None)
    if first is None:
        raise ValueError("a video needs at least one frame")
    height, width = _check_frame(first, first.shape)
    if height % 2 or width % 2:
        raise ValueError(f"H.264 needs even sides, got {width}x{height}")
    if isinstance(frames, np.ndarray):
        count = len(frames)
    elif wave is None:
        count = 0
    elif count is None:  # the audio's length is known only once the frames are counted
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
        if wave is not None:
            sound = Path(folder) / "sound.wav"
            write_wav(sound, fit_wave(wave, round(count / rate * sample_rate)), sample_rate)
            streams.append(ffmpeg.input(file_url(sound)).audio)
            options |= {"acodec": "aac", "audio_bitrate": "128k"}
        run(ffmpeg.output(*streams, file_url(path), **options), timeout=timeout, stdin=pieces())


def fit_wave(wave: Wave, samples: int) -> Wave:
    """`wave` [N] cut or padded with silence at its end to exactly `samples`."""
    wave = np.asarray(wave, dtype=np.float32)
    if wave.ndim != 1:
        raise ValueError(f"a mono wave has one axis, got shape {wave.shape}")
    return np.pad(wave[:samples], (0, max(0, samples - len(wave))))


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


# --- reading, in detail ------------------------------------------------------------------------


def _video_stream(container: Any) -> Any:
    for stream in container.streams.video:
        if not int(stream.disposition) & int(av.stream.Disposition.attached_pic):  # an mp3's cover
            return stream
    kind = "only audio" if container.streams.audio else "neither picture nor sound"
    raise MediaError(f"the file holds no video: {kind}")


def _zero(container: Any) -> float:
    """Seconds: what the file calls its beginning."""
    return float(container.start_time or 0) / av.time_base


def _first_keyframe(container: Any) -> float | None:
    """The time of the next keyframe from where the container stands; packets are only looked at."""
    for packet in container.demux(_video_stream(container)):
        if packet.is_keyframe and packet.pts is not None:
            return float(packet.pts * packet.time_base) - _zero(container)
    return None


def _check_complete(stream: Any, size: int) -> None:
    """An mp4 with its index in front opens although its end is missing: the index shows it."""
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
    else:  # recorded live: no tag, so count
        times = [p.pts for p in container.demux(stream) if p.pts is not None]
        seconds = float((max(times) - min(times)) * stream.time_base) if times else 0.0
    if seconds <= 0:
        raise MediaError("the video has no duration")
    if seconds > MAX_SECONDS:
        raise MediaError(f"the duration is absurd ({seconds / 3600:.0f} hours)")
    return seconds


def _picture(frame: Any, size: int | None) -> Frames:
    """One decoded frame as RGB, upright, and square when `size` is given."""
    quarter_turns = int(frame.rotation) // 90 % 4
    if size is not None and frame.width == frame.height and not quarter_turns:
        kind = "AREA" if size < frame.width else "BICUBIC"
        scaled = frame.reformat(width=size, height=size, format="rgb24", interpolation=kind)
        return np.asarray(scaled.to_ndarray(), dtype=np.uint8)
    picture: Any = frame.to_ndarray(format="rgb24")
    if quarter_turns:
        picture = np.ascontiguousarray(np.rot90(picture, quarter_turns))
    if size is not None:
        side = min(picture.shape[:2])
        top, left = ((n - side) // 2 for n in picture.shape[:2])
        picture = picture[top : top + side, left : left + side]
        method = cv2.INTER_AREA if size < side else cv2.INTER_CUBIC
        picture = cv2.resize(picture, (size, size), interpolation=method)
    return np.asarray(picture, dtype=np.uint8)


def _check_frame(frame: Frames, shape: tuple[int, ...]) -> tuple[int, int]:
    if frame.dtype != np.uint8 or frame.ndim != 3 or frame.shape[2] != 3 or frame.shape != shape:
        raise ValueError(f"frames are uint8 [H, W, 3] of one size, got {frame.dtype} {frame.shape}")
    return int(frame.shape[0]), int(frame.shape[1])
