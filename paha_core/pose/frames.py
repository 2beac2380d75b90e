"""Input frames of a detector: decoded from a file, validated one by one."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import chain
from pathlib import Path

import numpy as np


class VideoFrames:
    """The frames of a video file, decoded while they are iterated.

    max_bytes: frames that take no more are kept in memory, so that several detectors share one
    decoding; others are decoded again by each iteration. Iterating raises `MediaError` for a file
    that can't be decoded or has no frame.
    """

    def __init__(self, path: Path, max_bytes: int = 0) -> None:
        self.path, self.max_bytes = path, max_bytes
        self._held: list[np.ndarray] | None = None

    def __iter__(self) -> Iterator[np.ndarray]:
        from paha_core.media.ffmpeg import MediaError
        from paha_core.media.video import iter_frames

        if self._held is not None:
            yield from self._held
            return
        held: list[np.ndarray] = []
        count, left = 0, self.max_bytes
        for frame in iter_frames(self.path):
            count, left = count + 1, left - frame.nbytes
            if left >= 0:
                held.append(frame)
            else:
                held.clear()
            yield frame
        if not count:
            raise MediaError(f"no frames in {self.path.name}")
        self._held = held or None


def check_frames(frames: np.ndarray) -> None:
    """Raises `ValueError` unless frames are uint8 [T, H, W, 3]."""
    if frames.ndim != 4 or frames.shape[3] != 3 or frames.dtype != np.uint8:
        raise ValueError(f"frames must be uint8 [T, H, W, 3], not {frames.dtype} {frames.shape}")


def size_and_frames(
    frames: Iterable[np.ndarray],
) -> tuple[tuple[int, int], Iterator[np.ndarray]]:
    """Height and width of the frames, and an iterator that validates each of them.

    Raises `ValueError` when there is no frame; the iterator raises it for a frame of another shape
    or dtype.
    """
    if isinstance(frames, np.ndarray):
        check_frames(frames)
    iterator = iter(frames)
    first = next(iterator, None)
    if first is None:
        raise ValueError("there are no frames")
    check_frames(first[None])

    def checked() -> Iterator[np.ndarray]:
        for frame in chain([first], iterator):
            if frame.shape != first.shape or frame.dtype != np.uint8:
                raise ValueError(
                    f"frames must be uint8 of one size, not {frame.dtype} {frame.shape} after"
                    f" {first.shape}"
                )
            yield frame

    height, width = first.shape[:2]
    return (height, width), checked()
