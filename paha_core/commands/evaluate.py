"""`paha evaluate`, `paha report`, `paha results`: what a run is worth, and where it is."""

from __future__ import annotations

import typer

from paha_core.commands.shared import PresetOption, StoreOption, one_sentence, run_one
from paha_core.step_report import StepError
from paha_core.steps import Workspace


def evaluate(preset: PresetOption = "demo", store: StoreOption = "") -> None:
    """Every metric of every system, for the clips that were generated."""
    run_one("benchmark", preset, store)


def report(preset: PresetOption = "demo", store: StoreOption = "") -> None:
    """Write the page that shows a run, and say where it is."""
    run_one("report", preset, store)


def results(preset: PresetOption = "demo", store: StoreOption = "") -> None:
    """Where the report and the generated videos of a run are."""
    with one_sentence():
        place = Workspace(preset, store).store
        if not place.exists("report/index.html"):
            raise StepError(f"no report in {place.url} yet: run `paha run`")
        typer.echo(f"Report: {place.uri('report/index.html')}")
        for rel in place.glob("generated/*.mp4"):
            typer.echo(f"Video:  {place.uri(rel)}")
