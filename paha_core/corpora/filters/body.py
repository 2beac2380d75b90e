"""Filters of the upper body: MediaPipe Pose on the probed frames, each on its own."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from paha_core.corpora.filters.clip_data import ClipData, FilterFailed
from paha_core.corpora.filters.picture import longest_run
from paha_core.media import FPS

SHOULDERS, WRISTS = [11, 12], [15, 16]  # of MediaPipe Pose's 33 keypoints
VISIBLE = 0.5


@dataclass(frozen=True)
class WholeBody:
    """The share of probed frames with both shoulders in the picture must reach `min_share`."""

    name: ClassVar[str] = "body_share"
    min_share: float = 0.9

    def check(self, clip: ClipData) -> float:
        share = float(np.mean([bool(np.all(_seen(b, SHOULDERS))) for b in clip.bodies]))
        if share < self.min_share:
            raise FilterFailed(f"both shoulders in the frame {share:.0%} of the time", share)
        return share


@dataclass(frozen=True)
class HandsVisible:
    """The longest time without a wrist in the picture, in seconds, is at most `max_seconds`."""

    name: ClassVar[str] = "hand_gap"
    max_seconds: float = 2.5

    def check(self, clip: ClipData) -> float:
        away = np.array([not np.any(_seen(body, WRISTS)) for body in clip.bodies])
        seconds = longest_run(away) / len(away) * len(clip.thumbnails) / FPS
        if seconds > self.max_seconds:
            raise FilterFailed(f"no hand in the clip's region for {seconds:.1f} s", seconds)
        return seconds


def _seen(body: NDArray[np.float32] | None, points: list[int]) -> NDArray[np.bool_]:
    if body is None:
        return np.zeros(len(points), dtype=bool)
    x, y, visibility = body[points].T
    inside = (x >= 0) & (x <= 1) & (y >= 0) & (y <= 1)
    return np.asarray(inside & (visibility >= VISIBLE))
