"""Input frames of a detector: decoded from a file, validated one by one."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import chain
from pathlib import Path

import numpy as np


@dataclass(frozen=True)
class VideoFrames:
    """The frames of a video file, decoded again by each iteration.

    Iterating raises `MediaError` for a file that can't be decoded or has no frame.
    """

    path: Path

    def __iter__(self) -> Iterator[np.ndarray]:
        from paha_core.media.ffmpeg import MediaError
        from paha_core.media.video import iter_frames

        count = 0
        for frame in iter_frames(self.path):
            count += 1
            yield frame
        if not count:
            raise MediaError(f"no frames in {self.path.name}")


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
