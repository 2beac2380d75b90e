"""Fréchet distance of two Gaussians, without a general matrix square root.

tr (S1 S2)^(1/2) is the sum of the square roots of the eigenvalues of the symmetric S1^(1/2) S2
S1^(1/2), so two symmetric eigendecompositions are enough. They never turn complex and don't mind
singular covariances; SciPy's `sqrtm`, which the published recipes use, does both.
"""

from __future__ import annotations

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
    eigenvalues = np.linalg.eigvalsh((inner + inner.T) / 2)
    trace_root = np.sqrt(np.clip(eigenvalues, 0, None)).sum()
    total = (
        difference @ difference + np.trace(covariance_a) + np.trace(covariance_b) - 2 * trace_root
    )
    return max(float(total), 0.0)


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
        overlap = np.sqrt(np.clip(np.linalg.eigvalsh(gram), 0, None)).sum()
        gap = mean - self.mean
        spread = float((centred**2).sum()) + self.trace - 2 * float(overlap)
        return max(float(gap @ gap) + spread, 0.0)
