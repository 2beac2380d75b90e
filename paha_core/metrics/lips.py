"""Lip correlation: does the generated mouth open when the true one does?

From landmarks: 68 face points in the iBUG order.
"""

from __future__ import annotations

import numpy as np

from paha_core.metrics.protocol import PROTOCOL
from paha_core.pose.layout import FACE

_UPPER, _LOWER = [61, 62, 63], [67, 66, 65]  # inner lip, each above its partner
_BRIDGE, _CHIN = 27, 8


def mouth_openness(
    points: np.ndarray, scores: np.ndarray, *, min_score: float = PROTOCOL.min_score
) -> np.ndarray | None:
    """Inner lip gap / face height (nose bridge to chin) for each frame: `[T]`, 0 closed, about 0.3
    wide open.

    `points` `[T, 133, 2]` in pixels, `scores` `[T, 133]`. Frames whose face points are unreliable
    are bridged over time; None when those are more than half.
    """
    face = np.asarray(points, np.float64)[:, FACE]
    needed = np.asarray(scores)[:, FACE][:, [*_UPPER, *_LOWER, _BRIDGE, _CHIN]]
    good = (needed >= min_score).all(1)
    if good.mean() < PROTOCOL.lip_min_share:
        return None
    gap = np.linalg.norm(face[:, _UPPER] - face[:, _LOWER], axis=-1).mean(1)
    height = np.linalg.norm(face[:, _BRIDGE] - face[:, _CHIN], axis=-1)
    good &= height > 0
    if not good.any():
        return None
    openness = gap[good] / height[good]
    frames = np.arange(len(face))
    return np.asarray(np.interp(frames, frames[good], openness))


def lip_correlation(
    openness: np.ndarray, truth: np.ndarray, *, min_frames: int = PROTOCOL.lip_min_frames
) -> float | None:
    """Pearson correlation of two mouth openness curves `[T]` over their common start, -1 to 1.

    A mouth that never moves while the true one does follows nothing: 0, not a gap in the mean that
    would flatter a frozen video. None where the correlation does not exist: fewer than `min_frames`
    frames in common, or a true mouth that never moves.
    """
    length = min(len(openness), len(truth))
    if length < min_frames:
        return None
    a, b = (np.asarray(x[:length], np.float64) - np.mean(x[:length]) for x in (openness, truth))
    if b @ b < 1e-12:
        return None
    if a.std() < PROTOCOL.lip_still:
        return 0.0
    return float(np.clip(a @ b / np.sqrt((a @ a) * (b @ b)), -1, 1))


def resample_to_clip(
    curve: np.ndarray, curve_fps: float, start: float, frames: int, *, fps: float = PROTOCOL.fps
) -> np.ndarray:
    """A programme's curve `[P]` at the centres of a clip's frames: `[frames]`.

    Sample i of the curve is the centre of its frame, (i + 0.5)/curve_fps; the clip begins at
    `start` seconds.
    """
    centres = start + (np.arange(frames) + 0.5) / fps
    return np.asarray(np.interp(centres, (np.arange(len(curve)) + 0.5) / curve_fps, curve))
