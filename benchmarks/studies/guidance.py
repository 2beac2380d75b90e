"""Measures whether guidance by classifiers that pass their gate improves lips and hands.

Paper 4.2; docs/design.md 8 and docs/design.md 9.

Held-out clips are generated unguided and in other ways from the same noise. From detected
keypoints: the mouth's openness is correlated with the drawn truth, and the gestures' beats are
compared with the speech's (BAS) and the drawn ones (mean distance). Differences are paired by clip,
with bootstrap intervals.

    paha run generated_clips --preset study      # once: everything up to both classifiers
    python benchmarks/studies/guidance.py --preset study \
        sequential:lambda_face=5,lambda_non_face=0,rate=1

A way is a mode and its settings, keys of `generation.guidance`.
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path
from typing import Any

import numpy as np
from pydantic import TypeAdapter

from paha_core.benchmark.measuring.video_inputs import Truth, drawn_truth
from paha_core.config import GuidanceConfig, Mode
from paha_core.engine.manifest_stage import kept_rows
from paha_core.inference.held_out_clips import HeldOutClip, conditions_of, noise_seed, select_clips
from paha_core.inference.inputs import resize
from paha_core.inference.pipeline import PahaPipeline, Settings
from paha_core.metrics.beats import (
    audio_beats,
    beat_alignment,
    beat_error,
    motion_beats,
    stroke_ends,
)
from paha_core.metrics.lips import lip_correlation, mouth_openness
from paha_core.metrics.pose_features import gesture_points
from paha_core.models.audio_encoder import SAMPLES_PER_FRAME
from paha_core.pose.detect import Detector, open_detector
from paha_core.stages import Workspace, prepare_torch

BATCH = 8
DETECT_SIZE = 256  # pixels: generated frames are enlarged for the detector
METRICS = ("lip correlation", "BAS", "beat error, s")
DRAWS = 10_000


def scores(detector: Detector, frames: np.ndarray, clip: HeldOutClip, truth: Truth) -> list[float]:
    """`METRICS` of a generated video; NaN where one does not exist."""
    seen = detector.detect(resize(frames[: clip.frames], DETECT_SIZE))
    mouth, gestures = mouth_openness(seen.points, seen.scores), gesture_points(seen)
    wave = clip.sample.wave[: clip.frames * SAMPLES_PER_FRAME].astype(np.float32) / 32768
    heard = audio_beats(wave)
    moved = None if gestures is None else motion_beats(gestures)
    found = (
        None if mouth is None else lip_correlation(mouth, truth.openness),
        None if moved is None else beat_alignment(heard, moved),
        None if gestures is None else beat_error(stroke_ends(gestures), truth.beats),
    )
    return [float("nan") if value is None else value for value in found]


def mean_of(values: np.ndarray) -> str:
    """The mean of the values that exist."""
    return f"{np.nanmean(values):.3f}" if np.isfinite(values).any() else "none"


def interval(change: np.ndarray) -> str:
    """Mean and 95 % bootstrap interval of paired differences."""
    change = change[np.isfinite(change)]
    if not len(change):
        return ""
    drawn = np.random.default_rng(0).choice(change, (DRAWS, len(change))).mean(axis=1)
    low, high = np.quantile(drawn, (0.025, 0.975))
    return f"{change.mean():+.3f} [{low:+.3f}, {high:+.3f}]"


def parsed(way: str) -> tuple[Mode, dict[str, Any]]:
    name, _, rest = way.partition(":")
    mode = TypeAdapter(Mode).validate_python(name)
    pairs = (item.split("=", 1) for item in rest.split(",") if item)
    return mode, {k: v if k == "form" else float(v) for k, v in pairs}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("ways", nargs="+")
    parser.add_argument("--preset", default="study")
    parser.add_argument("--store", default="")
    args = parser.parse_args()
    workspace = Workspace(args.preset, args.store)
    store, preset = workspace.store, workspace.preset
    pipeline = PahaPipeline.from_store(store, preset, prepare_torch(preset))
    detector = open_detector(preset.pose)
    rows = {r["clip_id"]: r for r in kept_rows(store, "clips", preset.corpora.datasets)}
    known = [
        (c, drawn_truth(store, rows[c.clip_id], c.frames)) for c in select_clips(store, preset)
    ]
    clips = [(clip, truth) for clip, truth in known if truth is not None]
    unguided = np.array([])
    print(f"{len(clips)} held-out clips of {Path(store.url).name}")
    print("| way | " + " | ".join(f"{name} | change, paired" for name in METRICS), end="")
    print(" | mean update | seconds |\n|" + "---|" * (2 * len(METRICS) + 3))
    for way in ("unguided", *args.ways):
        mode, settings = parsed(way)
        guidance = GuidanceConfig(**settings) if settings else None
        started, found, updates = time.perf_counter(), [], []
        for first in range(0, len(clips), BATCH):
            part = [clip for clip, _ in clips[first : first + BATCH]]
            longest = max(clip.frames for clip in part)
            made = pipeline.generate(
                conditions_of(pipeline, part, longest),
                np.stack([clip.face_box for clip in part]),
                Settings(mode=mode, guidance=guidance, force=True),
                seeds=[noise_seed(preset.generation.seed, clip) for clip in part],
            )
            updates += [u for step in made.trace.steps if (u := step["update"]) is not None]
            for (clip, truth), video in zip(clips[first:], made.frames, strict=False):
                found.append(scores(detector, video, clip, truth))
        values = np.array(found)
        unguided = values if way == "unguided" else unguided
        cells = [
            f"{mean_of(values[:, i])} | "
            + (interval(values[:, i] - unguided[:, i]) if way != "unguided" else "")
            for i in range(len(METRICS))
        ]
        moved = f"{np.mean(updates):.4f}" if updates else ""
        spent = time.perf_counter() - started
        print(f"| {way} | {' | '.join(cells)} | {moved} | {spent:.0f} |", flush=True)


if __name__ == "__main__":
    main()
