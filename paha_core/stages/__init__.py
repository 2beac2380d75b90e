"""The pipeline: the one code path behind assets, jobs and command line.

Each stage is a function of a store and a preset that updates the stage's artifacts, recomputes
only what changed, and returns a `StageReport`. What a stage needs beyond the standard library is
imported when it runs, so that listing the stages costs nothing. `registry.py` lists them.
"""

from __future__ import annotations

from dataclasses import replace

from paha_core.errors import StageError
from paha_core.stages.precision import require_precision
from paha_core.stages.registry import ALL, OPTIONAL, STAGES, TABLES, Stage, stage_of, stages_up_to
from paha_core.stages.stage_report import OnMetrics, StageReport, merged
from paha_core.stages.workspace import Workspace, prepare_torch, workers_of

__all__ = [
    "ALL",
    "OPTIONAL",
    "STAGES",
    "TABLES",
    "Stage",
    "Workspace",
    "prepare_torch",
    "require_precision",
    "run_stage",
    "stage_of",
    "stages_up_to",
    "workers_of",
]


def run_stage(
    name: str,
    workspace: Workspace,
    *,
    datasets: list[str] | None = None,
    on_metrics: OnMetrics | None = None,
) -> StageReport:
    """Run the stage of that name; a stage over datasets runs for each of `datasets` (default: the
    preset's), and for the workspace's speakers alone.

    Raises `PresetError` for a bad preset and `StageError` for an unknown name, before anything is
    done; `StageError` where no clip is of one of the speakers.
    """
    from paha_core.weights.check import require

    stage, preset, store = stage_of(name), workspace.preset, workspace.store
    require(preset, [name])
    require_precision(preset, [name])
    if stage.per_dataset:
        names = preset.corpora.datasets if datasets is None else datasets
        if not (speakers := workspace.speakers):
            return merged([stage.run(store, preset, dataset) for dataset in names])
        report = merged([stage.run(store, preset, dataset, speakers) for dataset in names])
        if not report.kept + report.rejected:
            raise StageError(f"{name}: {', '.join(names)} has no clip of {', '.join(speakers)}")
        return replace(report, data_version="")  # the version is that of all speakers
    if stage.trains:
        return stage.run(store, preset, *stage.arguments, on_metrics=on_metrics)
    return stage.run(store, preset, *stage.arguments)
