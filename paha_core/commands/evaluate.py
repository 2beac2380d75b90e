"""`paha evaluate`, `paha report`, `paha results`: measure a run and show its results."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from paha_core.commands.shared import (
    PresetOption,
    StoreOption,
    one_sentence,
    print_table,
    run_one,
    show,
)
from paha_core.errors import StageError
from paha_core.stages import Workspace, run_stage
from paha_core.trained import FEATURE_NETWORKS

if TYPE_CHECKING:
    from paha_core.metrics.row import MetricRow


def evaluate(
    preset: PresetOption = "demo",
    store: StoreOption = "",
    videos: Annotated[Path | None, typer.Option(help="Folder of another system's videos.")] = None,
    audio: Annotated[Path | None, typer.Option(help="Folder of their voices, same names.")] = None,
    references: Annotated[Path | None, typer.Option(help="Folder of their portraits.")] = None,
    name: Annotated[str, typer.Option(help="Name of that system.")] = "",
    remove: Annotated[str, typer.Option(help="Remove this system and its videos.")] = "",
    by: Annotated[
        str, typer.Option(help="Also a table by this column of the clips (speaker, language, …).")
    ] = "",
    accept: Annotated[
        bool, typer.Option("--accept", help="Later runs are compared with this one.")
    ] = False,
) -> None:
    """Every metric of every system, for the clips that were generated.

    With --videos another system's outputs become a row of their own (docs/evaluate.md explains how
    to make them); a video named like a held-out clip is compared with that clip.

    Examples:

        paha evaluate

        paha evaluate --videos s2g_out --audio voices --name S2G

        paha evaluate --remove S2G
    """
    with one_sentence():
        workspace = Workspace(preset, store)
        if remove:
            from paha_core.benchmark.measuring.systems import remove_system

            remove_system(workspace.store, remove)
        if videos is not None:
            if audio is None or not name:
                raise StageError("--videos needs --audio and --name")
            _import_system(workspace, name, videos, audio, references)
        elif audio is not None or references is not None or name:
            raise StageError("--audio, --references and --name go with --videos")
        for network in FEATURE_NETWORKS:
            show(run_stage(network, workspace))
        run_stage("benchmark", workspace)
        from paha_core.benchmark import history
        from paha_core.benchmark.run import load_results

        stored = load_results(workspace.store)
        if stored is not None:
            show_results(stored[1])
        if by:
            show_groups(workspace, by)
        if accept:
            typer.echo(f"accepted {history.accept(workspace.store)}")
        typer.echo(history.judge(workspace.store).message)


def show_results(rows: Sequence[MetricRow]) -> None:
    """Print metrics by systems, over all data sets or the only one, then for other systems' own
    clips; and the metrics that lack weights."""
    from paha_core.benchmark.cells import datasets_of
    from paha_core.benchmark.measuring.videos import EXTERNAL
    from paha_core.metrics.registry import METRICS

    datasets = datasets_of(rows)
    for dataset in (datasets[0], *(d for d in datasets[1:] if d == EXTERNAL)):
        title = "Other systems' own clips" if dataset == EXTERNAL else "Results"
        _show_table(title, [row for row in rows if row.dataset == dataset])
    reasons = {row.reason: METRICS[row.metric].title for row in rows if row.value is None}
    for reason, metric in reasons.items():
        if reason.startswith("needs"):
            typer.echo(f"{metric}: {reason}")


def show_groups(workspace: Workspace, column: str) -> None:
    """A table for each value of the column."""
    from paha_core.benchmark.cells import datasets_of
    from paha_core.benchmark.tables.groups import rows_by
    from paha_core.stages import prepare_torch, workers_of

    store, preset = workspace.store, workspace.preset
    device, workers = prepare_torch(preset), workers_of(preset)
    rows = rows_by(store, preset, column, workers=workers, device=device)
    for group in datasets_of(rows):
        _show_table(group, [row for row in rows if row.dataset == group])


def _show_table(title: str, rows: Sequence[MetricRow]) -> None:
    from paha_core.benchmark.cells import find, number, systems_of
    from paha_core.metrics.registry import METRICS

    measured = [s for s in systems_of(rows) if any(r.system == s and r.clips for r in rows)]
    sizes = [max((r.clips, r.frames) for r in rows if r.system == s) for s in measured]
    body = [("Clips, frames", *(f"{clips}, {frames}" for clips, frames in sizes))]
    for metric, about in METRICS.items():
        found = [find(rows, system, rows[0].dataset, metric) for system in measured]
        if any(row is not None and row.value is not None for row in found):
            cells = [number(row.value if row else None, metric) for row in found]
            body.append((about.title, *cells))
    print_table(title, ("", *measured), body)


def _import_system(
    workspace: Workspace, name: str, videos: Path, audio: Path, references: Path | None
) -> None:
    from paha_core.benchmark.measuring.systems import ingest_system
    from paha_core.benchmark.measuring.videos import EXTERNAL

    limit = workspace.preset.generation.max_frames
    rows = ingest_system(workspace.store, workspace.preset, name, videos, audio, references)
    kept = [row for row in rows if row["status"] == "kept"]
    known = sum(row["dataset"] != EXTERNAL for row in kept)
    used, there = (sum(row[column] for row in kept) for column in ("frames", "source_frames"))
    typer.echo(
        f"{name}: {len(kept)} of {len(rows)} videos, {known} of them of held-out clips; "
        f"{used} of their {there} frames are evaluated (generation.max_frames: {limit} a video)"
    )
    for row in rows:
        if row["status"] != "kept":
            typer.echo(f"    {row['clip_id'].rsplit('/', 1)[1]}: {row['reason']}")


def report(preset: PresetOption = "demo", store: StoreOption = "") -> None:
    """Write the report page of a run and print its path."""
    run_one("report", preset, store)


def results(preset: PresetOption = "demo", store: StoreOption = "") -> None:
    """Print the paths of a run's report and generated videos."""
    with one_sentence():
        place = Workspace(preset, store).store
        if not place.exists("report/index.html"):
            raise StageError(f"no report in {place.url} yet: run `paha run`")
        typer.echo(f"Report: {place.uri('report/index.html')}")
        for rel in place.glob("generated/*.mp4"):
            typer.echo(f"Video:  {place.uri(rel)}")
