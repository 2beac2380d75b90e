"""Frames in memory: uint8 RGB [T, H, W, 3], at other sizes, and side by side."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np

from paha_core.media import FPS
from paha_core.media.video import Frames, read_frames


def read_first(path: Path, count: int) -> Frames:
    """At most the first `count` frames of a clip at 25 fps."""
    # Half a frame early: timestamps may be rounded up or down.
    return read_frames(path, end=(count - 0.5) / FPS)[:count]


def resize(frames: Frames, size: int | tuple[int, int]) -> Frames:
    """Frames of `size` (the side, or height and width): area mean to shrink, bicubic to enlarge."""
    height, width = (size, size) if isinstance(size, int) else size
    if frames.shape[1:3] == (height, width):
        return frames
    how = cv2.INTER_AREA if height < frames.shape[1] else cv2.INTER_CUBIC
    return np.stack([cv2.resize(frame, (width, height), interpolation=how) for frame in frames])


def strip(frames: Frames, count: int, side: int) -> Frames:
    """`count` frames evenly spread over all, each `side` pixels, in one row."""
    picks = np.linspace(0, len(frames) - 1, min(count, len(frames))).round().astype(int)
    return np.concatenate(list(resize(frames[picks], side)), axis=1)
