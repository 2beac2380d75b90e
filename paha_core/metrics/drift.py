"""Drift: what a long video loses from its first second to its worst.

Each function compares each second with the first one; a video that does not change has no drift.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from paha_core.metrics.protocol import PROTOCOL


def seconds_of(frames: int, *, fps: float = PROTOCOL.fps) -> list[slice]:
    """Slices of the whole seconds; a rest of half a second or more is one too."""
    step = round(fps)
    starts = [first for first in range(0, frames, step) if frames - first >= step / 2]
    return [slice(first, min(first + step, frames)) for first in starts]


def _worst(count: int, measure: Callable[[slice], np.ndarray | None]) -> np.ndarray | None:
    """`measure` of each second: `[S, ...]`; None below two seconds that have one."""
    found = [value for part in seconds_of(count) if (value := measure(part)) is not None]
    return np.stack(found) if len(found) >= 2 else None


def colour_drift(frames: np.ndarray) -> float | None:
    """Drift of the mean colour: the worst second's mean absolute difference to the first, in levels
    of 255. `frames` uint8 `[T, H, W, 3]`. None below two seconds, as in all of these."""
    colours = _worst(len(frames), lambda part: frames[part].mean((0, 1, 2), dtype=np.float64))
    return None if colours is None else float(np.abs(colours - colours[0]).mean(1).max())


def background_drift(luma: np.ndarray, mask: np.ndarray) -> float | None:
    """Drift of the background: the worst second's mean absolute difference to the first,
    in grey levels. `luma` `[T, H, W]`, `mask` `[H, W]`."""
    pictures = _worst(len(luma), lambda part: luma[part][:, mask].mean(0, dtype=np.float64))
    return None if pictures is None else float(np.abs(pictures - pictures[0]).mean(1).max())


def sharpness_drift(sharpness: Callable[[slice], float | None], frames: int) -> float | None:
    """Drift of sharpness: the largest |ln(second / first)|. `sharpness` measures a slice."""

    def measure(part: slice) -> np.ndarray | None:
        value = sharpness(part)
        return None if value is None else np.array(max(value, 1e-6))

    values = _worst(frames, measure)
    return None if values is None else float(np.abs(np.log(values / values[0])).max())


def identity_drift(descriptors: Callable[[slice], np.ndarray], frames: int) -> float | None:
    """Drift of the face: 1 minus the smallest cosine of a second's mean descriptor to the first's,
    0 to 2. `descriptors` gives unit vectors `[n, D]` of some frames; a second without a face is
    left out."""

    def measure(part: slice) -> np.ndarray | None:
        vectors = descriptors(part)
        if not len(vectors):
            return None
        mean = vectors.mean(0)
        return np.asarray(mean / max(float(np.linalg.norm(mean)), 1e-12))

    means = _worst(frames, measure)
    return None if means is None else float(1 - (means @ means[0]).min())
