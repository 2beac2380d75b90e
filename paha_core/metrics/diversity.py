"""Diversity: how different generated gestures are from one another."""

from __future__ import annotations

import numpy as np

from paha_core.metrics.protocol import PROTOCOL


def derangement(n: int, rng: np.random.Generator) -> np.ndarray:
    """A uniform random permutation `[n]` that leaves nothing in its place. Needs n >= 2."""
    if n < 2:
        raise ValueError("a derangement needs at least 2 items")
    while True:  # 1 of e permutations is a derangement, so this ends after about three tries
        order = rng.permutation(n)
        if not (order == np.arange(n)).any():
            return order


def diversity(
    features: np.ndarray, *, seed: int = 0, rounds: int = PROTOCOL.diversity_rounds
) -> float:
    """Mean L1 distance (summed over D) of each feature `[N, D]` to a random partner other than
    itself.

    The mean over `rounds` seeded derangements: few samples would make one of them noise. HA2G's
    definition.
    """
    features = np.asarray(features, np.float64)
    if features.ndim != 2 or len(features) < 2:
        raise ValueError(
            f"diversity needs at least 2 samples in an array [N, D], got shape {features.shape}"
        )
    rng = np.random.default_rng(seed)
    distances = [
        np.abs(features - features[derangement(len(features), rng)]).sum(1).mean()
        for _ in range(rounds)
    ]
    return float(np.mean(distances))
