"""Seeded bootstrap intervals. The unit that is resampled is the clip: windows of one clip are not
independent.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

MIN_CLIPS = 6  # the fewest whose agreement in sign is rarer than 5 % (2 of 2^6)


@dataclass(frozen=True)
class Interval:
    """A value and its 95 % bounds; None where a single clip can't say how much clips differ."""

    value: float
    low: float | None
    high: float | None


def bootstrap_mean(values: Sequence[float] | np.ndarray, *, rounds: int, seed: int) -> Interval:
    """The mean of one value per clip with its 95 % percentile interval; `values` `[N]`, N >= 1."""
    values = np.asarray(values, np.float64)
    if values.ndim != 1 or not len(values):
        raise ValueError("bootstrap_mean needs at least one value")
    if len(values) == 1:
        return Interval(float(values[0]), None, None)
    picks = np.random.default_rng(seed).integers(len(values), size=(rounds, len(values)))
    low, high = np.percentile(values[picks].mean(1), [2.5, 97.5])
    return Interval(float(values.mean()), float(low), float(high))


def bootstrap_statistic(
    groups: Sequence[np.ndarray],
    statistic: Callable[[np.ndarray], float],
    *,
    rounds: int,
    seed: int,
) -> Interval:
    """`statistic` of all samples, with a 95 % interval from resampling whole groups.

    `groups`: one array `[n_i, D]` per clip. A Fréchet distance is biased upwards on a resample
    (repeated samples make the covariance thinner), so the spread of the resamples is centred on the
    value. Low is at least 0. Raises `ValueError` below 2 clips.
    """
    if len(groups) < 2:
        raise ValueError(f"this statistic needs at least 2 clips, there are {len(groups)}")
    value = statistic(np.concatenate(list(groups)))
    rng = np.random.default_rng(seed)
    draws = []
    for _ in range(rounds):
        picks = rng.integers(len(groups), size=len(groups))
        draws.append(statistic(np.concatenate([groups[i] for i in picks])))
    low, high = np.percentile(np.asarray(draws) - np.mean(draws), [2.5, 97.5])
    return Interval(value, max(value + float(low), 0.0), value + float(high))


@dataclass(frozen=True)
class PairedDifference:
    """Mean of a - b over clips with its 95 % interval. `p`: two-sided bootstrap p value of "no
    difference". `clips`: how many pairs there are.
    """

    difference: float
    low: float
    high: float
    p: float
    clips: int


def paired_bootstrap(
    a: Sequence[float] | np.ndarray, b: Sequence[float] | np.ndarray, *, rounds: int, seed: int
) -> PairedDifference:
    """Compare two systems on the same clips: `a[i]` and `b[i]` belong to clip i."""
    a, b = np.asarray(a, np.float64), np.asarray(b, np.float64)
    if a.shape != b.shape or a.ndim != 1 or not len(a):
        raise ValueError(
            f"a paired bootstrap needs two equally long lists, got {a.shape} and {b.shape}"
        )
    difference = a - b
    picks = np.random.default_rng(seed).integers(len(a), size=(rounds, len(a)))
    means = difference[picks].mean(1)
    low, high = np.percentile(means, [2.5, 97.5])
    # One is added to both counts: a finite number of resamples can't give a p of exactly 0.
    tail = min(int((means <= 0).sum()), int((means >= 0).sum()))
    return PairedDifference(
        float(difference.mean()),
        float(low),
        float(high),
        min(1.0, 2 * (tail + 1) / (rounds + 1)),
        len(a),
    )


def paired_statistic(
    a: Sequence[np.ndarray],
    b: Sequence[np.ndarray],
    statistic: Callable[[np.ndarray], float],
    *,
    rounds: int,
    seed: int,
) -> PairedDifference:
    """statistic(a) - statistic(b) where `a[i]` and `b[i]` `[n_i, D]` belong to clip i.

    Both are resampled by the same clips, and the spread is centred as in `bootstrap_statistic`.
    """
    if len(a) != len(b) or len(a) < 2:
        raise ValueError(
            f"a paired bootstrap needs the same 2 or more clips, got {len(a)}, {len(b)}"
        )
    value = statistic(np.concatenate(list(a))) - statistic(np.concatenate(list(b)))
    rng = np.random.default_rng(seed)
    draws = np.empty(rounds)
    for i in range(rounds):
        picks = rng.integers(len(a), size=len(a))
        draws[i] = statistic(np.concatenate([a[k] for k in picks]))
        draws[i] -= statistic(np.concatenate([b[k] for k in picks]))
    draws += value - draws.mean()
    low, high = np.percentile(draws, [2.5, 97.5])
    tail = min(int((draws <= 0).sum()), int((draws >= 0).sum()))
    return PairedDifference(
        float(value),
        float(low),
        float(high),
        min(1.0, 2 * (tail + 1) / (rounds + 1)),
        len(a),
    )
