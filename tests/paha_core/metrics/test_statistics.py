"""Diversity, FGD, bootstrap, time cost, rows."""

import numpy as np
import pytest

from paha_core.metrics.bootstrap import (
    bootstrap_mean,
    bootstrap_statistic,
    each_resample,
    paired_bootstrap,
    paired_statistic,
)
from paha_core.metrics.diversity import derangement, diversity
from paha_core.metrics.frechet import FrechetReference
from paha_core.metrics.registry import shortfall
from paha_core.metrics.row import SCHEMA, MetricRow, rows_to_table


def test_diversity_of_two_points_is_their_distance() -> None:
    assert diversity(np.array([[0.0, 0.0], [3.0, -4.0]])) == pytest.approx(7)


def test_diversity_of_known_points() -> None:
    # Corners of an equilateral "L1 triangle": every pair is 2 apart, whoever the partner is.
    assert diversity(np.eye(3), seed=5) == pytest.approx(2)
    assert diversity(np.ones((4, 8))) == 0
    with pytest.raises(ValueError, match="at least 2"):
        diversity(np.ones((1, 8)))


def test_a_derangement_moves_everything_and_is_seeded() -> None:
    for n in (2, 3, 10):
        order = derangement(n, np.random.default_rng(0))
        assert sorted(order) == list(range(n))
        assert not (order == np.arange(n)).any()
    a, b = (derangement(20, np.random.default_rng(3)) for _ in range(2))
    assert (a == b).all()


def test_a_frechet_distance_grows_and_its_interval_brackets_it() -> None:
    rng = np.random.default_rng(0)
    distance = FrechetReference(rng.normal(size=(200, 8))).distances
    near = [rng.normal(size=(5, 8)) for _ in range(8)]
    far = [group + 2 for group in near]
    a, b = (bootstrap_statistic([x], distance, rounds=50, seed=0) for x in (near, far))
    assert a.low <= a.value <= a.high
    assert b.value > a.value + 20  # 8 * 2^2 = 32 apart in the mean
    assert bootstrap_statistic([near], distance, rounds=50, seed=0) == a
    with pytest.raises(ValueError, match="at least 2 clips"):
        bootstrap_statistic([near[:1]], distance, rounds=50, seed=0)


def test_bootstrap_of_a_mean() -> None:
    interval = bootstrap_mean([1.0, 2.0, 3.0, 4.0], rounds=500, seed=1)
    assert interval.value == 2.5
    assert 1 <= interval.low < 2.5 < interval.high <= 4
    alone = bootstrap_mean([7.0], rounds=10, seed=0)  # one clip says nothing of others
    assert (alone.value, alone.low, alone.high) == (7, None, None)
    with pytest.raises(ValueError, match="at least one"):
        bootstrap_mean([], rounds=10, seed=0)


def test_bootstrap_covers_the_truth_about_95_times_in_100() -> None:
    rng = np.random.default_rng(0)
    hits = 0
    for seed in range(200):
        interval = bootstrap_mean(rng.normal(size=40), rounds=200, seed=seed)
        hits += interval.low <= 0 <= interval.high
    assert 180 <= hits <= 198


def test_bootstrap_statistic_resamples_groups() -> None:
    same = [np.full((3, 1), 5.0)] * 4
    interval = bootstrap_statistic([same], each_resample(np.mean), rounds=20, seed=0)
    assert (interval.value, interval.low, interval.high) == (5, 5, 5)


def test_a_system_with_more_noises_gains_nothing_by_them() -> None:
    """Two systems of one distribution, with one noise and with three: pooled, the second one's
    Fréchet distance was smaller for its number of videos alone."""
    rng = np.random.default_rng(0)
    reference = FrechetReference(rng.normal(size=(400, 16)))

    def system(noises: int, clips: int = 24) -> list[list[np.ndarray]]:
        levels = rng.normal(scale=0.5, size=(clips, 1, 16))
        return [[level + rng.normal(size=(3, 16)) for level in levels] for _ in range(noises)]

    decided, differences, pooled = 0, [], []
    for trial in range(30):
        one, three = system(1), system(3)
        found = paired_statistic(one, three, reference.distances, rounds=100, seed=trial)
        decided += not found.low <= 0 <= found.high
        differences.append(found.difference)
        together = [np.concatenate(groups) for groups in zip(*three, strict=True)]
        distances = [reference.distance(np.concatenate(x)) for x in (one[0], together)]
        pooled.append(distances[0] - distances[1])
    spread = np.std(differences) / np.sqrt(len(differences))
    assert abs(np.mean(differences)) < 3 * spread
    assert np.mean(pooled) > 6 * spread  # what a pool of all noises would have claimed
    assert decided <= 5  # of 30, where 1.5 are expected by chance


def test_noises_are_taken_one_by_one_and_averaged_over_the_same_clips() -> None:
    noises = [[np.full((2, 1), 1.0)] * 3, [np.full((4, 1), 3.0)] * 3]
    found = bootstrap_statistic(noises, each_resample(np.mean), rounds=20, seed=0)
    assert (found.value, found.low, found.high) == (2, 2, 2)  # a pool of all would have 2.33
    with pytest.raises(ValueError, match="at least 2 clips"):
        bootstrap_statistic([noises[0], noises[1][:2]], each_resample(np.mean), rounds=5, seed=0)


def test_paired_bootstrap_sees_through_the_spread_between_clips() -> None:
    rng = np.random.default_rng(0)
    clips = rng.normal(scale=10, size=30)
    better = paired_bootstrap(clips + 1 + rng.normal(scale=0.1, size=30), clips, rounds=500, seed=0)
    assert better.low > 0.9
    assert better.p < 0.01
    none = paired_bootstrap(clips, clips, rounds=100, seed=0)
    assert none.difference == 0
    assert none.p == 1


def test_rows_go_through_arrow_and_are_never_ambiguous() -> None:
    base = {"suite": "main", "system": "real", "dataset": "all", "metric": "fgd", "n": 3}
    base |= {"unit": "", "direction": "down", "extractor": "x", "extractor_sha256": "0"}
    rows = [
        MetricRow(**base, value=1.0, low=0.5, high=2.0),
        MetricRow(**base, value=None, low=None, high=None, reason="no face"),
    ]
    table = rows_to_table(rows)
    assert table.schema == SCHEMA
    assert [MetricRow(**row) for row in table.to_pylist()] == rows
    with pytest.raises(ValueError, match="not both"):
        MetricRow(**base, value=None, low=None, high=None)
    with pytest.raises(ValueError, match="not both"):
        MetricRow(**base, value=0.0, low=None, high=None, reason="no face")


def test_worse_is_below_above_or_far_from_real() -> None:
    assert shortfall("up", 0.2, None) > shortfall("up", 0.3, None)
    assert shortfall("down", 0.3, None) > shortfall("down", 0.2, None)
    soft, close, harsh = (shortfall("real", value, 100.0) for value in (20, 110, 400))
    assert close < soft < harsh
    assert shortfall("real", 20, None) is None
