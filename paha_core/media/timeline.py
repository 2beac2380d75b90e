"""Frames at a constant rate, picked by their own times.

Footage from phones, screens and calls has variable frame rates, dropped frames, and video that
starts after its sound. Frame n of a constant-rate video starts n / fps seconds after the file's
time 0 and shows the source frame on display half an interval later, as ffmpeg's `fps=round=near`
does; before the first source frame it shows the first.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from paha_core.media import FPS
from paha_core.media.ffmpeg import MediaError
from paha_core.media.video import DecodedFrame, decode_frames

STEADY = 0.01  # seconds that a frame of a constant-rate video may be off its place
TIE = 1e-4  # seconds: a frame exactly between two output frames belongs to the later one
Times = NDArray[np.float64]
T = TypeVar("T")


def frame_times(path: str | Path, end: float | None = None) -> Times:
    """The time of each frame (s), of those before `end`, and the end of the last one: [T + 1].

    Raises `MediaError` when there is no frame.
    """
    times: list[float] = []
    last: DecodedFrame | None = None
    for last in decode_frames(path, end=end):
        times.append(last.time)
    if last is None:
        raise MediaError(f"no frames in {Path(path).name}")
    interval = float(np.median(np.diff(times))) if len(times) > 1 else 1 / FPS
    return np.array([*times, last.time + (last.duration or interval)])


def is_steady(times: Times, fps: float, start: float | None = None) -> bool:
    """Whether each frame starts where a constant rate puts it; the first at `start`, if given."""
    first = times[0] if start is None else start
    return bool(np.abs(times - first - np.arange(len(times)) / fps).max() < STEADY)


def at_rate(frames: Iterable[tuple[float, T]], fps: float, count: int) -> Iterator[T]:
    """`count` frames at `fps` of (time, frame) pairs in the order of their times; fewer than that
    come in, the last is repeated. Reads no further than needed."""
    made = 0
    shown: T | None = None
    for time, frame in frames:
        while shown is not None and made < count and (made + 0.5) / fps - TIE <= time:
            yield shown
            made += 1
        if made >= count:
            return
        shown = frame
    if shown is not None:
        for _ in range(made, count):
            yield shown


def pick(times: Times, fps: float, count: int) -> NDArray[np.int64]:
    """The indices of `at_rate`'s frames: of `times` [T], the frame shown in each of `count`."""
    moments = (np.arange(count) + 0.5) / fps - TIE
    return np.clip(np.searchsorted(times, moments) - 1, 0, len(times) - 1)


def frames_at_rate(path: str | Path, fps: float, count: int) -> Iterator[DecodedFrame]:
    """`count` frames of a file at `fps` from its time 0; decoding stops behind the last."""
    decoded = decode_frames(path, end=(count + 1) / fps)
    return at_rate(((frame.time, frame) for frame in decoded), fps, count)
