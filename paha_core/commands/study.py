"""`paha study`: a blind comparison of systems by people, and what they preferred (table 4)."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from paha_core.commands.shared import PresetOption, StoreOption, one_sentence
from paha_core.stages import Workspace

study = typer.Typer(no_args_is_help=True, help="A blind user study of evaluated systems (table 4).")

Folder = Annotated[Path, typer.Argument(help="Folder of the study.")]


class FormOption(StrEnum):
    choices = "choices"
    pairs = "pairs"


@study.command()
def make(
    folder: Folder,
    systems: Annotated[
        list[str], typer.Option("--system", help="A system of `paha evaluate`; give two or more.")
    ],
    preset: PresetOption = "demo",
    store: StoreOption = "",
    form: Annotated[
        FormOption, typer.Option(help="All systems side by side, or every two of them.")
    ] = FormOption.choices,
    clips: Annotated[int, typer.Option(min=1, help="Clips that all of them show.")] = 10,
    per_rater: Annotated[int, typer.Option(min=1, help="Sets of videos per rater.")] = 20,
    seed: Annotated[
        int, typer.Option(help="Seed for the choice of clips and the hidden names.")
    ] = 0,
) -> None:
    """Write a study as a folder of static files; do not publish key.json, which maps names to
    systems.

    Example:

        paha study make study4 --system unguided --system sequential --system S2G
    """
    with one_sentence():
        from paha_core.benchmark.run import all_systems
        from paha_core.benchmark.study.design import make_study

        place = Workspace(preset, store)
        found = all_systems(place.store, place.preset)
        made = make_study(
            place.store,
            place.preset,
            found,
            systems,
            folder,
            form="pairs" if form is FormOption.pairs else "choices",
            clips=clips,
            per_rater=per_rater,
            seed=seed,
        )
        sets = sum(item.kind == "rating" for item in made.items)
        typer.echo(f"{sets} sets of {', '.join(systems)} in {folder}: `paha study serve {folder}`")


@study.command()
def serve(
    folder: Folder, port: Annotated[int, typer.Option(min=0, help="0: any free one.")] = 8484
) -> None:
    """Show the study on this machine; answers go to answers.jsonl in its folder. Ctrl-C ends it."""
    with one_sentence():
        from paha_core.benchmark.study.serve import server

        with server(folder, port) as running:
            typer.echo(f"http://127.0.0.1:{running.server_address[1]}/ (Ctrl-C ends it)")
            try:
                running.serve_forever()
            except KeyboardInterrupt:
                typer.echo("stopped; every answer is in answers.jsonl")


@study.command()
def analyse(
    folder: Folder,
    answers: Annotated[
        list[Path] | None, typer.Option(help="Files that raters of a static page sent in.")
    ] = None,
    preset: PresetOption = "demo",
    store: StoreOption = "",
) -> None:
    """Preferences with intervals, Bradley-Terry strengths, agreement; the report shows them."""
    with one_sentence():
        from paha_core.benchmark.study import analyse as analysis

        result = analysis.analyse(folder, answers)
        analysis.save(Workspace(preset, store).store, result)
        typer.echo(analysis.to_markdown(result))
