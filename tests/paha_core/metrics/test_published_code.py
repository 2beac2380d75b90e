"""Our metrics beside the published functions, to the letter, on the same inputs."""

import numpy as np
import pytest
from scipy import linalg

from paha_core.metrics.beats import beat_alignment
from paha_core.metrics.diversity import derangement, diversity
from paha_core.metrics.frechet import FrechetReference, frechet_of_features


def fid(mu1: np.ndarray, sigma1: np.ndarray, mu2: np.ndarray, sigma2: np.ndarray) -> float:
    """pytorch-fid's `calculate_frechet_distance`; StyleGAN-V's and HA2G's compute the same."""
    diff = mu1 - mu2
    covmean = linalg.sqrtm(sigma1.dot(sigma2))
    if not np.isfinite(covmean).all():
        offset = np.eye(sigma1.shape[0]) * 1e-6
        covmean = linalg.sqrtm((sigma1 + offset).dot(sigma2 + offset))
    if np.iscomplexobj(covmean):
        covmean = covmean.real
    return diff.dot(diff) + np.trace(sigma1) + np.trace(sigma2) - 2 * np.trace(covmean)


@pytest.mark.parametrize(
    ("samples", "dimensions", "relative"),
    [(3000, 32, 1e-10), (60, 32, 1e-9), (12, 32, 1e-4)],  # of 12 in 32 the published root is poor
)
def test_frechet_is_pytorch_fids(samples: int, dimensions: int, relative: float) -> None:
    rng = np.random.default_rng(samples)
    mixed = rng.normal(size=(dimensions, dimensions)) / dimensions**0.5
    one = rng.normal(size=(samples, dimensions))
    other = rng.normal(0.3, 1.2, (samples, dimensions)) @ mixed
    published = fid(one.mean(0), np.cov(one.T), other.mean(0), np.cov(other.T))
    assert frechet_of_features(one, other) == pytest.approx(published, rel=relative)
    assert FrechetReference(other).distance(one) == pytest.approx(published, rel=relative)


def test_equal_sets_have_no_distance_where_the_published_root_has_some() -> None:
    features = np.random.default_rng(0).normal(size=(20, 100))
    assert frechet_of_features(features, features) == pytest.approx(0, abs=1e-9)


def bailando(music_beats: np.ndarray, motion_beats: tuple[np.ndarray]) -> float:
    """Bailando's `BA`, after its two calls that find beats."""
    ba = 0
    for bb in music_beats:
        ba += np.exp(-np.min((motion_beats[0] - bb) ** 2) / 2 / 9)
    return ba / len(music_beats)


def mint(music_beats: np.ndarray, motion_beats: np.ndarray, sigma: float = 3) -> float:
    """mint's `alignment_score`: beats are ones among a frame each."""
    if motion_beats.sum() == 0:
        return 0.0
    music_beat_idxs, motion_beat_idxs = np.where(music_beats)[0], np.where(motion_beats)[0]
    score_all = []
    for motion_beat_idx in motion_beat_idxs:
        dists = np.abs(music_beat_idxs - motion_beat_idx).astype(np.float32)
        score_all.append(np.exp(-(dists[np.argmin(dists)] ** 2) / 2 / sigma**2))
    return sum(score_all) / len(score_all)


def test_beat_scores_are_bailandos_and_mints() -> None:
    rng = np.random.default_rng(0)
    for _ in range(100):
        music, motion = (np.sort(rng.choice(200, n, replace=False)) for n in rng.integers(3, 30, 2))
        seconds = music / 25, motion / 25
        assert beat_alignment(*seconds) == pytest.approx(bailando(music, (motion,)), abs=1e-12)
        marked = [np.isin(np.arange(200), beats) for beats in (music, motion)]
        assert beat_alignment(*seconds[::-1]) == pytest.approx(mint(*marked), abs=1e-12)


def ha2g(feat1: np.ndarray, feat2: np.ndarray) -> float:
    """The distance of HA2G's `get_diversity_scores`; there the partner may be the sample itself."""
    return np.mean([np.sum(np.absolute(a - b)) for a, b in zip(feat1, feat2, strict=True)])


@pytest.mark.parametrize("samples", [6, 48, 640])
def test_diversity_is_ha2gs_of_the_same_partners(samples: int) -> None:
    features = np.random.default_rng(samples).normal(size=(samples, 32))
    order = derangement(samples, np.random.default_rng(5))
    published = ha2g(features, features[order])
    assert diversity(features, seed=5, rounds=1) == pytest.approx(published, rel=1e-12)
