"""Videos per second of each metric, against the plain published recipe, with equal results.

    python benchmarks/metrics.py

The plain recipe works on one video at a time and takes SciPy's `sqrtm`; the bootstrap interval that
every row carries is counted with the Fréchet distances, since that is what they cost. Results are
the same to 1e-4 of their size, or this script fails. Medians of several rounds.
"""

import statistics
import time
from collections.abc import Callable

import numpy as np
import torch
from scipy.linalg import sqrtm

from paha_core.metrics.beats import beat_alignment
from paha_core.metrics.bootstrap import bootstrap_statistic
from paha_core.metrics.diversity import derangement, diversity
from paha_core.metrics.fgd import fgd
from paha_core.metrics.sync import shift_distances
from paha_core.metrics.video_features import RandomR3D, preprocess, video_features, windows_of

CLIPS, WINDOWS, ROUNDS, BOOTSTRAP = 16, 5, 3, 50
RNG = np.random.default_rng(0)


def seconds(work: Callable[[], object]) -> tuple[float, object]:
    """The median time of `work`, and what it returned."""
    times, result = [], None
    for _ in range(ROUNDS):
        started = time.perf_counter()
        result = work()
        times.append(time.perf_counter() - started)
    return statistics.median(times), result


def plain_frechet(features: np.ndarray, reference: np.ndarray) -> float:
    """As in published code: covariances, their product, a general matrix square root."""
    mean_a, mean_b = features.mean(0), reference.mean(0)
    a, b = np.cov(features, rowvar=False), np.cov(reference, rowvar=False)
    root = sqrtm(a @ b)
    if not np.isfinite(root).all():
        offset = np.eye(len(a)) * 1e-6
        root = sqrtm((a + offset) @ (b + offset))
    return float(((mean_a - mean_b) ** 2).sum() + np.trace(a + b - 2 * root.real))


def frechet(dimensions: int) -> tuple[Callable[[], object], Callable[[], object]]:
    groups = [RNG.normal(0.3, 1.2, (WINDOWS * 4, dimensions)) for _ in range(CLIPS)]
    reference = RNG.normal(size=(4 * dimensions + 200, dimensions))

    def ours() -> object:
        return fgd(groups, reference, rounds=BOOTSTRAP).value

    def plain() -> object:
        def distance(features: np.ndarray) -> float:
            return plain_frechet(features, reference)

        return bootstrap_statistic(groups, distance, rounds=BOOTSTRAP, seed=0).value

    return ours, plain


def spread() -> tuple[Callable[[], object], Callable[[], object]]:
    features = RNG.normal(size=(CLIPS * WINDOWS, 32))

    def plain() -> object:
        rng, total = np.random.default_rng(0), []
        for _ in range(16):
            order = derangement(len(features), rng)
            pairs = zip(features, features[order], strict=True)
            total.append(np.mean([np.abs(a - b).sum() for a, b in pairs]))
        return float(np.mean(total))

    return lambda: diversity(features), plain


def alignment() -> tuple[Callable[[], object], Callable[[], object]]:
    clips = [(np.sort(RNG.uniform(0, 10, 30)), np.sort(RNG.uniform(0, 10, 20))) for _ in range(99)]

    def plain() -> object:
        values = []
        for beats, others in clips:
            total = 0.0
            for beat in beats:
                total += np.exp(-((min(abs(beat - o) for o in others) * 25) ** 2) / (2 * 3.0**2))
            values.append(total / len(beats))
        return float(np.mean(values))

    return lambda: float(np.mean([beat_alignment(*clip) for clip in clips])), plain


def sync() -> tuple[Callable[[], object], Callable[[], object]]:
    video, audio = (RNG.normal(size=(95, 1024)) for _ in range(2))

    def plain() -> object:
        seen, padded = torch.from_numpy(video), torch.from_numpy(np.pad(audio, ((15, 15), (0, 0))))
        rows = [
            torch.nn.functional.pairwise_distance(seen[[i]].repeat(31, 1), padded[i : i + 31])
            for i in range(len(seen))
        ]
        return torch.stack(rows, 1).mean(1).numpy()

    return lambda: shift_distances(video, audio), plain


def video() -> tuple[Callable[[], object], Callable[[], object]]:
    frames = RNG.integers(0, 255, (56, 128, 128, 3), dtype=np.uint8)
    space = RandomR3D()

    def plain() -> object:
        found = [space.encode(one[None]) for one in windows_of(preprocess(frames, space.side))]
        return torch.cat(found).numpy()

    return lambda: video_features(space, frames), plain


METRICS = {
    "FGD and its interval, 32 dimensions": (frechet(32), CLIPS),
    "FVD and its interval, 400 dimensions": (frechet(400), CLIPS),
    "Diversity": (spread(), CLIPS),
    "BAS": (alignment(), 99),
    "Sync-C distances": (sync(), 1),
    "video features": (video(), 1),
}


def main() -> None:
    torch.set_num_threads(1)
    print(f"{'metric':40} {'ours':>12} {'plain':>12}  videos a second")
    for name, ((ours, plain), videos) in METRICS.items():
        ours_time, ours_value = seconds(ours)
        plain_time, plain_value = seconds(plain)
        np.testing.assert_allclose(ours_value, plain_value, rtol=1e-4, atol=1e-4)
        print(f"{name:40} {videos / ours_time:12.1f} {videos / plain_time:12.1f}  equal to 1e-4")


if __name__ == "__main__":
    main()
