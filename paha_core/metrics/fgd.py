"""Fréchet Gesture Distance: how far generated gestures are from real ones in the pose autoencoder's
space.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from paha_core.metrics.bootstrap import Interval
from paha_core.metrics.frechet import FrechetReference, frechet_interval


def fgd(
    groups: Sequence[np.ndarray], reference: np.ndarray, *, rounds: int = 1000, seed: int = 0
) -> Interval:
    """Fréchet distance of the windows of a system's clips to the reference windows, with its
    interval.

    `groups`: pose features `[n_i, D]`, one array per clip; `reference`: features `[N, D]` of real
    training clips, the same for every system, real held-out clips among them. Raises `ValueError`
    when a clip or a window is too few. Yoon et al. 2020.
    """
    return frechet_interval(groups, FrechetReference(reference), rounds=rounds, seed=seed)
