"""Results as tables to take away: wide rows, csv, LaTeX, Markdown, Parquet."""

from __future__ import annotations

import csv
from collections.abc import Sequence
from dataclasses import asdict
from io import StringIO

import pyarrow as pa

from paha_core.benchmark.tables.published import PUBLISHED, PublishedCell, published_beside
from paha_core.metrics.row import METRICS, MetricRow, rows_to_table
from paha_core.store import Store

ARROWS = {"up": "↑", "down": "↓", "real": "→ real"}
_TEX_ARROWS = {"up": r"$\uparrow$", "down": r"$\downarrow$", "real": r"$\to$ real"}


def number(value: float | None, metric: str) -> str:
    """A value with the metric's number of digits; a dash when it is missing."""
    return "–" if value is None else f"{value:.{METRICS[metric].digits}f}".replace("-", "−")


def interval(row: MetricRow) -> str:
    """A value's 95 % interval as text; empty where it has none."""
    if row.low is None or row.high is None:
        return ""
    return f"{number(row.low, row.metric)} … {number(row.high, row.metric)}"


def with_interval(row: MetricRow | None) -> str:
    """`0.648 [0.601 … 0.690]`; a dash when the value is missing."""
    if row is None or row.value is None:
        return "–"
    spread = interval(row)
    return number(row.value, row.metric) + (f" [{spread}]" if spread else "")


def datasets_of(rows: Sequence[MetricRow]) -> list[str]:
    """The data sets that rows speak of, each once, in their order."""
    return list(dict.fromkeys(row.dataset for row in rows))


def systems_of(rows: Sequence[MetricRow]) -> list[str]:
    """The systems that rows speak of, each once, in their order."""
    return list(dict.fromkeys(row.system for row in rows))


def find(rows: Sequence[MetricRow], system: str, dataset: str, metric: str) -> MetricRow | None:
    """That cell of a table, or None."""
    key = (system, dataset, metric)
    return next((r for r in rows if (r.system, r.dataset, r.metric) == key), None)


def to_markdown(rows: Sequence[MetricRow], metrics: Sequence[str] | None = None) -> str:
    """Systems by metrics with their intervals, over `all` or the only dataset: for logs and the
    Dagster UI. Without `metrics`: those that any system has."""
    there = [m for m in METRICS if any(r.metric == m and r.value is not None for r in rows)]
    metrics = there if metrics is None else list(metrics)
    dataset = datasets_of(rows)[0] if rows else "all"
    head = " | ".join(f"{METRICS[m].title} {ARROWS[METRICS[m].direction]}" for m in metrics)
    lines = [f"| system | {head} |", "|---" * (len(metrics) + 1) + "|"]
    for system in systems_of(rows):
        cells = [with_interval(find(rows, system, dataset, metric)) for metric in metrics]
        lines.append(f"| {system} | {' | '.join(cells)} |")
    return "\n".join(lines)


def to_latex(rows: Sequence[MetricRow], dataset: str) -> str:
    """A booktabs tabular, the rows' metrics down and systems across; intervals in brackets,
    dashes for missing.
    """
    systems = systems_of(rows)
    measured = {row.metric for row in rows}
    lines = [
        "% made by paha; intervals are 95 % bootstrap intervals over clips",
        rf"\begin{{tabular}}{{l{'r' * len(systems)}}}",
        r"\toprule",
        " & ".join(["Metric", *map(tex, systems)]) + r" \\",
        r"\midrule",
    ]
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
        lines.append(" & ".join(cells) + r" \\")
    return "\n".join([*lines, r"\bottomrule", r"\end{tabular}", ""])


def tex(text: str) -> str:
    for special in "\\&%$#_{}":
        text = text.replace(special, "\\" + special if special != "\\" else r"\textbackslash ")
    return text


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


def to_csv(table: pa.Table) -> str:
    """The table as csv with a head; what is missing is an empty field."""
    out = StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(table.schema.names)
    for row in table.to_pylist():
        writer.writerow(["" if row[name] is None else row[name] for name in table.schema.names])
    return out.getvalue()


def _published_latex(cells: Sequence[PublishedCell]) -> str:
    columns = list(dict.fromkeys((c.dataset, c.metric) for c in cells))
    values = {(c.system, c.dataset, c.metric): c.printed for c in cells}
    titles = [f"{METRICS[m].title} ({d.upper()})" for d, m in columns]
    lines = [
        "% numbers printed in the paper, not ours",
        rf"\begin{{tabular}}{{l{'r' * len(columns)}}}",
        r"\toprule",
        " & ".join(["", *map(tex, titles)]) + r" \\",
        r"\midrule",
    ]
    for system in dict.fromkeys(c.system for c in cells):
        printed = [values.get((system, d, m), "--") for d, m in columns]
        lines.append(" & ".join([tex(system), *printed]) + r" \\")
    return "\n".join([*lines, r"\bottomrule", r"\end{tabular}", ""])


def beside(system: str, dataset: str, metric: str) -> tuple[str, str]:
    """The paper's number as printed and its note; empty where there is none."""
    cell = published_beside(system, dataset, metric)
    return (cell.printed, cell.note) if cell else ("", "")
