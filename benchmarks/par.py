"""PAR against the version that draws every disc, and on its own: frames per second of one core.

    python benchmarks/par.py

The comparison is with `paha_core.par.literal`, which the tests compare PAR with. The scene is the
studio's true keypoints with every point reliable: 68 of the face, two hands, the body. Medians of
interleaved rounds. Targets: 50 times the literal version, and 2000 frames a second at 512 -> 64.
"""

from __future__ import annotations

import statistics
import time

import numpy as np

from paha_core.config import ParConfig
from paha_core.corpora.studio import programme
from paha_core.par import par_weights, region_masks
from paha_core.par.literal import literal_par

ROUNDS, FRAMES, LITERAL_FRAMES = 7, 250, 4


def scene(side: int) -> tuple[np.ndarray, np.ndarray]:
    """FRAMES frames of a speaking presenter: points [T, 133, 2] and scores [T, 133]."""
    drawn = programme.prepare("lin", 0, seconds=FRAMES / 25, height=side, seed=3)
    truth = programme.ground_truth(drawn)
    points: np.ndarray = truth["keypoints"][:FRAMES] - np.array(drawn.crop[:2], np.float32)
    return points, np.where(truth["visible"][:FRAMES], 0.95, 0).astype(np.float32)


def main() -> None:
    config = ParConfig()
    for side, grid in ((512, 64), (256, 32)):
        points, scores = scene(side)
        size = (side, side)

        def ours(p=points, s=scores, z=size, g=grid) -> None:
            par_weights(p, s, z, config, g)

        def regions(p=points, s=scores, z=size, g=grid) -> None:
            region_masks(p, s, z, config, g)

        def rival(p=points, s=scores, z=side, g=grid) -> None:
            for t in range(LITERAL_FRAMES):
                literal_par(p[t], s[t], z, config, g)

        works = {"par_weights": ours, "region_masks": regions, "literal": rival}
        counts = {"par_weights": len(points), "region_masks": len(points)}
        times: dict[str, list[float]] = {name: [] for name in works}
        for turn in range(ROUNDS + 1):
            for name, work in works.items():
                started = time.perf_counter()
                work()
                if turn:  # the first round compiles
                    took = time.perf_counter() - started
                    times[name].append(took / counts.get(name, LITERAL_FRAMES))
        slow = statistics.median(times["literal"])
        for name, values in times.items():
            middle = statistics.median(values)
            print(
                f"{side} -> {grid}  {name:13} {1 / middle:9.0f} frames/s   {slow / middle:7.0f} x"
                " the literal version"
            )


if __name__ == "__main__":
    main()
