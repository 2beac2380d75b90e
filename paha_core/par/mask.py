"""Parts-Aware Re-weighting: from keypoints to the weight of each latent cell (equations 2 and 3).

    weights = par_weights(keypoints.points, keypoints.scores, keypoints.size, ParConfig(), grid=64)

A pure function of one clip's points. Its pixel rule (docs/design.md):

- A point lies in the pixel (floor x, floor y). Its disc of radius r is the set of pixels whose
  centres are at most r from that pixel's centre. Points outside the frame contribute the part of
  their smoothed disc that lies inside.
- The Gaussian has sigma r/2, the same taps in x and y, |tap| <= 3 sigma, summing to 1.
- The discs and the Gaussian are linear, so T(sum of c_p over discs) is a sum of one stamp,
  disc * Gaussian, times c_p, so no frame is convolved.

The inner loops are in `kernel.py` (numba), loaded on first use.
"""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING, Any, overload

import numpy as np

from paha_core.config import ParConfig
from paha_core.pose import layout

if TYPE_CHECKING:
    import torch

FACE_BIT, HANDS_BIT, BODY_BIT = 1, 2, 4
COVERED = 0.25  # share of a cell's pixels that a region must cover for its bit to be set

GridSize = int | tuple[int, int]

_REFERENCE = 512.0  # the side at which ParConfig's pixel numbers hold


@overload
def par_weights(
    points: np.ndarray,
    scores: np.ndarray,
    size: tuple[int, int],
    config: ParConfig,
    grid: GridSize,
) -> np.ndarray: ...


@overload
def par_weights(
    points: torch.Tensor,
    scores: torch.Tensor,
    size: tuple[int, int],
    config: ParConfig,
    grid: GridSize,
) -> torch.Tensor: ...


def par_weights(
    points: Any, scores: Any, size: tuple[int, int], config: ParConfig, grid: GridSize
) -> Any:
    """The weight M of each latent cell: float32 [T, rows, columns], never below 1.

    points: [T, 133, 2], x and y in pixels of frames of `size` (height, width).
    scores: [T, 133] in [0, 1]. Both numpy or both torch; the result has the same type and device.
    grid: cells a side, or (rows, columns); must divide height and width.
    Raises `ValueError` for other shapes, and for a reliable point whose coordinates are not finite.
    """
    if _is_torch(points):
        return _through_numpy(par_weights, points, scores, size, config, grid)
    from paha_core.par.kernel import weights_kernel

    pixels, usable = _checked(points, scores, size, config, grid)
    disc, stamp = disc_and_stamp(radius_at(size, config))
    out = np.empty((len(pixels), *_rows_columns(grid)), np.float32)
    weights_kernel(
        pixels,
        np.where(usable, scores, 0).astype(np.float32),
        body_rectangles(pixels, usable, size),
        disc,
        stamp,
        *size,
        config.hand_face_weight,
        config.body_weight,
        np.inf if config.cap is None else config.cap,
        out,
    )
    return out


def region_masks(
    points: Any, scores: Any, size: tuple[int, int], config: ParConfig, grid: GridSize
) -> Any:
    """Equation 2 at the cells: uint8 [T, rows, columns], bits 1 face, 2 hands, 4 body rectangle.

    A cell counts where at least a quarter of its pixels are covered. Arguments and errors as in
    `par_weights`.
    """
    if _is_torch(points):
        return _through_numpy(region_masks, points, scores, size, config, grid)
    from paha_core.par.kernel import regions_kernel

    pixels, usable = _checked(points, scores, size, config, grid)
    disc, _ = disc_and_stamp(radius_at(size, config))
    rows, columns = _rows_columns(grid)
    out = np.empty((len(pixels), rows, columns), np.uint8)
    rectangles = body_rectangles(pixels, usable, size)
    cell_pixels = size[0] // rows * (size[1] // columns)
    min_pixels = int(np.ceil(COVERED * cell_pixels))
    regions_kernel(pixels, usable, rectangles, disc, *size, min_pixels, out)
    return out


def radius_at(size: tuple[int, int], config: ParConfig) -> float:
    """r in pixels of the clip; `ParConfig.radius` is given for a shorter side of 512."""
    return config.radius * min(size) / _REFERENCE


@lru_cache(maxsize=16)
def disc_and_stamp(radius: float) -> tuple[np.ndarray, np.ndarray]:
    """The disc of one point, and the disc convolved with the Gaussian.

    Returns the half widths of the disc's rows, int32 [2a + 1] with a = floor(radius) (row k covers
    the columns -half[k] … half[k]), and the stamp, float32 [2b + 1, 2b + 1] with
    b = a + floor(3 sigma).
    """
    a = int(np.floor(radius))
    rows = np.arange(-a, a + 1)
    half = np.floor(np.sqrt(radius**2 - rows**2)).astype(np.int32)
    disc = (np.abs(rows)[None, :] <= half[:, None]).astype(np.float64)
    sigma = radius / 2
    reach = int(np.floor(3 * sigma))
    taps = np.exp(-0.5 * (np.arange(-reach, reach + 1) / sigma) ** 2)
    taps /= taps.sum()
    along_x = np.stack([np.convolve(row, taps) for row in disc])
    stamp = np.stack([np.convolve(column, taps) for column in along_x.T]).T
    return half, np.ascontiguousarray(stamp, np.float32)


def body_rectangles(pixels: np.ndarray, usable: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """The rectangle of S_a^body (equation 2): int32 [T, 4] as x0, y0, x1, y1, ends exclusive.

    The bounding box of the reliable body points, clipped to the frame; empty (x1 <= x0) when there
    are none or all lie outside.
    """
    body, reliable = pixels[:, layout.BODY], usable[:, layout.BODY, None]
    far = np.iinfo(np.int32).max // 2
    low = np.where(reliable, body, far).min(axis=1)
    high = np.where(reliable, body, -far).max(axis=1) + 1
    height, width = size
    limits = np.array((width, height), np.int32)
    return np.concatenate([low.clip(0, limits), high.clip(0, limits)], axis=1).astype(np.int32)


def _checked(
    points: np.ndarray, scores: np.ndarray, size: tuple[int, int], config: ParConfig, grid: GridSize
) -> tuple[np.ndarray, np.ndarray]:
    """Pixels of the points, int32 [T, 133, 2], and which are reliable, bool [T, 133]."""
    frames = len(points)
    if points.shape != (frames, layout.POINTS, 2) or scores.shape != (frames, layout.POINTS):
        raise ValueError(
            "points and scores must be [T, 133, 2] and [T, 133],"
            f" not {points.shape} and {scores.shape}"
        )
    rows, columns = _rows_columns(grid)
    if min(rows, columns) < 1 or size[0] % rows or size[1] % columns:
        raise ValueError(
            f"a grid of {rows}x{columns} cells does not divide frames of {size[0]}x{size[1]}"
        )
    usable = scores > config.threshold  # c_p > tau
    if not np.isfinite(points[usable]).all():
        raise ValueError("a point above the threshold has coordinates that are not finite")
    # Any point far outside the frame has the same effect; the bound prevents integer overflow.
    bound = 4 * max(size)
    pixels = np.floor(np.where(usable[..., None], points, 0)).clip(-bound, bound)
    return pixels.astype(np.int32), usable


def _rows_columns(grid: GridSize) -> tuple[int, int]:
    return (grid, grid) if isinstance(grid, int) else grid


def _is_torch(value: Any) -> bool:
    return type(value).__module__.partition(".")[0] == "torch"


def _through_numpy(function: Any, points: Any, scores: Any, *arguments: Any) -> Any:
    import torch

    result = function(points.detach().cpu().numpy(), scores.detach().cpu().numpy(), *arguments)
    return torch.from_numpy(result).to(points.device)
