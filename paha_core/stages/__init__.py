"""The stages of the pipeline, in order: the one code path behind assets, jobs and command line.

Each stage is a function of a store and a preset that updates the stage's artifacts, recomputes
only what changed, and returns a `StageReport`. What a stage needs beyond the standard library is
imported when it runs, so that listing the stages costs nothing.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from paha_core.errors import StageError
from paha_core.stages.data import (
    find_face_boxes,
    find_keypoints,
    ingest_clips,
    make_par_masks,
    render_programmes,
)
from paha_core.stages.results import build_report, generate_clips, run_benchmark, run_table
from paha_core.stages.stage_report import OnMetrics, StageReport, merged
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
from paha_core.trained import CLASSIFIERS, FEATURE_NETWORKS, PARTS, classifier_name

__all__ = [
    "STAGES",
    "TABLES",
    "Stage",
    "Workspace",
    "prepare_torch",
    "run_stage",
    "stages_up_to",
    "workers_of",
]


@dataclass(frozen=True)
class Stage:
    """How a stage is called (once for each dataset, with live figures, or plainly), and the stages
    whose results it reads, or `shows` where they are there: together its asset's `deps`."""

    run: Callable[..., StageReport]
    needs: tuple[str, ...] = ()
    shows: tuple[str, ...] = ()
    per_dataset: bool = False
    trains: bool = False
    arguments: tuple[str | int, ...] = ()

    @property
    def about(self) -> str:
        return (self.run.__doc__ or "").strip().splitlines()[0]


RUN = (1, 2, 3, 5, 6, 7)  # the paper's tables that can be run; 4 is the user study
STAGES: dict[str, Stage] = (
    {
        "programmes": Stage(render_programmes),
        "clips": Stage(ingest_clips, ("programmes",), per_dataset=True),
        "keypoints": Stage(find_keypoints, ("clips",), per_dataset=True),
        "face_boxes": Stage(find_face_boxes, ("clips", "keypoints"), per_dataset=True),
        "par_masks": Stage(make_par_masks, ("keypoints",), per_dataset=True),
        "latent_codec": Stage(train_latent_codec, ("par_masks",), trains=True),
        "training_shards": Stage(make_training_shards, ("face_boxes", "latent_codec", "par_masks")),
        "univdm": Stage(train_univdm, ("training_shards",), trains=True),
        "negative_samples": Stage(make_negatives, ("training_shards", "univdm")),
    }
    | {
        classifier_name(part): Stage(
            train_classifier,
            ("negative_samples", "training_shards", "univdm"),
            trains=True,
            arguments=(part,),
        )
        for part in PARTS
    }
    | {
        "generated_clips": Stage(generate_clips, ("clips", "univdm", *CLASSIFIERS)),
        "pose_autoencoder": Stage(train_pose_autoencoder, ("clips", "keypoints"), trains=True),
        "video_encoder": Stage(train_video_encoder, ("clips",), trains=True),
        "benchmark": Stage(run_benchmark, ("generated_clips", "keypoints", *FEATURE_NETWORKS)),
        "report": Stage(build_report, ("benchmark",), shows=tuple(f"table{n}" for n in RUN)),
    }
)


# On demand: no part of a whole run.
TABLES: dict[str, Stage] = {
    f"table{number}": Stage(
        run_table, ("clips", "univdm", *CLASSIFIERS, *FEATURE_NETWORKS), arguments=(number,)
    )
    for number in RUN
}


def stages_up_to(name: str) -> list[str]:
    """That stage and all whose results it needs, in the order of the pipeline.

    Raises `StageError` for an unknown name.
    """
    needed = {name}
    for stage in (name, *reversed(STAGES)):
        if stage in needed:
            needed.update(_stage(stage).needs)
    return [stage for stage in STAGES | TABLES if stage in needed]


def _stage(name: str) -> Stage:
    known = STAGES | TABLES
    if name not in known:
        raise StageError(f"no stage {name!r}: there are {', '.join(known)}")
    return known[name]


def run_stage(
    name: str,
    workspace: Workspace,
    *,
    datasets: list[str] | None = None,
    on_metrics: OnMetrics | None = None,
) -> StageReport:
    """Run the stage of that name; a stage over datasets runs for each of `datasets` (default: the
    preset's).

    Raises `PresetError` for a bad preset and `StageError` for an unknown name, before anything is
    done.
    """
    stage, preset, store = _stage(name), workspace.preset, workspace.store
    if stage.per_dataset:
        names = preset.corpora.datasets if datasets is None else datasets
        return merged([stage.run(store, preset, dataset) for dataset in names])
    if stage.trains:
        return stage.run(store, preset, *stage.arguments, on_metrics=on_metrics)
    return stage.run(store, preset, *stage.arguments)
