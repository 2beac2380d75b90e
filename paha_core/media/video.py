"""Decode video files: uint8 RGB frames [T, H, W, 3], as a player shows them.

Times are seconds from the file's time 0 (`media.streams.start_time`), for picture and sound alike.
"""

from __future__ import annotations

import math
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import av
import cv2
import numpy as np
from av.video.reformatter import VideoReformatter
from numpy.typing import NDArray

from paha_core.media import FPS
from paha_core.media.conversion import Conversion, conversion_of
from paha_core.media.ffmpeg import MediaError, open_media, piped, safe_input
from paha_core.media.streams import start_time, video_stream

Frames = NDArray[np.uint8]

HELD_BYTES = 256 * 2**20  # of a clip's frames in memory, so that detectors share one decoding
REORDERED = 16  # frames: packets come in the order of decoding, up to so many before their turn
EARLY = 1e-3  # seconds: timestamps are rounded, to 1 ms in Matroska


class _Reformatters(threading.local):
    """One for each form, for each thread: a frame's own makes its context, and threads as many as
    there are cores, anew for each frame, which takes ten times as long."""

    def __init__(self) -> None:
        self.rgb, self.small, self.gray = (VideoReformatter() for _ in range(3))


_reformatters = _Reformatters()


def seek_point(path: str | Path, start: float) -> tuple[float, float]:
    """The time (s) to seek to so that the frame shown at `start` can be decoded, and the time of
    the first frame decoded from there; (0, …) means from the beginning of the file.

    A seek in a container without an index (MPEG-TS, MPEG-PS) may land behind the needed keyframe,
    and decoding starts at the next one: seek further back until a keyframe is early enough.
    """
    back = 0.0
    with open_media(path) as container:
        while (seek := start - back) > 0:
            container.seek(int((seek + start_time(container)) * av.time_base))
            first = _first_keyframe(container)
            if first is not None and first <= start:
                return seek, first
            back = 2 * back or 1.0
    with open_media(path) as container:
        first = _first_keyframe(container)
    return 0.0, 0.0 if first is None else first  # raw streams have no timestamps


def frame_time(path: str | Path, seek: float, moment: float) -> float:
    """The own time (s) of the frame nearest to `moment`, or `moment` where none is within a frame
    of the output. Packets are read from `seek` (of `seek_point`) on; nothing is decoded."""
    nearest, behind = moment, 0
    with open_media(path) as container:
        stream, zero = video_stream(container), start_time(container)
        if seek:
            container.seek(int((seek + zero) * av.time_base))
        best = 1 / FPS
        for packet in container.demux(stream):
            if packet.pts is None:
                continue
            time = float(packet.pts * packet.time_base) - zero
            if abs(time - moment) < best:
                nearest, best = time, abs(time - moment)
            behind += time > moment + 1 / FPS
            if behind > REORDERED:
                break
    return nearest


@dataclass(frozen=True)
class DecodedFrame:
    """A decoded frame before conversion to RGB, and its time in seconds."""

    time: float
    frame: Any  # PyAV's

    def to_rgb(self, size: int | None = None) -> Frames:
        """RGB [H, W, 3], upright; with `size` the central square, resized to that side."""
        return _picture(self.frame, size)

    def to_gray(self, side: int) -> NDArray[np.uint8]:
        """The whole frame squeezed to [side, side]."""
        small = _reformatters.gray.reformat(
            self.frame, side, side, "gray", interpolation="AREA", threads=1
        )
        return np.asarray(small.to_ndarray(), dtype=np.uint8)

    @property
    def duration(self) -> float:
        """Seconds; 0 where the file does not state it."""
        return float((self.frame.duration or 0) * (self.frame.time_base or 0))


def decode_frames(
    path: str | Path,
    *,
    start: float | None = None,
    end: float | None = None,
    all_cores: bool = False,
) -> Iterator[DecodedFrame]:
    """The frames with `start <= time < end` (seconds), all of the first one's size: recordings of
    calls change theirs. Raises `MediaError` when the file can't be decoded."""
    seek = seek_point(path, start)[0] if start else 0.0
    with open_media(path) as container:
        stream, zero = video_stream(container), start_time(container)
        if all_cores:
            stream.thread_type = "AUTO"
        if seek:
            container.seek(int((seek + zero) * av.time_base))
        time, interval = -math.inf, 1 / float(stream.average_rate or stream.guessed_rate or FPS)
        size: tuple[int, int] | None = None
        for frame in container.decode(stream):
            conversion = conversion_of(frame, stream)
            time = _time_of(frame, zero, time + interval)
            if conversion.needed:  # from here on: interlacing may begin in mid-file
                start = time if start is None else max(start, time)
                yield from _converted(path, conversion, stream.index, zero, start, end)
                return
            if start is not None and time < start - EARLY:
                continue
            if end is not None and time >= end - EARLY:
                return
            size = size or (frame.width, frame.height)
            if (frame.width, frame.height) != size:
                frame = frame.reformat(*size, interpolation="BICUBIC")
            yield DecodedFrame(time, frame)


def conversion_at(path: str | Path, start: float = 0.0) -> Conversion:
    """The conversion that a file's frames need, by the first one decoded for `start` seconds."""
    seek = seek_point(path, start)[0] if start else 0.0
    with open_media(path) as container:
        stream = video_stream(container)
        if seek:
            container.seek(int((seek + start_time(container)) * av.time_base))
        frame = next(container.decode(stream), None)
        return Conversion() if frame is None else conversion_of(frame, stream)


def iter_frames(
    path: str | Path,
    size: int | None = None,
    *,
    start: float | None = None,
    end: float | None = None,
) -> Iterator[Frames]:
    """The frames of `decode_frames` as RGB [H, W, 3], central squares of `size` when given."""
    return (frame.to_rgb(size) for frame in decode_frames(path, start=start, end=end))


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


def _converted(
    path: str | Path,
    conversion: Conversion,
    index: int,
    zero: float,
    start: float,
    end: float | None,
) -> Iterator[DecodedFrame]:
    """The frames of stream `index` after ffmpeg's filters, which come as raw RGB with their times.

    zero: the container's time that is the file's time 0.
    """
    seek = seek_point(path, start)[0] if start > EARLY else 0.0
    at = {"ss": f"{seek:.6f}", "noaccurate_seek": None} if seek else {}
    picture = conversion.apply(safe_input(path, copyts=None, **at)[str(index)])
    output = picture.output(
        "pipe:1",
        **{"fps_mode": "passthrough", "enc_time_base": "demux", "avoid_negative_ts": "disabled"},
        **{"format": "nut", "vcodec": "rawvideo", "pix_fmt": "rgb24"},
    )
    with piped(output) as pipe, av.open(pipe, mode="r", format="nut") as container:
        for frame in container.decode(video=0):
            time = _time_of(frame, zero, start)
            if time < start - EARLY:
                continue
            if end is not None and time >= end - EARLY:
                return
            yield DecodedFrame(time, frame)


def _time_of(frame: Any, zero: float, otherwise: float) -> float:
    """Seconds from the file's time 0; raw streams have no timestamps, their frames follow on."""
    return max(0.0, otherwise) if frame.time is None else float(frame.time) - zero


def _first_keyframe(container: Any) -> float | None:
    """The time of the next keyframe from the current position; nothing is decoded."""
    for packet in container.demux(video_stream(container)):
        if packet.is_keyframe and packet.pts is not None:
            return float(packet.pts * packet.time_base) - start_time(container)
    return None


def _picture(frame: Any, size: int | None) -> Frames:
    """One decoded frame as RGB, upright, and square when `size` is given."""
    quarter_turns = int(frame.rotation) // 90 % 4
    if size is not None and frame.width == frame.height and not quarter_turns:
        kind = "AREA" if size < frame.width else "BICUBIC"
        scaled = _reformatters.small.reformat(
            frame, size, size, "rgb24", interpolation=kind, threads=1
        )
        return np.asarray(scaled.to_ndarray(), dtype=np.uint8)
    picture: Any = _reformatters.rgb.reformat(frame, format="rgb24", threads=1).to_ndarray()
    if quarter_turns:
        picture = np.ascontiguousarray(np.rot90(picture, quarter_turns))
    if size is not None:
        side = min(picture.shape[:2])
        top, left = ((n - side) // 2 for n in picture.shape[:2])
        picture = picture[top : top + side, left : left + side]
        method = cv2.INTER_AREA if size < side else cv2.INTER_CUBIC
        picture = cv2.resize(picture, (size, size), interpolation=method)
    return np.asarray(picture, dtype=np.uint8)
