"""Boxes: xyxy in pixels."""

from __future__ import annotations

import numpy as np


def overlap(boxes: np.ndarray, box: np.ndarray) -> np.ndarray:
    """Intersection over union of boxes [N, 4] with one box [4]; 0 where a box is NaN."""
    low = np.maximum(boxes[:, :2], box[:2])
    high = np.minimum(boxes[:, 2:], box[2:])
    shared = (high - low).clip(0).prod(axis=1)
    areas = (boxes[:, 2:] - boxes[:, :2]).prod(axis=1) + (box[2:] - box[:2]).prod()
    return np.nan_to_num(shared / np.maximum(areas - shared, 1e-9))
