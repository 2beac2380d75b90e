"""Does guidance by classifiers that hear make lips follow better? (paper 4.2; DESIGN 8 and 9)

Held-out clips are generated unguided and in other ways from the same noise; the openness of the
mouth, as MediaPipe's face mesh sees it, is correlated with the drawn truth, and differences are
paired by clip.

    paha run generated_clips --preset study      # once: everything up to both classifiers
    python benchmarks/studies/guidance.py --preset study sequential:face=5,non_face=0,rate=1

A way is a mode and its settings, keys of `generation.guidance`.
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path
from typing import Any

import mediapipe
import numpy as np

from paha_core.config import GuidanceConfig
from paha_core.inference.generate import HeldOut, choose, conditions_of
from paha_core.inference.inputs import resize
from paha_core.inference.pipeline import PahaPipeline
from paha_core.stages import kept_rows
from paha_core.steps import Workspace, prepare_torch
from paha_core.store import Store

BATCH = 8
UPPER_LIP, LOWER_LIP, FOREHEAD, CHIN = 13, 14, 10, 152  # points of the face mesh


def openness(frames: np.ndarray) -> np.ndarray:
    """Distance of the inner lips over the face's height by frame; NaN where no face is found."""
    found = []
    with mediapipe.solutions.face_mesh.FaceMesh(
        max_num_faces=1, min_detection_confidence=0.3, min_tracking_confidence=0.3
    ) as mesh:
        for frame in resize(frames, 256):
            faces = mesh.process(frame).multi_face_landmarks
            if not faces:
                found.append(np.nan)
                continue
            points = np.array([(p.x, p.y) for p in faces[0].landmark])
            height = np.linalg.norm(points[FOREHEAD] - points[CHIN])
            found.append(np.linalg.norm(points[UPPER_LIP] - points[LOWER_LIP]) / height)
    return np.array(found)


def truth(store: Store, clip: HeldOut, row: dict[str, Any]) -> np.ndarray:
    """The drawn openness at the clip's frames."""
    rel = f"sources/truth/{row['speaker']}/{row['programme']}.npz"
    with store.reading(rel) as path, np.load(path, allow_pickle=False) as known:
        at = (row["start"] + np.arange(clip.frames) / 25) * float(known["fps"])
        drawn = known["mouth_openness"]
        return np.interp(at, np.arange(len(drawn)), drawn)


def correlation(seen: np.ndarray, drawn: np.ndarray) -> float:
    good = np.isfinite(seen)
    return float(np.corrcoef(seen[good], drawn[good])[0, 1]) if good.sum() > 9 else float("nan")


def parsed(way: str) -> tuple[str, dict[str, Any]]:
    mode, _, rest = way.partition(":")
    pairs = (item.split("=", 1) for item in rest.split(",") if item)
    return mode, {k: v if k == "form" else float(v) for k, v in pairs}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("ways", nargs="+")
    parser.add_argument("--preset", default="study")
    parser.add_argument("--store", default="")
    given = parser.parse_args()
    workspace = Workspace(given.preset, given.store)
    store, preset = workspace.store, workspace.preset
    pipeline = PahaPipeline.from_store(store, preset, prepare_torch(preset))
    rows = {r["clip_id"]: r for r in kept_rows(store, "clips", preset.corpora.datasets)}
    clips = choose(store, preset)
    drawn = [truth(store, clip, rows[clip.clip_id]) for clip in clips]
    unguided = np.array([])
    print(f"{len(clips)} held-out clips of {Path(store.url).name}")
    print("| way | lip correlation | change, paired | standard error | update | seconds |")
    print("|---|---|---|---|---|---|")
    for way in ("unguided", *given.ways):
        mode, settings = parsed(way)
        guidance = GuidanceConfig(**settings) if settings else None
        started, scores, updates = time.perf_counter(), [], []
        for first in range(0, len(clips), BATCH):
            part = clips[first : first + BATCH]
            longest = max(clip.frames for clip in part)
            made = pipeline.generate(
                conditions_of(part, longest, preset.audio.margin),
                np.stack([clip.sample.faces[clip.reference_frame] for clip in part]),
                mode=mode,
                seed=preset.generation.seed,
                guidance=guidance,
                force=True,
            )
            updates += [step["update"] for step in made.trace.steps]
            for clip, video, known in zip(part, made.frames, drawn[first:], strict=False):
                scores.append(correlation(openness(video[: clip.frames]), known))
        lips = np.array(scores)
        unguided = lips if way == "unguided" else unguided
        change = lips - unguided
        error = np.nanstd(change, ddof=1) / np.sqrt(np.isfinite(change).sum())
        moved = f"{np.mean(updates):.4f}" if updates else ""
        print(
            f"| {way} | {np.nanmean(lips):.3f} | {np.nanmean(change):+.3f} | {error:.3f} "
            f"| {moved} | {time.perf_counter() - started:.0f} |",
            flush=True,
        )


if __name__ == "__main__":
    main()
