"""Does MediaPipe find the people that the studio draws?

    python benchmarks/studies/people.py --people 200              about 15 minutes of one core

Each person speaks a programme at 256 x 256 pixels; a second of it goes through the pipeline's own
detector. A frame counts where face, both shoulders and both hands are found. The seeds of those
found in less than 98 % of the frames belong into `EXCLUDED` in paha_core/corpora/studio/people.py,
and nobody draws them.
"""

from __future__ import annotations

import argparse
from itertools import islice

import numpy as np

from paha_core.config import PoseConfig
from paha_core.corpora.studio.people import EXCLUDED, person
from paha_core.corpora.studio.programme import draw_frames, prepare
from paha_core.pose import layout
from paha_core.pose.mediapipe import MediaPipe

SIDE, SECONDS = 256, 5.6
FRAMES = slice(20, 45)  # the first words
WANTED = 0.98
SHOULDERS = [5, 6]


def found(detector: MediaPipe, seed: int) -> dict[str, float]:
    """The share of frames in which each part of the person is found, and all of them."""
    programme = prepare(person(seed).name, 0, seconds=SECONDS, height=SIDE, seed=0)
    x0, _, side = programme.crop
    shown = islice(draw_frames(programme), FRAMES.start, FRAMES.stop)
    scores = detector.detect(f[:, x0 : x0 + side] for f in shown).scores
    parts = {
        "face": scores[:, layout.FACE].min(axis=1) > 0,
        "body": scores[:, SHOULDERS].min(axis=1) > 0.5,
        "left hand": scores[:, layout.LEFT_HAND].min(axis=1) > 0,
        "right hand": scores[:, layout.RIGHT_HAND].min(axis=1) > 0,
    }
    parts["all"] = np.logical_and.reduce(list(parts.values()))
    return {name: float(hits.mean()) for name, hits in parts.items()}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--people", type=int, default=200)
    parser.add_argument("--first", type=int, default=0)
    asked = parser.parse_args()

    detector = MediaPipe(PoseConfig())
    shares: dict[int, dict[str, float]] = {}
    for seed in range(asked.first, asked.first + asked.people):
        shares[seed] = found(detector, seed)
        if shares[seed]["all"] < WANTED:
            missed = ", ".join(f"{k} {v:.0%}" for k, v in shares[seed].items())
            print(f"{person(seed).name}: {missed}", flush=True)
        if len(shares) % 20 == 0:
            print(f"{len(shares)} people looked at", flush=True)
    every = np.array([s["all"] for s in shares.values()])
    failed = [seed for seed, s in shares.items() if s["all"] < WANTED]
    print(f"{len(every)} people: all parts in {every.mean():.2%} of the frames")
    print(f"found in {WANTED:.0%} of the frames: {np.mean(every >= WANTED):.1%} of the people")
    print(f"excluded so far {sorted(EXCLUDED)}; failed now {failed}")


if __name__ == "__main__":
    main()
