"""What an adapter does for the person it was trained on, and to others.

    python benchmarks/studies/adapt.py --store runs/demo --preset demo --out figures.json

A person whom no network has seen is drawn for a minute; `paha adapt` trains on it. Then that person
and others speak sentences that were not in the footage, each with and without the adapter, from the
same portrait, voice and noise, and the numbers of the two are compared clip by clip:

- identity: cosine of HOG and colour of the faces to the drawn portrait's;
- lips: correlation of the mouth's openness with the drawn truth;
- picture: PSNR of the frames to the drawn clip's.

Intervals are bootstraps over clips. A second call trains nothing again, so that `--clips 0` and
`--others` alone measure the two groups one by one.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np

from paha_core.config import PoseConfig, load_preset
from paha_core.corpora.studio import IDENTITIES, presenter, presenters, render_corpus
from paha_core.corpora.studio.people import person_seed
from paha_core.corpora.studio.programme import Programme, prepare
from paha_core.inference.pipeline import PahaPipeline
from paha_core.media.frames import resize
from paha_core.metrics import lips
from paha_core.metrics.bootstrap import bootstrap_mean
from paha_core.metrics.identity import HogColour, descriptors, identity_similarity
from paha_core.pose.mediapipe import MediaPipe
from paha_core.stages.adapt import adapt, adapted_preset
from paha_core.store import Store

sys.path.append(str(Path(__file__).parents[1]))
from studies.base import FRAMES, UNSEEN, face_of, make_clip, openness

SIDE = 256  # pixels at which faces are detected
SEED = 1  # of the sentences; the footage's is 0


def measured(
    frames: np.ndarray,
    drawn: np.ndarray,
    face: np.ndarray,
    truth: np.ndarray,
    detector: MediaPipe,
) -> dict[str, float]:
    """The three figures of a generated clip; `face` is the descriptor of the portrait's."""
    shown, real = resize(frames, SIDE), resize(drawn, SIDE)  # no face of 20 pixels is found
    found = detector.detect(iter(shown))
    faces = descriptors(HogColour(), shown, found.points, found.scores)
    mouth = lips.mouth_openness(found.points, found.scores)
    error = ((shown.astype(float) - real) ** 2).mean()
    return {
        "identity": identity_similarity(faces, face) or 0.0,
        "lips": 0.0 if mouth is None else lips.lip_correlation(mouth, truth) or 0.0,
        "picture": float(10 * np.log10(255**2 / max(error, 1e-6))),
    }


def compare(
    pipeline: PahaPipeline, name: str, clips: int, adapter: str, detector: MediaPipe
) -> list[dict[str, Any]]:
    """A row for each clip of a person, with and without the adapter."""
    rows, face = [], face_of(presenter(name), SIDE)
    for index in range(1, clips + 1):
        programme: Programme = prepare(name, index, seconds=5.6, height=SIDE, seed=SEED)
        truth, row = openness(programme), {"name": name, "clip": index}
        for way, scales in (("base", {}), ("adapter", {adapter: 1.0})):
            pipeline.set_adapters(scales)
            frames, drawn = make_clip(pipeline, programme, "unguided", seed=index)
            figures = measured(frames[:FRAMES], drawn, face, truth, detector)
            row |= {f"{figure}_{way}": value for figure, value in figures.items()}
        rows.append(row)
        print(row, flush=True)
    return rows


def summary(rows: list[dict[str, Any]]) -> dict[str, Any]:
    """Means with and without, and of the differences clip by clip with 95 % intervals."""
    found: dict[str, Any] = {"clips": len(rows)}
    for figure in ("identity", "lips", "picture"):
        base, adapted = (
            np.array([row[f"{figure}_{way}"] for row in rows]) for way in ("base", "adapter")
        )
        gain = bootstrap_mean(list(adapted - base), rounds=2000, seed=0)
        found[figure] = {
            "base": float(base.mean()),
            "adapter": float(adapted.mean()),
            "gain": [gain.value, gain.low, gain.high],
        }
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--preset", default="demo")
    parser.add_argument("--store", default="", help="the run's networks")
    parser.add_argument("--folder", default="", help="or a saved pipeline's")
    parser.add_argument("--person", default=presenters(1, UNSEEN)[0])
    parser.add_argument("--seconds", type=float, default=60.0, help="of footage")
    parser.add_argument("--clips", type=int, default=6, help="of that person")
    parser.add_argument("--others", nargs="*", default=list(IDENTITIES), help="one clip of each")
    parser.add_argument("--steps", type=int, default=None)
    parser.add_argument("--work", type=Path, default=Path("runs/adapt_study"))
    parser.add_argument("--out", type=Path, default=None, help="a json to write")
    asked = parser.parse_args()

    preset = load_preset(asked.preset)
    run_store = None if asked.folder else Store(asked.store)
    pipeline = (
        PahaPipeline.from_store(run_store, preset)
        if run_store
        else PahaPipeline.from_pretrained(asked.folder)
    )
    render_corpus(
        asked.work / "footage", programmes=1, seconds=asked.seconds, height=SIDE, seed=0,
        people=1, people_seed=person_seed(asked.person),
    )  # fmt: skip
    [video] = (asked.work / "footage").rglob("*.mp4")
    started, cpu = time.monotonic(), time.process_time()
    pipeline.preset = adapted_preset(pipeline.preset, asked.steps, None)
    report = adapt(
        pipeline, [video], asked.work / "me", "drawn by this project", prior_store=run_store
    )
    took = {"seconds": time.monotonic() - started, "cpu_seconds": time.process_time() - cpu}
    figures: dict[str, Any] = {"training": {**report.figures, **took}}
    print(json.dumps(figures, indent=1), flush=True)

    name, detector = pipeline.load_adapter(asked.work / "me"), MediaPipe(PoseConfig())
    own = compare(pipeline, presenter(asked.person).name, asked.clips, name, detector)
    others = [r for other in asked.others for r in compare(pipeline, other, 1, name, detector)]
    figures |= {
        who: summary(rows) for who, rows in (("the person", own), ("others", others)) if rows
    }
    print(json.dumps(figures, indent=1))
    if asked.out:
        asked.out.write_text(json.dumps(figures, indent=1) + "\n")


if __name__ == "__main__":
    main()
