"""Rows of results as text: numbers, intervals, and tables in Markdown, LaTeX and csv."""

from __future__ import annotations

import csv
from collections.abc import Iterable, Sequence
from io import StringIO

import pyarrow as pa

from paha_core.metrics.registry import METRICS
from paha_core.metrics.row import MetricRow

ARROWS = {"up": "↑", "down": "↓", "real": "→ real"}


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
    """The data sets of the rows, each once, in their order."""
    return list(dict.fromkeys(row.dataset for row in rows))


def systems_of(rows: Sequence[MetricRow]) -> list[str]:
    """The systems of the rows, each once, in their order."""
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


def tex(text: str) -> str:
    for special in "\\&%$#_{}":
        text = text.replace(special, "\\" + special if special != "\\" else r"\textbackslash ")
    return text


def tabular(head: Sequence[str], rows: Iterable[Sequence[str]]) -> list[str]:
    """The lines of a booktabs tabular; cells are LaTeX, the first column is aligned left."""

    def line(cells: Sequence[str]) -> str:
        return " & ".join(cells) + r" \\"

    body = [line(head), r"\midrule", *map(line, rows)]
    columns = f"l{'r' * (len(head) - 1)}"
    return [
        rf"\begin{{tabular}}{{{columns}}}",
        r"\toprule",
        *body,
        r"\bottomrule",
        r"\end{tabular}",
    ]


def to_csv(table: pa.Table) -> str:
    """The table as csv with a head; what is missing is an empty field."""
    out = StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(table.schema.names)
    for row in table.to_pylist():
        writer.writerow(["" if row[name] is None else row[name] for name in table.schema.names])
    return out.getvalue()
