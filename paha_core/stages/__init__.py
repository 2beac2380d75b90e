"""The steps of the pipeline, in order: the one code path behind assets, jobs and command line.

Each step is a function of a store and a preset that brings one stage up to date, does again only
what changed, and tells what it did as a `StepReport`. What a step needs beyond the standard library
is imported when it runs, so that listing the steps costs nothing.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from paha_core.errors import StepError
from paha_core.stages.data import (
    find_face_boxes,
    find_keypoints,
    ingest_clips,
    make_par_masks,
    render_programmes,
)
from paha_core.stages.results import build_report, generate_clips, run_benchmark, run_table
from paha_core.stages.stage_report import OnFigures, StepReport, merged
from paha_core.stages.training import (
    make_negatives,
    make_training_shards,
    train_classifier,
    train_latent_codec,
    train_pose_autoencoder,
    train_univdm,
    train_video_encoder,
)
from paha_core.stages.workspace import Workspace, prepare_torch, workers_of
from paha_core.trained import CLASSIFIERS, SPACES

__all__ = [
    "STEPS",
    "TABLES",
    "Step",
    "Workspace",
    "prepare_torch",
    "run_step",
    "steps_up_to",
    "workers_of",
]


@dataclass(frozen=True)
class Step:
    """How a step is called (once for each dataset, with live figures, or plainly), and the steps
    whose results it reads, or `shows` where they are there: together its asset's `deps`."""

    run: Callable[..., StepReport]
    needs: tuple[str, ...] = ()
    shows: tuple[str, ...] = ()
    per_dataset: bool = False
    trains: bool = False
    arguments: tuple[str | int, ...] = ()

    @property
    def about(self) -> str:
        return (self.run.__doc__ or "").strip().splitlines()[0]


RUN = (1, 2, 3, 5, 6, 7)  # the paper's tables that can be run; 4 is the user study
STEPS: dict[str, Step] = (
    {
        "programmes": Step(render_programmes),
        "clips": Step(ingest_clips, ("programmes",), per_dataset=True),
        "keypoints": Step(find_keypoints, ("clips",), per_dataset=True),
        "face_boxes": Step(find_face_boxes, ("clips", "keypoints"), per_dataset=True),
        "par_masks": Step(make_par_masks, ("keypoints",), per_dataset=True),
        "latent_codec": Step(train_latent_codec, ("par_masks",), trains=True),
        "training_shards": Step(make_training_shards, ("face_boxes", "latent_codec", "par_masks")),
        "univdm": Step(train_univdm, ("training_shards",), trains=True),
        "negative_samples": Step(make_negatives, ("training_shards", "univdm")),
    }
    | {
        f"{part}_classifier": Step(
            train_classifier,
            ("negative_samples", "training_shards", "univdm"),
            trains=True,
            arguments=(part,),
        )
        for part in ("face", "non_face")
    }
    | {
        "generated_clips": Step(generate_clips, ("clips", "univdm", *CLASSIFIERS)),
        "pose_autoencoder": Step(train_pose_autoencoder, ("clips", "keypoints"), trains=True),
        "video_encoder": Step(train_video_encoder, ("clips",), trains=True),
        "benchmark": Step(run_benchmark, ("generated_clips", "keypoints", *SPACES)),
        "report": Step(build_report, ("benchmark",), shows=tuple(f"table{n}" for n in RUN)),
    }
)


# On demand: no part of a whole run.
TABLES: dict[str, Step] = {
    f"table{number}": Step(
        run_table, ("clips", "univdm", *CLASSIFIERS, *SPACES), arguments=(number,)
    )
    for number in RUN
}


def steps_up_to(name: str) -> list[str]:
    """That step and all whose results it needs, in the order of the pipeline.

    Raises `StepError` for an unknown name.
    """
    needed = {name}
    for step in (name, *reversed(STEPS)):
        if step in needed:
            needed.update(_step(step).needs)
    return [step for step in STEPS | TABLES if step in needed]


def _step(name: str) -> Step:
    known = STEPS | TABLES
    if name not in known:
        raise StepError(f"no step {name!r}: there are {', '.join(known)}")
    return known[name]


def run_step(
    name: str,
    workspace: Workspace,
    *,
    datasets: list[str] | None = None,
    on_figures: OnFigures | None = None,
) -> StepReport:
    """Run the step of that name; a step over datasets runs for each of `datasets` (default: the
    preset's).

    Raises `PresetError` for a bad preset and `StepError` for an unknown name, before anything is
    done.
    """
    step, preset, store = _step(name), workspace.preset, workspace.store
    if step.per_dataset:
        names = preset.corpora.datasets if datasets is None else datasets
        return merged([step.run(store, preset, dataset) for dataset in names])
    if step.trains:
        return step.run(store, preset, *step.arguments, on_figures=on_figures)
    return step.run(store, preset, *step.arguments)
