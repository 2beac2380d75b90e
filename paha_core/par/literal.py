"""A slow literal implementation of equations 2 and 3, pixel by pixel: the reference for
`par_weights` in tests and benchmarks."""

from __future__ import annotations

import numpy as np
from scipy.ndimage import correlate1d

from paha_core.config import ParConfig

FACE, HANDS, BODY = range(23, 91), range(91, 133), range(17)


def literal_par(
    points: np.ndarray, scores: np.ndarray, side: int, config: ParConfig, grid: int
) -> np.ndarray:
    """M of one frame, float [grid, grid]: discs, their sum, a Gaussian, the body's rectangle, the
    maximum, the area mean.

    Args:
        points: pixels of a frame of `side` x `side`, [133, 2].
        scores: [133], in 0..1.
    """
    radius = config.radius * side / 512
    sigma = radius / 2
    margin = int(radius) + int(3 * sigma) + 1  # points outside the frame are smoothed into it
    ys, xs = np.mgrid[-margin : side + margin, -margin : side + margin]

    # 1. the sum of the scores of all discs that cover a pixel
    total = np.zeros(ys.shape)
    for p in [*FACE, *HANDS]:
        if scores[p] > config.threshold:
            x, y = np.floor(points[p])
            total += scores[p] * ((xs - x) ** 2 + (ys - y) ** 2 <= radius**2)
    area = total > 0

    # 2. smoothed by a Gaussian that is cut at 3 sigma
    taps = np.arange(-int(3 * sigma), int(3 * sigma) + 1)
    gaussian = np.exp(-(taps**2) / (2 * sigma**2))
    gaussian /= gaussian.sum()
    for axis in (0, 1):
        total = correlate1d(total, gaussian, axis=axis, mode="constant")

    # 3. the body's rectangle
    mask = np.ones(ys.shape)
    body = np.floor([points[p] for p in BODY if scores[p] > config.threshold])
    if len(body):
        (x0, y0), (x1, y1) = body.min(axis=0), body.max(axis=0)
        mask[(xs >= x0) & (xs <= x1) & (ys >= y0) & (ys <= y1)] = config.body_weight

    # 4. the maximum of both
    mask = np.where(area, np.maximum(mask, config.hand_face_weight * total), mask)
    if config.cap is not None:
        mask = np.minimum(mask, config.cap)

    # 5. the latent grid's area mean
    mask = mask[margin:-margin, margin:-margin]
    cell = side // grid
    return np.asarray(mask.reshape(grid, cell, grid, cell).mean(axis=(1, 3)))
