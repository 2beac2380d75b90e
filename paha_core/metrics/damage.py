"""Nine kinds of damage by which metrics are judged: one that measures quality must worsen with each
step (`benchmarks/studies/metric_order.py`).
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from scipy.ndimage import gaussian_filter

Damage = Callable[[np.ndarray], np.ndarray]
Steps = tuple[float, float, float]


def damages(blur: Steps = (0.7, 1.5, 3)) -> dict[str, list[Damage]]:
    """By name, three steps each; uint8 `[T, H, W, 3]` to the same.

    `blur`: the sigma in pixels, which is less for small pictures. All else does not depend on the
    size. One random generator serves all, so that the same calls in the same order give the same.
    """
    noise = np.random.default_rng(0)

    def trembling(video: np.ndarray, most: float) -> np.ndarray:
        return _shifted(video, noise.integers(0, 2 * int(most) + 1, (len(video), 2)), int(most))

    def shuffled(video: np.ndarray, block: float) -> np.ndarray:
        order = np.arange(len(video))
        for start in range(0, len(video), int(block)):
            part = slice(start, start + int(block))
            order[part] = noise.permutation(order[part])
        return video[order]

    def each(damage: Callable[[np.ndarray, float], np.ndarray], steps: Steps) -> list[Damage]:
        return [lambda video, step=step: damage(video, step) for step in steps]  # type: ignore[misc]

    return {
        "blur, sigma in pixels": each(lambda v, s: gaussian_filter(v, (0, s, s, 0)), blur),
        "lower resolution, times": each(_coarse, (1.5, 2.5, 4)),
        "noise, grey levels": each(
            lambda v, s: _clip(v + noise.normal(0, s, v.shape)), (4, 10, 25)
        ),
        "trembling, pixels": each(trembling, (1, 2, 4)),
        "held frames": each(lambda v, s: v[np.arange(len(v)) // int(s) * int(s)], (2, 4, 16)),
        "shuffled in blocks of": each(shuffled, (2, 4, 8)),
        "blur over time, frames": each(
            lambda v, s: gaussian_filter(v, (s, 0, 0, 0)), (0.6, 1.2, 3)
        ),
        "brighter, grey levels": each(lambda v, s: _clip(v.astype(float) + s), (4, 10, 25)),
        "flicker, grey levels": each(
            lambda v, s: _clip(v + noise.normal(0, s, (len(v), 1, 1, 1))), (2, 5, 12)
        ),
    }


def _clip(values: np.ndarray) -> np.ndarray:
    return np.clip(values, 0, 255).astype(np.uint8)


def _coarse(video: np.ndarray, times: float) -> np.ndarray:
    import torch
    import torch.nn.functional as F

    frames = torch.from_numpy(video).permute(0, 3, 1, 2).float()
    small = F.interpolate(frames, scale_factor=1 / times, mode="area")
    large = F.interpolate(small, size=video.shape[1:3], mode="bilinear", align_corners=False)
    return large.permute(0, 2, 3, 1).numpy().astype(np.uint8)


def _shifted(video: np.ndarray, at: np.ndarray, most: int) -> np.ndarray:
    """Each frame moved to its own place `at` `[T, 2]`, 0 to twice `most`; edges are repeated."""
    height, width = video.shape[1:3]
    padded = np.pad(video, ((0, 0), (most, most), (most, most), (0, 0)), mode="edge")
    return np.stack(
        [f[y : y + height, x : x + width] for f, (y, x) in zip(padded, at, strict=True)]
    )
