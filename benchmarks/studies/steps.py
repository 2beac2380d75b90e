"""Quality against time: solvers, numbers of steps, and the student `univdm_fast`.

    paha run univdm_fast --preset demo
    python benchmarks/studies/steps.py --preset demo --out docs/results/steps.md

Each row generates the same held-out clips from the same noise, unguided or guided as
`generation.guidance` says, and is measured by the benchmark's metrics. Differences are paired by
clip against DDIM with the preset's steps in the same mode, with bootstrap intervals. Seconds are of
one segment of a batch of one, all rows in turn, after a round that warms up.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import numpy as np

from paha_core.benchmark.measuring.evaluate import evaluate
from paha_core.benchmark.measuring.evaluation import Evaluation
from paha_core.benchmark.measuring.videos import Systems, generated_video, real_video
from paha_core.config import MODES, Mode, Preset, Solver, derived
from paha_core.engine.manifest_stage import kept_rows
from paha_core.inference.held_out import VideoSet, generation_fingerprint, make_videos
from paha_core.inference.held_out_clips import HeldOutClip, conditions_of, select_clips
from paha_core.inference.pipeline import PahaPipeline, Settings
from paha_core.metrics.bootstrap import MIN_CLIPS
from paha_core.metrics.registry import METRICS
from paha_core.stages import Workspace, prepare_torch
from paha_core.store import Store

FOLDER = "suites/steps"
SHOWN = ("lip_correlation_truth", "lip_correlation", "fgd", "sharpness_face", "bas")
SOLVERS: tuple[tuple[Solver, tuple[int, ...]], ...] = (
    ("ddim", (30, 8, 4)),
    ("dpm++2m", (8,)),
    ("unipc", (8,)),
)


@dataclass(frozen=True)
class Row:
    """One way to sample; `fast`: by the student."""

    name: str
    mode: Mode
    preset: Preset
    settings: Settings

    @property
    def title(self) -> str:
        return f"{self.name}, {self.mode}"


def rows_of(preset: Preset, modes: list[Mode]) -> Iterator[Row]:
    """DDIM with the preset's steps, which the others are compared with, and the student in every
    mode; guided also DDIM with the student's steps, unguided all of `SOLVERS`."""
    own, student = preset.generation.ddim_steps, preset.with_student()
    for mode in modes:
        settings = Settings(mode=mode, seed=preset.generation.seed, force=True)
        ways: set[tuple[Solver, int]] = {("ddim", own), ("ddim", preset.fast.steps)}
        if mode == "unguided":
            ways |= {(solver, steps) for solver, counts in SOLVERS for steps in counts}
        for solver, steps in sorted(ways, key=lambda way: (way[0], -way[1])):
            how = replace(settings, steps=steps, solver=solver)
            yield Row(f"{solver} {steps}", mode, preset, how)
        yield Row(f"univdm_fast {preset.fast.steps}", mode, student, settings)


def videos_of(store: Store, row: Row, clips: list[HeldOutClip]) -> VideoSet:
    key = generation_fingerprint(store, row.preset, row.settings)[:20]
    manifest, folder = f"manifests/steps/{key}.parquet", f"{FOLDER}/{key}"
    return VideoSet(store, store, row.preset, clips, row.settings, manifest, folder, ".mp4")


def seconds_of(
    pipelines: dict[bool, PahaPipeline], rows: list[Row], clip: HeldOutClip, repeats: int
) -> dict[str, list[float]]:
    """Seconds of the clip's first segment, by row; all rows take turns."""
    found: dict[str, list[float]] = {row.title: [] for row in rows}
    for repeat in range(repeats + 1):
        for row in rows:
            pipeline = pipelines[row.preset.generation.fast]
            conditions = conditions_of(pipeline, [clip], row.preset.generation.segment_frames)
            made = pipeline.generate(conditions, clip.face_box[None], row.settings)
            if repeat:
                found[row.title].append(made.seconds)
    return found


def cell(evaluation: Evaluation, values: dict[tuple[str, str], float | None], row: Row,
         base: Row, metric: str) -> str:  # fmt: skip
    value = values.get((row.title, metric))
    if value is None:
        return "missing"
    digits = METRICS[metric].digits
    text = f"{value:.{digits}f}"
    if row is base:
        return text
    paired = evaluation.difference(metric, row.title, base.title, "all")
    if paired is None:
        return text
    change = (
        f"{paired.difference:+.{digits}f} [{paired.low:+.{digits}f}, {paired.high:+.{digits}f}]"
    )
    return f"{text} ({change})"


def table(evaluation: Evaluation, rows: list[Row], times: dict[str, list[float]], own: int) -> str:
    measured = [
        one
        for system in evaluation.systems
        for one in evaluation.rows("steps", system, "all")
        if one.metric in SHOWN
    ]
    values = {(one.system, one.metric): one.value for one in measured}
    titles = [METRICS[name].title for name in SHOWN]
    lines = []
    for mode in dict.fromkeys(row.mode for row in rows):
        of_mode = [row for row in rows if row.mode == mode]
        [base] = [row for row in of_mode if row.name == f"ddim {own}"]
        lines += [f"## {mode}", "", f"| sampling | {' | '.join(titles)} | times faster |"]
        lines.append("|---" * (len(titles) + 2) + "|")
        real = [f"{values[('real', m)]:.{METRICS[m].digits}f}" if values.get(("real", m))
                is not None else "" for m in SHOWN]  # fmt: skip
        lines.append(f"| real video | {' | '.join(real)} | |")
        for row in of_mode:
            cells = [cell(evaluation, values, row, base, metric) for metric in SHOWN]
            ratios = np.array(times[base.title]) / np.array(times[row.title])
            lines.append(f"| {row.name} | {' | '.join(cells)} | {np.median(ratios):.2f} |")
        lines.append("")
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--preset", default="demo")
    parser.add_argument("--store", default="")
    parser.add_argument("--modes", nargs="+", default=list(MODES), choices=MODES)
    parser.add_argument("--frames", type=int, default=0, help="of each clip; 0: the preset's")
    parser.add_argument("--repeats", type=int, default=6)
    parser.add_argument("--out", type=Path)
    args = parser.parse_args()
    workspace = Workspace(args.preset, args.store)
    store, preset = workspace.store, workspace.preset
    frames = args.frames or preset.generation.max_frames
    preset = derived(preset, {"generation": {"clips": 0, "max_frames": frames}})
    device = prepare_torch(preset)
    clips = select_clips(store, preset, f"{FOLDER}/inputs")
    rows = list(rows_of(preset, args.modes))
    student = preset.with_student()
    pipelines = {
        False: PahaPipeline.from_store(store, preset, device),
        True: PahaPipeline.from_store(store, student, device),
    }
    of_clips = {r["clip_id"]: r for r in kept_rows(store, "clips", preset.corpora.datasets)}
    systems: Systems = {
        "real": [
            replace(real_video(of_clips[clip.clip_id], clip.frames), reference=clip.reference)
            for clip in clips
        ]
    }
    for row in rows:
        made = videos_of(store, row, clips)
        make_videos([made], partial(pipelines.__getitem__, row.preset.generation.fast), device)
        found = made.table().to_pylist()
        systems[row.title] = [generated_video(row.title, one, one["seed"]) for one in found]
        print(row.title, flush=True)
    evaluation = evaluate(store, preset, systems, device=device)
    times = seconds_of(pipelines, rows, clips[0], args.repeats)
    text = table(evaluation, rows, times, preset.generation.ddim_steps)
    decides = "" if len(clips) >= MIN_CLIPS else f"; fewer than {MIN_CLIPS} decide nothing"
    command = f"python benchmarks/studies/steps.py --preset {preset.name}"
    if args.frames:
        command += f" --frames {args.frames}"
    head = (
        f"{len(clips)} held-out clips of the {preset.name} preset, at most {frames} frames "
        f"each{decides}; one noise. In brackets: the difference to ddim "
        f"{preset.generation.ddim_steps} in the same mode, paired by clip, and its 95 % bootstrap "
        f"interval. Made by `{command}`.\n\n"
    )
    print(head + text)
    if args.out:
        args.out.write_text(f"# Steps: quality against time\n\n{head}{text}")


if __name__ == "__main__":
    main()
