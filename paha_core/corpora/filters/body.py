"""Filters of the upper body: MediaPipe Pose on the probed frames, each looked at alone."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from paha_core.corpora.filters.look import Failed, Look

SHOULDERS, WRISTS = [11, 12], [15, 16]  # of MediaPipe Pose's 33 keypoints
VISIBLE = 0.5


@dataclass(frozen=True)
class WholeBody:
    """The share of probed frames with both shoulders in the picture must reach `min_share`."""

    name: ClassVar[str] = "body_share"
    min_share: float = 0.9

    def check(self, look: Look) -> float:
        share = float(np.mean([bool(np.all(_seen(b, SHOULDERS))) for b in look.bodies]))
        if share < self.min_share:
            raise Failed(f"both shoulders in the frame {share:.0%} of the time", share)
        return share


@dataclass(frozen=True)
class HandsSeen:
    """The share of probed frames with a wrist in the picture must reach `min_share`."""

    name: ClassVar[str] = "hand_share"
    min_share: float = 0.5

    def check(self, look: Look) -> float:
        share = float(np.mean([bool(np.any(_seen(b, WRISTS))) for b in look.bodies]))
        if share < self.min_share:
            raise Failed(f"a hand in the frame {share:.0%} of the time", share)
        return share


def _seen(body: NDArray[np.float32] | None, points: list[int]) -> NDArray[np.bool_]:
    if body is None:
        return np.zeros(len(points), dtype=bool)
    x, y, visibility = body[points].T
    inside = (x >= 0) & (x <= 1) & (y >= 0) & (y <= 1)
    return np.asarray(inside & (visibility >= VISIBLE))
