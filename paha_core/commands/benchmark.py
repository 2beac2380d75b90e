"""`paha benchmark`: the paper's tables, one or all."""

from __future__ import annotations

from typing import Annotated

import typer

from paha_core.commands.shared import PresetOption, StoreOption, one_sentence, print_table
from paha_core.errors import StepError
from paha_core.progress import log
from paha_core.steps import TABLES, Workspace, prepare_torch, workers_of


def benchmark(
    table: Annotated[str, typer.Argument(help="table1, 2, 3, 5, 6, 7, or all.")] = "all",
    preset: PresetOption = "demo",
    store: StoreOption = "",
    seeds: Annotated[int | None, typer.Option(min=1, help="Noises of each clip [3].")] = None,
    clips: Annotated[int | None, typer.Option(min=2, help="Held-out clips [the preset's].")] = None,
) -> None:
    """Run a table of the paper on trained networks, and say which of its claims hold.

    Generates only what is not there; an ablation trains its own networks beside the others.
    Results: benchmark/suites/ in the store, and `paha report`.

    Example:

        paha benchmark table2 --preset study
    """
    with one_sentence():
        named = f"table{table}" if table.isdigit() else table
        if named not in (*TABLES, "all"):
            known = ", ".join(TABLES)
            hint = ": table 4 is the user study" if named == "table4" else ""
            raise StepError(f"no table {table!r}{hint}; there are {known}, or all")
        workspace = Workspace(preset, store)
        from paha_core.benchmark.suite import run_suite
        from paha_core.benchmark.variants import derived

        asked = {"seeds": seeds, "clips": clips}
        suite = {name: value for name, value in asked.items() if value is not None}
        settings = derived(workspace.preset, {"benchmark": {"suite": suite}})
        device = prepare_torch(settings)
        for name in TABLES if named == "all" else [named]:
            log.info("%s", name)
            number = int(name.removeprefix("table"))
            result = run_suite(
                workspace.store, settings, number, workers=workers_of(settings), device=device
            )
            show_table(result.number, result.rows)
            show_verdicts(result.comparisons)


def show_table(number: int, rows: list) -> None:
    """The cells that have values, over all data sets or the only one."""
    from paha_core.benchmark.export import datasets_of, find, systems_of
    from paha_core.benchmark.export import number as written
    from paha_core.metrics.row import METRICS

    dataset = datasets_of(rows)[0]
    systems = systems_of(rows)
    body = []
    for metric, about in METRICS.items():
        found = [find(rows, system, dataset, metric) for system in systems]
        if any(row is not None and row.value is not None for row in found):
            cells = [written(row.value if row else None, metric) for row in found]
            body.append((about.title, *cells))
    print_table(f"Table {number}" if number else "Results", ("", *systems), body)
    reasons = {row.reason: METRICS[row.metric].title for row in rows if row.value is None}
    wanted = {reason: title for reason, title in reasons.items() if reason.startswith("needs")}
    for reason, title in wanted.items():
        typer.echo(f"{title}: {reason}")


def show_verdicts(comparisons: list) -> None:
    """Counts of each verdict by metric."""
    from paha_core.metrics.row import METRICS

    words = ("reproduced", "not reproduced", "undecided", "missing")
    datasets = [cell.dataset for cell in comparisons]
    body = []
    for metric in dict.fromkeys(cell.metric for cell in comparisons):
        cells = [c for c in comparisons if c.metric == metric and c.dataset == datasets[0]]
        counts = (str(sum(c.verdict == word for c in cells)) for word in words)
        title = METRICS[metric].title
        if cells and cells[0].claim_of != metric:
            title += f" (for {METRICS[cells[0].claim_of].title})"
        body.append((title, *counts))
    print_table("Claims of the paper", ("metric", *words), body)
