"""Fréchet distance of two Gaussians, without a general matrix square root.

tr (S1 S2)^(1/2) is the sum of the square roots of the eigenvalues of the symmetric S1^(1/2) S2
S1^(1/2), so two symmetric eigendecompositions are enough. They never turn complex and work for
singular covariances; SciPy's `sqrtm`, which the published recipes use, fails at both.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np


def frechet_distance(
    mean_a: np.ndarray, covariance_a: np.ndarray, mean_b: np.ndarray, covariance_b: np.ndarray
) -> float:
    """|mean_a - mean_b|^2 + tr(A + B - 2 (A B)^(1/2)), at least 0.

    Means `[D]`, covariances `[D, D]` symmetric and positive semi-definite, float. Dowson & Landau
    1982.
    """
    difference = np.asarray(mean_a, np.float64) - np.asarray(mean_b, np.float64)
    values, vectors = np.linalg.eigh(np.asarray(covariance_a, np.float64))
    root = (vectors * np.sqrt(np.clip(values, 0, None))) @ vectors.T
    inner = root @ np.asarray(covariance_b, np.float64) @ root
    traces = np.trace(covariance_a) + np.trace(covariance_b)
    total = difference @ difference + traces - 2 * trace_of_root((inner + inner.T) / 2)
    return max(float(total), 0.0)


def trace_of_root(matrix: np.ndarray) -> float:
    """tr A^(1/2) of a symmetric positive semi-definite `[D, D]`, of which the lower half is read;
    what rounding made negative counts as 0.
    """
    from scipy.linalg import eigh

    # LAPACK's `evr`: for eigenvalues alone it takes less than half the time of NumPy's `eigvalsh`.
    values = eigh(matrix, eigvals_only=True, driver="evr", check_finite=False)
    return float(np.sqrt(np.clip(values, 0, None)).sum())


def gaussian(features: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Mean `[D]` and unbiased covariance `[D, D]` of features `[N, D]`. Raises `ValueError` below 2
    samples.
    """
    features = np.asarray(features, np.float64)
    if features.ndim != 2 or len(features) < 2:
        raise ValueError(
            f"a Gaussian needs at least 2 samples in an array [N, D], got shape {features.shape}"
        )
    centred = features - features.mean(0)
    return features.mean(0), centred.T @ centred / (len(features) - 1)


def frechet_of_features(features_a: np.ndarray, features_b: np.ndarray) -> float:
    """Fréchet distance of the Gaussians fitted to features `[N, D]` and `[M, D]`.

    With fewer samples than dimensions both covariances are singular and the value is biased
    upwards: compare only systems with equally many samples.
    """
    (mean_a, cov_a), (mean_b, cov_b) = gaussian(features_a), gaussian(features_b)
    return frechet_distance(mean_a, cov_a, mean_b, cov_b)


class FrechetReference:
    """The Gaussian of real features `[N, D]`, ready for many distances to it.

    tr (A R)^(1/2) is the sum of the singular values of X R^(1/2) / sqrt(n - 1), X the centred
    features of A. Their Gram matrix is only as large as n or D, whichever is less: a bootstrap over
    few clips in I3D's 400 dimensions needs no 400 x 400 eigenvalues a round.
    """

    def __init__(self, features: np.ndarray) -> None:
        self.mean, covariance = gaussian(features)
        values, vectors = np.linalg.eigh(covariance)
        self.root = (vectors * np.sqrt(np.clip(values, 0, None))) @ vectors.T
        self.trace = float(np.trace(covariance))

    def distance(self, features: np.ndarray) -> float:
        """`frechet_of_features(features, reference)`."""
        features = np.asarray(features, np.float64)
        if features.ndim != 2 or len(features) < 2:
            raise ValueError(f"a Gaussian needs at least 2 samples, got shape {features.shape}")
        mean = features.mean(0)
        centred = (features - mean) / np.sqrt(len(features) - 1)
        turned = centred @ self.root
        gram = turned @ turned.T if len(turned) <= turned.shape[1] else turned.T @ turned
        gap = mean - self.mean
        spread = float((centred**2).sum()) + self.trace - 2 * trace_of_root(gram)
        return max(float(gap @ gap) + spread, 0.0)

    def distances(self, groups: Sequence[np.ndarray], picks: np.ndarray) -> np.ndarray:
        """`distance` of the clips that each row of `picks` `[R, N]` names: `[R]`.

        `groups`: features `[n_i, D]` of N clips. With more samples than dimensions a choice of
        clips is a weighted sum of each clip's first and second moments, whatever the number of
        samples; with fewer the Gram matrix of the samples is smaller than a covariance.
        """
        if sum(map(len, groups)) <= len(self.mean):
            rows = (np.concatenate([groups[i] for i in row]) for row in picks)
            return np.array([self.distance(features) for features in rows])
        return _Moments(self, groups).distances(picks)


class _Moments:
    """Sums over each clip of x - m, |x - m|^2 and y y^T, where m is the reference's mean, y = (x -
    m) R^(1/2). Less the mean there is nothing large to cancel; in y the reference's covariance need
    not be multiplied in again for each choice.
    """

    def __init__(self, reference: FrechetReference, groups: Sequence[np.ndarray]) -> None:
        self.reference = reference
        dimensions = len(reference.mean)
        self.upper = np.triu_indices(dimensions)  # of a symmetric matrix
        self.counts = np.array([len(group) for group in groups], np.float64)
        self.sums = np.zeros((len(groups), dimensions))
        self.squares = np.zeros(len(groups))
        self.products = np.zeros((len(groups), len(self.upper[0])))
        for i, group in enumerate(groups):
            shifted = np.asarray(group, np.float64) - reference.mean
            turned = shifted @ reference.root
            self.sums[i], self.squares[i] = shifted.sum(0), (shifted**2).sum()
            self.products[i] = (turned.T @ turned)[self.upper]

    def distances(self, picks: np.ndarray, chunk: int = 64) -> np.ndarray:
        clips = len(self.counts)
        times = np.stack([np.bincount(row, minlength=clips) for row in picks]).astype(np.float64)
        found = []
        for first in range(0, len(times), chunk):
            part = times[first : first + chunk]
            products = part @ self.products
            found += [self._one(weights, row) for weights, row in zip(part, products, strict=True)]
        return np.array(found)

    def _one(self, times: np.ndarray, products: np.ndarray) -> float:
        count = float(times @ self.counts)
        if count < 2:
            raise ValueError("a Gaussian needs at least 2 samples")
        gap = (times @ self.sums) / count
        turned_gap = gap @ self.reference.root
        lower = products - count * np.outer(turned_gap, turned_gap)[self.upper]
        covariance = np.zeros((len(gap), len(gap)))
        covariance[self.upper[1], self.upper[0]] = lower / (count - 1)
        trace = (float(times @ self.squares) - count * float(gap @ gap)) / (count - 1)
        spread = trace + self.reference.trace - 2 * trace_of_root(covariance)
        return max(float(gap @ gap) + spread, 0.0)
