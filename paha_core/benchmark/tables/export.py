"""A table of the paper as run here, to take away: csv, Parquet, LaTeX and Markdown, each with the
paper's numbers, our differences to the baseline row, and the verdicts."""

from __future__ import annotations

from dataclasses import asdict

import pyarrow as pa

from paha_core.benchmark.cells import tabular, tex, to_csv
from paha_core.benchmark.tables.claims import Comparison, claim_of, published_dataset
from paha_core.benchmark.tables.grid import Grid, JudgedCell, about, grids
from paha_core.benchmark.tables.published import PUBLISHED
from paha_core.benchmark.tables.run import SuiteResult
from paha_core.benchmark.tables.specs import SUITES
from paha_core.metrics.registry import METRICS
from paha_core.metrics.row import SCHEMA
from paha_core.store import Store

CELL_SCHEMA = pa.schema(
    [
        *SCHEMA,
        ("claim_of", pa.string()),  # the published metric whose claim the cell is held against
        ("paper", pa.string()),  # as printed in the paper; null where it has none
        ("baseline", pa.string()),  # the row it is compared with
        ("paper_baseline", pa.string()),
        ("claimed", pa.string()),  # up | down | equal, against the baseline
        ("difference", pa.float64()),  # ours, row minus baseline, with its 95 % interval
        ("difference_low", pa.float64()),
        ("difference_high", pa.float64()),
        ("p", pa.float64()),
        ("verdict", pa.string()),
    ]
)
_TEX_MARKS = {"reproduced": r"\checkmark", "not reproduced": r"\times", "undecided": r"\cdot"}


def cell_table(result: SuiteResult) -> pa.Table:
    """Every cell that was measured, a row each."""
    judged = {(c.system, c.dataset, c.metric): c for c in result.comparisons}
    published, baseline = PUBLISHED[result.number], SUITES[result.number].baseline
    rows = []
    for row in result.rows:
        claim = claim_of(row.metric)
        paper = published_dataset(result.number, row.dataset)
        ours, base = (published.cell(s, claim, paper) for s in (row.system, baseline))
        found = asdict(row) | {"claim_of": claim, "paper": ours.printed if ours else None}
        found |= {"baseline": baseline, "paper_baseline": base.printed if base else None}
        found |= _judged(judged.get((row.system, row.dataset, row.metric)))
        rows.append(found)
    return pa.Table.from_pylist(rows, schema=CELL_SCHEMA)


def _judged(cell: Comparison | None) -> dict[str, float | str | None]:
    if cell is None:
        return {}
    return {
        "claimed": cell.claimed,
        "difference": cell.difference,
        "difference_low": cell.low,
        "difference_high": cell.high,
        "p": cell.p,
        "verdict": cell.verdict,
    }


def to_markdown(result: SuiteResult) -> str:
    """For logs and Dagster: a table for each data set, with its clips, seeds and baseline."""
    return "\n".join(
        [f"{about(result)}.", "", *(line for grid in grids(result) for line in _markdown(grid))]
    )


def _markdown(grid: Grid) -> list[str]:
    heads = [column.head for column in grid.columns]
    lines = [f"| {grid.title} | {' | '.join(heads)} |", "|---" * (len(heads) + 1) + "|"]
    for system, cells in grid.rows:
        lines.append(f"| {system} | {' | '.join(map(_markdown_cell, cells))} |")
    return [*lines, "", *(f"- {reason}" for reason in grid.missing), ""]


def _markdown_cell(cell: JudgedCell) -> str:
    parts = (cell.text, cell.mark, f"[{cell.interval}]" if cell.interval else "")
    paper = f"<br>paper {cell.paper}" if cell.paper else ""
    return " ".join(filter(None, parts)) + paper


def to_latex(result: SuiteResult) -> str:
    """A booktabs tabular for each data set; the paper's numbers in brackets."""
    head = ["% made by paha; needs booktabs and amssymb", f"% {about(result)}"]
    return "\n".join([*head, *(line for grid in grids(result) for line in _latex(grid)), ""])


def _latex(grid: Grid) -> list[str]:
    heads = [tex(METRICS[column.metric].title) for column in grid.columns]
    lines = [f"% {grid.title}; {reason}" for reason in grid.missing] or [f"% {grid.title}"]
    rows = [[tex(system), *map(_latex_cell, cells)] for system, cells in grid.rows]
    return [*lines, *tabular(["", *heads], rows)]


def _latex_cell(cell: JudgedCell) -> str:
    text = "--" if cell.text == "–" else cell.text.replace("−", "$-$")
    mark = f"$^{{{_TEX_MARKS[cell.verdict]}}}$" if cell.verdict in _TEX_MARKS else ""
    paper = rf" {{\scriptsize ({cell.paper})}}" if cell.paper else ""
    return text + mark + paper


def write_suite(store: Store, result: SuiteResult) -> None:
    """`report/tables/table<N>` in every form."""
    base, table = f"report/tables/table{result.number}", cell_table(result)
    store.write_table(f"{base}.parquet", table)
    texts = {"csv": to_csv(table), "tex": to_latex(result), "md": to_markdown(result)}
    for suffix, text in texts.items():
        store.write_bytes(f"{base}.{suffix}", text.encode())
