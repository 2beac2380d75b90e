"""Exports results as csv, LaTeX and Parquet, with the paper's numbers."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict

import pyarrow as pa

from paha_core.benchmark.cells import datasets_of, find, number, systems_of, tabular, tex, to_csv
from paha_core.benchmark.tables.published import PUBLISHED, PublishedCell, published_beside
from paha_core.metrics.registry import METRICS
from paha_core.metrics.row import MetricRow, rows_to_table
from paha_core.store import Store

_TEX_ARROWS = {"up": r"$\uparrow$", "down": r"$\downarrow$", "real": r"$\to$ real"}


def to_latex(rows: Sequence[MetricRow], dataset: str) -> str:
    """A booktabs tabular, the rows' metrics down and systems across; intervals in brackets,
    dashes for missing.
    """
    systems = systems_of(rows)
    measured = {row.metric for row in rows}
    lines = []
    for metric, about in METRICS.items():
        if metric not in measured:
            continue
        cells = [f"{tex(about.title)} {_TEX_ARROWS[about.direction]}"]
        for system in systems:
            row = find(rows, system, dataset, metric)
            if row is None or row.value is None:
                cells.append("--")
                continue
            cell = number(row.value, metric)
            if row.low is not None:
                low, high = number(row.low, metric), number(row.high, metric)
                cell += rf" {{\scriptsize [{low}, {high}]}}"
            cells.append(cell.replace("−", "$-$"))
        lines.append(cells)
    note = "% made by paha; intervals are 95 % bootstrap intervals over clips"
    return "\n".join([note, *tabular(["Metric", *map(tex, systems)], lines), ""])


def published_table() -> pa.Table:
    """The paper's tables as one long table."""
    cells = [cell for table in PUBLISHED.values() for cell in table.cells]
    return pa.Table.from_pylist([asdict(cell) | {"value": cell.value} for cell in cells])


def write_tables(store: Store, rows: Sequence[MetricRow]) -> list[str]:
    """`report/tables/`: our results and the paper's numbers, apart; returns the paths."""
    written = []

    def put(name: str, text: str) -> None:
        store.write_bytes(f"report/tables/{name}", text.encode())
        written.append(f"report/tables/{name}")

    long = rows_to_table(rows)
    published = published_table()
    for name, table in (("results", long), ("published", published)):
        store.write_table(f"report/tables/{name}.parquet", table)
        written.append(f"report/tables/{name}.parquet")
        put(f"{name}.csv", to_csv(table))
    for dataset in datasets_of(rows):
        put(f"results_{dataset}.tex", to_latex(rows, dataset))
    for table_number, published_one in PUBLISHED.items():
        put(f"published_table{table_number}.tex", _published_latex(published_one.cells))
    return written


def _published_latex(cells: Sequence[PublishedCell]) -> str:
    columns = list(dict.fromkeys((c.dataset, c.metric) for c in cells))
    values = {(c.system, c.dataset, c.metric): c.printed for c in cells}
    titles = [f"{METRICS[m].title} ({d.upper()})" for d, m in columns]
    lines = [
        [tex(system), *(values.get((system, d, m), "--") for d, m in columns)]
        for system in dict.fromkeys(c.system for c in cells)
    ]
    note = "% numbers printed in the paper, not ours"
    return "\n".join([note, *tabular(["", *map(tex, titles)], lines), ""])


def beside(system: str, dataset: str, metric: str) -> tuple[str, str]:
    """The paper's number as printed and its note; empty where there is none."""
    cell = published_beside(system, dataset, metric)
    return (cell.printed, cell.note) if cell else ("", "")
