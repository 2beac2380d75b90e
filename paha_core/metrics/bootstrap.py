"""Seeded bootstrap intervals. The unit that is resampled is the clip: windows of one clip are not
independent.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

Groups = Sequence[np.ndarray]
"""One noise's samples: features `[n_i, D]` of each clip."""
Statistic = Callable[[Groups, np.ndarray], np.ndarray]
"""Values `[R]` of R choices of clips: picks `[R, N]` are indices into the N groups."""

MIN_CLIPS = 6  # the fewest whose agreement in sign is rarer than 5 % (2 of 2^6)


@dataclass(frozen=True)
class Interval:
    """A value and its 95 % bounds; None for a single clip, which has no spread."""

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


def each_resample(statistic: Callable[[np.ndarray], float]) -> Statistic:
    """A `Statistic` of a function of all samples `[n, D]`: called once for each choice."""

    def values(groups: Groups, picks: np.ndarray) -> np.ndarray:
        return np.array([statistic(np.concatenate([groups[i] for i in row])) for row in picks])

    return values


def _mean_over_noises(
    noises: Sequence[Groups], statistic: Statistic, picks: np.ndarray
) -> np.ndarray:
    """Values `[R]`: the statistic of each noise's samples by themselves, then their mean.

    Fréchet distances fall with the number of samples. All noises in one pool would reward the
    system that has more of them.
    """
    return np.mean([statistic(groups, picks) for groups in noises], axis=0)


def _picks(clips: int, rounds: int, seed: int) -> np.ndarray:
    """The first row is every clip once, the others are resamples."""
    drawn = np.random.default_rng(seed).integers(clips, size=(rounds, clips))
    return np.concatenate([np.arange(clips)[None], drawn])


def bootstrap_statistic(
    noises: Sequence[Groups], statistic: Statistic, *, rounds: int, seed: int
) -> Interval:
    """Mean over noises of `statistic`, with a 95 % interval from resampling whole clips.

    `noises`: for each noise one array `[n_i, D]` a clip, of the same clips in the same order. A
    Fréchet distance is biased upwards on a resample (repeated samples make the covariance thinner),
    so the spread of the resamples is centred on the value. Low is at least 0. Raises `ValueError`
    below 2 clips.
    """
    clips = len(noises[0])
    if clips < 2 or any(len(groups) != clips for groups in noises):
        raise ValueError(f"this statistic needs at least 2 clips, there are {clips}")
    value, *draws = _mean_over_noises(noises, statistic, _picks(clips, rounds, seed))
    low, high = np.percentile(np.asarray(draws) - np.mean(draws), [2.5, 97.5])
    return Interval(float(value), max(float(value + low), 0.0), float(value + high))


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
    return _difference(float(difference.mean()), means, len(a))


def paired_statistic(
    a: Sequence[Groups],
    b: Sequence[Groups],
    statistic: Statistic,
    *,
    rounds: int,
    seed: int,
) -> PairedDifference:
    """Mean over noises of a system's statistic minus the other's; the numbers of noises may differ.

    `a[s][i]` and `b[s][i]` `[n, D]` belong to clip i. Both systems are resampled by the same clips,
    and the spread is centred as in `bootstrap_statistic`.
    """
    clips = len(a[0])
    if clips < 2 or any(len(groups) != clips for groups in (*a, *b)):
        raise ValueError(f"a paired bootstrap needs the same 2 or more clips, got {clips}")
    picks = _picks(clips, rounds, seed)
    value, *rest = _mean_over_noises(a, statistic, picks) - _mean_over_noises(b, statistic, picks)
    draws = np.asarray(rest) + value - np.mean(rest)
    return _difference(float(value), draws, clips)


def _difference(value: float, draws: np.ndarray, clips: int) -> PairedDifference:
    low, high = np.percentile(draws, [2.5, 97.5])
    # One is added to both counts: a finite number of resamples can't give a p of exactly 0.
    tail = min(int((draws <= 0).sum()), int((draws >= 0).sum()))
    p = min(1.0, 2 * (tail + 1) / (len(draws) + 1))
    return PairedDifference(value, float(low), float(high), p, clips)
