"""The filter of unstable detections (appendix C).

The appendix fits a 2D body model to the joints "by minimizing projection errors and temporal
differences between consecutive frames" and drops videos with unstable detections. Here the model is
the face's box and six points, found in every frame on its own: a body's joints would cost ten times
as much, and what makes them jump (cuts, overlays, blur) makes the face's jump as well.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray
from scipy.linalg import solveh_banded

from paha_core.corpora.filters.clip_data import ClipData, FilterFailed

STIFFNESS = 4.0  # weight of the temporal differences: motion slower than some 2 frames is followed


@dataclass(frozen=True)
class StableDetections:
    """The root mean square of the points' distance to their smooth fit, in widths of the face, is
    at most `max_jitter`."""

    name: ClassVar[str] = "jitter"
    max_jitter: float = 0.02

    def check(self, clip: ClipData) -> float:
        track = clip.face_track
        seen = ~np.isnan(track).any(axis=(1, 2))
        if seen.sum() < 2:
            raise FilterFailed("no face to follow from frame to frame", 1.0)
        score = jitter(track, seen)
        if score > self.max_jitter:
            reason = f"unstable detections: they jump by {score:.3f} face widths"
            raise FilterFailed(f"{reason}, {self.max_jitter:g} allowed", score)
        return score


def jitter(track: NDArray[np.float64], seen: NDArray[np.bool_]) -> float:
    """Jitter of points [T, P, 2], the first two a box's corners; frames not `seen` don't count."""
    flat = np.where(seen[:, None], track.reshape(len(track), -1), 0.0)
    distance = (flat - smooth_fit(flat, seen.astype(float)))[seen].reshape(seen.sum(), -1, 2)
    width = float(np.median(track[seen, 1, 0] - track[seen, 0, 0]))
    return float(np.sqrt(np.square(distance).sum(axis=-1).mean())) / max(width, 1e-6)


def smooth_fit(
    track: NDArray[np.float64], weights: NDArray[np.float64], stiffness: float = STIFFNESS
) -> NDArray[np.float64]:
    """The x [T, D] that minimises sum_t w_t |y_t - x_t|^2 + stiffness sum_t |x_t - x_(t-1)|^2.

    Its normal equations are tridiagonal: one banded solve for all coordinates.
    """
    inner = np.full(len(track), 2.0)
    inner[[0, -1]] = 1.0
    bands = np.stack([np.full(len(track), -stiffness), weights + stiffness * inner])
    return np.asarray(solveh_banded(bands, weights[:, None] * track))
