"""What every command of `paha` shares: options, errors as one sentence, tables."""

from __future__ import annotations

import logging
from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager
from typing import Annotated

import typer

from paha_core.engine.processes import INTERRUPTED, is_main_process
from paha_core.errors import EXPECTED, Interrupted, StageError
from paha_core.stages import Workspace, run_stage
from paha_core.stages.stage_report import StageReport

PIPED_WIDTH = 180  # columns of tables that are written to a file or pipe

PresetOption = Annotated[
    str,
    typer.Option("--preset", "-p", envvar="PAHA_PRESET", help="A preset's name, or a .yaml file."),
]
StoreOption = Annotated[
    str,
    typer.Option(
        "--store", "-s", envvar="PAHA_STORE", help="Folder or URL of the artifacts [runs/PRESET]."
    ),
]


@contextmanager
def one_sentence() -> Iterator[None]:
    """Errors a user can act on become one sentence on stderr; `paha -v` shows their origin."""
    try:
        yield
    except Interrupted as saved:
        typer.echo(str(saved), err=True)
        raise typer.Exit(INTERRUPTED) from None
    except EXPECTED as error:
        if logging.getLogger().isEnabledFor(logging.DEBUG):
            raise
        typer.echo(f"paha: {error}", err=True)
        raise typer.Exit(1) from None


def given_options(context: typer.Context) -> dict[str, str]:
    """The options given on the command line, by name, as they are written there."""
    written = {str(option.name): option.opts[0] for option in context.command.params}
    sources = {name: context.get_parameter_source(name) for name in written}
    return {
        name: written[name]
        for name, source in sources.items()
        if source is not None and source.name == "COMMANDLINE"
    }


def refuse_options(given: dict[str, str], names: Collection[str], why: str) -> None:
    """Raise `StageError` where options contradict each other."""
    wrong = sorted(given[name] for name in names if name in given)
    if wrong:
        raise StageError(f"{why}: leave out {', '.join(wrong)}")


def run_one(stage: str, preset: str, store: str, speakers: Sequence[str] = ()) -> None:
    """Run a stage and print its report; of several processes of a launcher the first prints."""
    with one_sentence():
        report = run_stage(stage, Workspace(preset, store, tuple(speakers)))
        if is_main_process():
            show(report)


def show(report: StageReport) -> None:
    counts = ("kept", "rejected", "computed", "reused")
    summary = ", ".join(f"{getattr(report, name)} {name}" for name in counts)
    typer.echo(f"{report.stage}: {summary}")
    for reason, count in sorted(report.reasons.items(), key=lambda pair: -pair[1]):
        typer.echo(f"    {count:>5} x {reason}")
    for name, value in report.figures.items():
        text = f"{value:.5g}" if isinstance(value, float) else value
        typer.echo(f"    {name}: {text}")
    for name, uri in report.artifacts.items():
        typer.echo(f"    {name}: {uri}")


def print_table(title: str, columns: tuple[str, ...], rows: Sequence[tuple[str, ...]]) -> None:
    from rich.console import Console
    from rich.markup import escape
    from rich.table import Table

    console = Console()
    if not console.is_terminal:
        console = Console(width=PIPED_WIDTH)

    table = Table(*map(escape, columns), title=escape(title), title_justify="left")
    for row in rows:
        table.add_row(*map(escape, row))  # a name may hold what looks like markup
    console.print(table)
