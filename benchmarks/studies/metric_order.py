"""Do metrics fall in order? Sync metrics of a later voice, quality metrics of a damaged picture.

    paha run benchmark --preset demo
    python benchmarks/studies/metric_order.py --preset demo [--clips 6] [--json order.json]

The real held-out clips of a finished run are measured by the functions of its benchmark. Table 1:
the voice comes late by so many frames, with the first frame held as what a video without motion
gets. Every metric that claims sync must worsen at each step, or the command fails. Table 2: nine
kinds of damage in three steps each. `in order`: worse at each step than at the one before; a metric
that is best near the real videos' value is judged by its distance to the undamaged one. What
changes a metric by less than a thousandth is not seen by it, which is no fault.

The run's store is only read; videos and caches go to `--work`, so that a killed study goes on.
"""

from __future__ import annotations

import argparse
import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import numpy as np

from paha_core.benchmark.measuring.evaluate import evaluate
from paha_core.benchmark.measuring.evaluation import Evaluation
from paha_core.benchmark.measuring.videos import Systems, SystemVideo, collect_videos, load_frames
from paha_core.benchmark.tables.variants import OverlayStore
from paha_core.config import Preset
from paha_core.engine.manifest_stage import clip_key, kept_rows
from paha_core.media.encode import write_video
from paha_core.metrics.damage import damages
from paha_core.metrics.registry import Metric, metrics_of, shortfall
from paha_core.metrics.row import Missing
from paha_core.stages import Workspace, prepare_torch
from paha_core.store import Store, sha256_file

SHIFTS = (0, 2, 4, 8)  # frames that the voice comes late
WHOLE = "0 late"  # undamaged, encoded as the damaged are
FROZEN = "frozen"
UNSEEN = 1e-3  # of the undamaged value
Values = list[float | None]


def real_clips(store: Store, preset: Preset, count: int) -> list[SystemVideo]:
    """The run's held-out clips, as long as leaves the picture room to be shifted."""
    lengths = {
        row["clip_id"]: row["frames"] for row in kept_rows(store, "clips", preset.corpora.datasets)
    }
    every = collect_videos(store, preset)["real"]  # by dataset and speaker: taken evenly
    chosen = np.linspace(0, len(every) - 1, min(count, len(every))).round().astype(int)
    real = [every[place] for place in chosen]
    most = (min(v.frames, int(lengths[v.clip_id]) - max(SHIFTS)) for v in real)
    return [replace(video, frames=frames) for video, frames in zip(real, most, strict=True)]


def changed_pictures(
    store: Store, video: SystemVideo, *, damaged: bool
) -> Iterator[tuple[str, np.ndarray]]:
    """Name and frames `[T, H, W, 3]` of everything that is done to a clip's picture.

    The voice stays as it is, so that the drawn truth and the real video keep belonging to it: a
    picture that begins k frames later is one whose voice comes k frames late.
    """
    frames = load_frames(store, replace(video, frames=video.frames + max(SHIFTS)))
    for late in SHIFTS:
        yield f"{late} late", frames[late : late + video.frames]
    whole = frames[: video.frames]
    yield FROZEN, np.repeat(whole[:1], len(whole), axis=0)
    for name, steps in damages().items() if damaged else ():
        for number, damage in enumerate(steps):
            yield step_name(name, number), damage(whole)


def step_name(damage: str, number: int) -> str:
    return f"{damage} {number + 1}"


def systems_of(store: Store, preset: Preset, clips: list[SystemVideo], *, damaged: bool) -> Systems:
    """Each change of the clips as a system of its own, beside the clips themselves."""
    systems: Systems = {"real": clips}
    for clip in clips:
        for name, frames in changed_pictures(store, clip, damaged=damaged):
            folder = re.sub(r"\W+", "-", name)
            rel = f"changed/{folder}/{clip_key(clip.clip_id)}.{clip.frames}.mp4"
            if not store.exists(rel):
                with store.writing(rel) as path:
                    write_video(path, frames, crf=preset.corpora.clip.crf)
            with store.reading(rel) as path:
                made = replace(clip, system=name, path=rel, sha256=sha256_file(path), shows="")
            systems.setdefault(name, []).append(made)
    return systems


def value_of(evaluation: Evaluation, metric: Metric, system: str) -> float | None:
    """Of all clips together; None where it has none."""
    cell = evaluation.cell(metric.name, system, "all")
    return None if isinstance(cell, Missing) else cell.interval.value


def in_order(metric: Metric, values: Values) -> bool | None:
    """Whether each step is worse than the one before; `values[0]` is the undamaged. None where a
    step has no value, or where nothing changes: the metric does not see it."""
    known = [value for value in values if value is not None]
    if len(known) < len(values):
        return None
    if max(known) - min(known) <= UNSEEN * max(abs(known[0]), 1e-9):
        return None
    bad = [shortfall(metric.direction, value, known[0]) or 0.0 for value in known]
    return all(after > before for before, after in pairwise(bad))


def shown(metric: Metric, values: Values) -> str:
    return ", ".join("–" if v is None else f"{v:,.{max(metric.digits, 1)}f}" for v in values)


def print_table(*columns: str) -> None:
    print(f"\n| {' | '.join(columns)} |")
    print("|---" * len(columns) + "|")


def print_shifts(
    found: Mapping[str, Mapping[str, float | None]], metrics: list[Metric]
) -> list[str]:
    """Table 1; returns the titles of metrics that claim sync and do not fall in order."""
    heads = [f"{late} late" for late in SHIFTS]
    print_table("metric", *heads, FROZEN, "claims sync", "in order")
    wrong = []
    for metric in metrics:
        values = [found[head][metric.name] for head in heads]
        if metric.group not in ("Gesture", "Lips") or values[0] is None:
            continue
        verdict = in_order(metric, values)
        cells = [shown(metric, [v]) for v in (*values, found[FROZEN][metric.name])]
        word = {True: "yes", False: "no", None: "–"}[verdict]
        claims = "yes" if metric.claims_sync else ""
        print(f"| {' | '.join([metric.title, *cells, claims, word])} |")
        if metric.claims_sync and not verdict:
            wrong.append(metric.title)
    return wrong


def print_damages(found: Mapping[str, Mapping[str, float | None]], metrics: list[Metric]) -> None:
    """Table 2: the undamaged value, and those of three steps where they are in order."""
    print_table("metric", "best", "undamaged", *damages())
    for metric in metrics:
        whole = found[WHOLE][metric.name]
        if whole is None or metric.control:
            continue
        cells = []
        for name, steps in damages().items():
            values = [found[step_name(name, n)][metric.name] for n in range(len(steps))]
            mark = {True: "**yes** ", False: "no ", None: ""}[in_order(metric, [whole, *values])]
            cells.append(f"{mark}{shown(metric, values)}" if mark else "–")
        best = {"up": "high", "down": "low", "real": "as real"}[metric.direction]
        print(f"| {' | '.join([metric.title, best, shown(metric, [whole]), *cells])} |")


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--preset", default="demo")
    parser.add_argument("--store", default="")
    parser.add_argument("--work", default="", help="folder or URL of what is made on the way")
    parser.add_argument("--clips", type=int, default=6)
    parser.add_argument("--json", default="", help="where all values are written")
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--shifts-only", action="store_true", help="table 1, a sixth of the work")
    given = parser.parse_args()
    workspace = Workspace(given.preset, given.store)
    preset = workspace.preset
    prepare_torch(preset)
    work = given.work or f"{workspace.store.url.rstrip('/')}-metric-order"
    store = OverlayStore(work, workspace.store.url)
    clips = real_clips(store, preset, given.clips)
    if len(clips) < 2:
        raise SystemExit(f"{workspace.store.url} has {len(clips)} held-out clips: 2 are needed")
    systems = systems_of(store, preset, clips, damaged=not given.shifts_only)
    evaluation = evaluate(store, preset, systems, workers=given.workers)
    metrics = [metric for metric in metrics_of(preset) if metric.group != "Time"]
    found = {s: {m.name: value_of(evaluation, m, s) for m in metrics} for s in systems}
    if given.json:
        Path(given.json).write_text(json.dumps(found, indent=1, ensure_ascii=False) + "\n")
    print(
        f"{len(clips)} held-out clips, {clips[0].frames} frames each, "
        f"{preset.evaluation_size} pixels"
    )
    wrong = print_shifts(found, metrics)
    if not given.shifts_only:
        print_damages(found, metrics)
    if wrong:
        raise SystemExit(f"claim sync and do not fall in order: {', '.join(wrong)}")


if __name__ == "__main__":
    main()
