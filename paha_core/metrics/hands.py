"""Hands: how sure a pose detector is of them.

CyberHost's HKC, of which no code was published, is the mean confidence of the hands' keypoints: a
blurred or malformed hand makes a detector unsure. It is the detector's number as much as the
video's, so the detector is part of the name.
"""

from __future__ import annotations

import numpy as np

PER_POINT = ("dwpose",)
"""Detectors that score each point of a hand; MediaPipe scores a hand as a whole, found or not."""


def hand_confidence(scores: np.ndarray, region: slice) -> float:
    """Mean score of a region's points over all frames, 0 to 1; `scores` `[T, 133]`.

    A hand that is out of the picture, or not found, counts with the scores that it has.
    """
    return float(np.clip(np.asarray(scores, np.float64)[:, region], 0, 1).mean())
