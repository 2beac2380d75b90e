import numpy as np
import pytest

from paha_core.metrics.frechet import (
    FrechetReference,
    frechet_distance,
    frechet_of_features,
    gaussian,
)


def random_covariance(rng: np.random.Generator, d: int) -> np.ndarray:
    a = rng.normal(size=(2 * d, d))
    return a.T @ a / (2 * d)


def test_one_dimension_in_closed_form() -> None:
    # (m1 - m2)^2 + (s1 - s2)^2 = 9 + 1
    one = np.eye(1)
    assert frechet_distance(np.array([0.0]), 4 * one, np.array([3.0]), 9 * one) == pytest.approx(10)


def test_commuting_covariances_in_closed_form() -> None:
    a, b = np.array([1.0, 4.0, 9.0]), np.array([4.0, 4.0, 1.0])
    expected = ((np.sqrt(a) - np.sqrt(b)) ** 2).sum()  # 1 + 0 + 4
    turn = np.linalg.qr(np.random.default_rng(0).normal(size=(3, 3)))[0]
    zero = np.zeros(3)
    value = frechet_distance(zero, turn @ np.diag(a) @ turn.T, zero, turn @ np.diag(b) @ turn.T)
    assert expected == 5
    assert value == pytest.approx(5)


def test_singular_covariances() -> None:
    # One along x, one along y: AB = 0, so the distance is the sum of the traces.
    zero = np.zeros(2)
    assert frechet_distance(zero, np.diag([4.0, 0]), zero, np.diag([0, 9.0])) == pytest.approx(13)
    assert frechet_distance(zero, np.zeros((2, 2)), zero, np.diag([0, 9.0])) == pytest.approx(9)


def test_few_samples_of_many_dimensions() -> None:
    features = np.random.default_rng(0).normal(size=(3, 32))
    assert frechet_of_features(features, features) == pytest.approx(0, abs=1e-6)
    assert frechet_of_features(features, features + 2) == pytest.approx(32 * 4)
    with pytest.raises(ValueError, match="at least 2"):
        gaussian(features[:1])


def test_agrees_with_scipy_on_well_conditioned() -> None:
    from scipy.linalg import sqrtm

    rng = np.random.default_rng(1)
    for d in (2, 8, 32):
        a, b = random_covariance(rng, d), random_covariance(rng, d)
        mean = rng.normal(size=d)
        expected = mean @ mean + np.trace(a + b) - 2 * np.trace(sqrtm(a @ b).real)
        assert frechet_distance(mean, a, np.zeros(d), b) == pytest.approx(expected, abs=1e-6)
        assert frechet_distance(np.zeros(d), b, mean, a) == pytest.approx(expected, abs=1e-6)


def test_gaussian_is_numpys() -> None:
    features = np.random.default_rng(2).normal(size=(20, 5))
    mean, covariance = gaussian(features)
    np.testing.assert_allclose(mean, features.mean(0))
    np.testing.assert_allclose(covariance, np.cov(features, rowvar=False))


@pytest.mark.parametrize("windows", [1, 40])  # fewer samples than dimensions, and more
def test_resamples_from_each_clips_moments_are_the_distances_of_the_samples(windows: int) -> None:
    rng = np.random.default_rng(3)
    mixing = rng.normal(size=(24, 24)) / 5
    real = rng.normal(size=(300, 24)) @ mixing + 50  # a mean far from 0, which would cancel
    groups = [rng.normal(0.2, 1.3, (windows + i % 3, 24)) @ mixing + 50 for i in range(9)]
    reference = FrechetReference(real)
    picks = rng.integers(9, size=(20, 9))
    direct = [frechet_of_features(np.concatenate([groups[i] for i in row]), real) for row in picks]
    np.testing.assert_allclose(reference.distances(groups, picks), direct, rtol=1e-6)
    assert reference.distances(groups, picks)[0] == pytest.approx(
        reference.distance(np.concatenate([groups[i] for i in picks[0]])), rel=1e-9
    )
