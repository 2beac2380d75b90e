"""Hands: how sure a pose detector is of them, and how far they move.

CyberHost's HKC, of which no code was published, is the mean confidence of the hands' keypoints: a
blurred or malformed hand makes a detector unsure. It is the detector's number as much as the
video's, so the detector is part of the name. Its HKV is printed without unit, normalisation or
code; `hand_deviation` has all three, and is not called HKV.
"""

from __future__ import annotations

import numpy as np

from paha_core.metrics.protocol import PROTOCOL

LEFT_SHOULDER, RIGHT_SHOULDER = 5, 6
PER_POINT = ("dwpose",)
"""Detectors that score each point of a hand; MediaPipe scores a hand as a whole, found or not."""


def hand_confidence(scores: np.ndarray, region: slice) -> float:
    """Mean score of a region's points over all frames, 0 to 1; `scores` `[T, 133]`.

    A hand that is out of the picture, or not found, counts with the scores that it has.
    """
    return float(np.clip(np.asarray(scores, np.float64)[:, region], 0, 1).mean())


def hand_deviation(points: np.ndarray, scores: np.ndarray, region: slice) -> float | None:
    """Mean over a region's points of sqrt(var x + var y) over time, in shoulder widths.

    `points` `[T, 133, 2]` in pixels, `scores` `[T, 133]`; a point counts in the frames that show
    it, and with at least 2 of them. The shoulders' width is the median over the clip. None where no
    point or no shoulders are seen.
    """
    seen = np.asarray(scores) >= PROTOCOL.min_score
    both = seen[:, LEFT_SHOULDER] & seen[:, RIGHT_SHOULDER]
    if not both.any():
        return None
    points = np.asarray(points, np.float64)
    width = np.linalg.norm(points[both, LEFT_SHOULDER] - points[both, RIGHT_SHOULDER], axis=-1)
    spreads = [
        np.sqrt(points[seen[:, joint], joint].var(0).sum())
        for joint in range(region.start, region.stop)
        if seen[:, joint].sum() >= 2
    ]
    if not spreads or not np.median(width) > 0:
        return None
    return float(np.mean(spreads) / np.median(width))
