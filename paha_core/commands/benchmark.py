"""`paha benchmark`: the paper's tables, one or all."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated

import typer

from paha_core.commands.shared import PresetOption, StoreOption, one_sentence, print_table
from paha_core.engine.progress import log
from paha_core.errors import StageError
from paha_core.stages import TABLES, Workspace, prepare_torch, require_precision, workers_of

if TYPE_CHECKING:
    from paha_core.benchmark.tables.claims import Comparison
    from paha_core.benchmark.tables.grid import JudgedCell
    from paha_core.benchmark.tables.run import SuiteResult


def benchmark(
    table: Annotated[str, typer.Argument(help="table1, 2, 3, 5, 6, 7, or all.")] = "all",
    preset: PresetOption = "demo",
    store: StoreOption = "",
    seeds: Annotated[int | None, typer.Option(min=1, help="Noises of each clip [3].")] = None,
    clips: Annotated[int | None, typer.Option(min=2, help="Held-out clips [the preset's].")] = None,
) -> None:
    """Run a table of the paper on trained networks and print which of its claims hold.

    Generates only what is missing; an ablation trains its own networks beside the others.
    Results: report/tables/ in the store as csv, LaTeX, Markdown and Parquet; `paha report` shows
    them. ✓ reproduced, ✗ the other way round, · undecided.

    Example:

        paha benchmark table2 --preset study
    """
    with one_sentence():
        named = f"table{table}" if table.isdigit() else table
        if named not in (*TABLES, "all"):
            known = ", ".join(TABLES)
            hint = ": table 4 is the user study" if named == "table4" else ""
            raise StageError(f"no table {table!r}{hint}; there are {known}, or all")
        workspace = Workspace(preset, store)
        from paha_core.benchmark.tables.export import write_suite
        from paha_core.benchmark.tables.run import run_suite
        from paha_core.benchmark.tables.variants import derived
        from paha_core.weights.check import require

        chosen = {"seeds": seeds, "clips": clips}
        suite = {name: value for name, value in chosen.items() if value is not None}
        settings = derived(workspace.preset, {"benchmark": {"suite": suite}})
        device = prepare_torch(settings)
        names = list(TABLES) if named == "all" else [named]
        require(settings, names)
        require_precision(settings, names)
        for name in names:
            log.info("%s", name)
            number = int(name.removeprefix("table"))
            result = run_suite(
                workspace.store, settings, number, workers=workers_of(settings), device=device
            )
            write_suite(workspace.store, result)
            show(result)


def show(result: SuiteResult) -> None:
    """Print the table beside the paper's for each data set, the verdicts, and the clips and seeds
    behind them."""
    from paha_core.benchmark.tables.grid import about, grids

    for grid in grids(result):
        body = [(system, *map(_cell, cells)) for system, cells in grid.rows]
        heads = ("", *(column.head for column in grid.columns))
        print_table(f"Table {grid.number}, {grid.title} (in brackets)", heads, body)
        for reason in grid.missing:
            typer.echo(reason)
    show_verdicts(result.comparisons)
    typer.echo(f"{about(result)}.")


def _cell(cell: JudgedCell) -> str:
    paper = f"({cell.paper})" if cell.paper else ""
    return " ".join(filter(None, (cell.text, cell.mark, paper)))


def show_verdicts(comparisons: Sequence[Comparison]) -> None:
    """Print the number of cells with each verdict, by metric and data set."""
    from paha_core.benchmark.tables.claims import VERDICTS
    from paha_core.metrics.registry import METRICS

    counts: dict[tuple[str, str, str], Counter[str]] = {}
    for cell in comparisons:
        key = (cell.dataset, cell.metric, cell.claim_of)
        counts.setdefault(key, Counter())[cell.verdict] += 1
    body = []
    for (dataset, metric, claim), found in counts.items():
        title = METRICS[metric].title
        title += "" if metric == claim else f" (for {METRICS[claim].title})"
        body.append((dataset.upper(), title, *(str(found[word]) for word in VERDICTS)))
    print_table("Claims of the paper", ("data set", "metric", *VERDICTS), body)
