"""Fréchet Gesture Distance: how far generated gestures are from real ones in the pose autoencoder's
space.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from paha_core.metrics.bootstrap import Interval, bootstrap_statistic
from paha_core.metrics.frechet import frechet_distance, gaussian


def fgd(
    groups: Sequence[np.ndarray], reference: np.ndarray, *, rounds: int = 1000, seed: int = 0
) -> Interval:
    """Fréchet distance of the windows of a system's clips to the reference windows, with its
    interval.

    `groups`: pose features `[n_i, D]`, one array per clip; `reference`: features `[N, D]` of real
    training clips, the same for every system, real held-out clips among them. Raises `ValueError`
    when a clip or a window is too few. Yoon et al. 2020.
    """
    if len(groups) < 2:
        raise ValueError(f"FGD needs at least 2 clips, there are {len(groups)}")
    mean, covariance = gaussian(reference)

    def distance(features: np.ndarray) -> float:
        return frechet_distance(*gaussian(features), mean, covariance)

    return bootstrap_statistic(groups, distance, rounds=rounds, seed=seed)
