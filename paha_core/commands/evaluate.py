"""`paha evaluate`, `paha report`, `paha results`: what a run is worth, and where it is."""

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
    name: Annotated[str, typer.Option(help="What that system is called.")] = "",
    accept: Annotated[
        bool, typer.Option("--accept", help="Later runs are compared with this one.")
    ] = False,
) -> None:
    """Every metric of every system, for the clips that were generated.

    With --videos another system's outputs become a row of their own (docs/evaluate.md says how to
    make them); a video named like a held-out clip is compared with that clip.

    Examples:

        paha evaluate

        paha evaluate --videos s2g_out --audio voices --name S2G
    """
    with one_sentence():
        workspace = Workspace(preset, store)
        if videos is not None:
            if audio is None or not name:
                raise StageError("--videos needs --audio and --name")
            _take_over(workspace, name, videos, audio, references)
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
        if accept:
            typer.echo(f"accepted {history.accept(workspace.store)}")
        typer.echo(history.judge(workspace.store).words)


def show_results(rows: Sequence[MetricRow]) -> None:
    """Metrics down, systems across, over all data sets or the only one; what needs weights."""
    from paha_core.benchmark.cells import datasets_of, find, number, systems_of
    from paha_core.metrics.registry import METRICS

    dataset, systems = datasets_of(rows)[0], systems_of(rows)
    body = []
    for metric, about in METRICS.items():
        found = [find(rows, system, dataset, metric) for system in systems]
        if any(row is not None and row.value is not None for row in found):
            cells = [number(row.value if row else None, metric) for row in found]
            body.append((about.title, *cells))
    print_table("Results", ("", *systems), body)
    reasons = {row.reason: METRICS[row.metric].title for row in rows if row.value is None}
    for reason, title in reasons.items():
        if reason.startswith("needs"):
            typer.echo(f"{title}: {reason}")


def _take_over(
    workspace: Workspace, name: str, videos: Path, audio: Path, references: Path | None
) -> None:
    from paha_core.benchmark.measuring.systems import ingest_system

    rows = ingest_system(workspace.store, workspace.preset, name, videos, audio, references)
    kept = [row for row in rows if row["status"] == "kept"]
    known = sum(row["dataset"] != "external" for row in kept)
    typer.echo(f"{name}: {len(kept)} of {len(rows)} videos, {known} of them of held-out clips")
    for row in rows:
        if row["status"] != "kept":
            typer.echo(f"    {row['clip_id'].rsplit('/', 1)[1]}: {row['reason']}")


def report(preset: PresetOption = "demo", store: StoreOption = "") -> None:
    """Write the page that shows a run, and say where it is."""
    run_one("report", preset, store)


def results(preset: PresetOption = "demo", store: StoreOption = "") -> None:
    """Where the report and the generated videos of a run are."""
    with one_sentence():
        place = Workspace(preset, store).store
        if not place.exists("report/index.html"):
            raise StageError(f"no report in {place.url} yet: run `paha run`")
        typer.echo(f"Report: {place.uri('report/index.html')}")
        for rel in place.glob("generated/*.mp4"):
            typer.echo(f"Video:  {place.uri(rel)}")
