"""A table of the paper as run here, as rows and columns: what the report, the shell, Dagster and
the exports print, each in its own form."""

from __future__ import annotations

from dataclasses import dataclass

from paha_core.benchmark.cells import (
    ARROWS,
    datasets_of,
    find,
    interval,
    number,
    systems_of,
)
from paha_core.benchmark.tables.claims import Comparison, claim_of, published_dataset
from paha_core.benchmark.tables.published import PUBLISHED
from paha_core.benchmark.tables.run import SuiteResult
from paha_core.benchmark.tables.specs import SUITES
from paha_core.metrics.bootstrap import MIN_CLIPS
from paha_core.metrics.registry import METRICS
from paha_core.metrics.row import MetricRow

MARKS = {"reproduced": "✓", "not reproduced": "✗", "undecided": "·", "missing": ""}


@dataclass(frozen=True)
class JudgedCell:
    """A number of ours, the paper's as printed (empty where it has none, or where our metric
    replaces the paper's), and the verdict on its claim."""

    row: MetricRow | None
    judged: Comparison | None
    paper: str

    @property
    def text(self) -> str:
        return number(self.row.value, self.row.metric) if self.row else "–"

    @property
    def interval(self) -> str:
        return interval(self.row) if self.row else ""

    @property
    def verdict(self) -> str:
        return self.judged.verdict if self.judged else ""

    @property
    def mark(self) -> str:
        return MARKS.get(self.verdict, "")


@dataclass(frozen=True)
class Column:
    """A metric, and the published one whose claims apply to it."""

    metric: str
    claim_of: str

    @property
    def head(self) -> str:
        about = METRICS[self.metric]
        name = f"{about.title} {ARROWS[about.direction]}"
        same = self.metric == self.claim_of
        return name if same else f"{name}, in place of {METRICS[self.claim_of].title}"


@dataclass(frozen=True)
class Grid:
    """The table over one of our data sets, or all, beside one of the paper's.

    `missing`: columns that the paper has and this run can't have, with the reason.
    """

    number: int
    dataset: str
    paper_dataset: str
    columns: list[Column]
    rows: list[tuple[str, list[JudgedCell]]]
    missing: list[str]

    @property
    def title(self) -> str:
        ours = "all data sets" if self.dataset == "all" else self.dataset.upper()
        return f"{ours}, beside the paper's {self.paper_dataset.upper()}"


def grids(result: SuiteResult) -> list[Grid]:
    """One for each data set that was measured; over all of them first."""
    return [_grid(result, dataset) for dataset in datasets_of(result.rows)]


def _grid(result: SuiteResult, dataset: str) -> Grid:
    rows = [row for row in result.rows if row.dataset == dataset]
    judged = {(c.system, c.metric): c for c in result.comparisons if c.dataset == dataset}
    published, paper = PUBLISHED[result.number], published_dataset(result.number, dataset)
    printed = {cell.metric for cell in published.cells}
    there = {row.metric for row in rows if row.value is not None}
    columns = [  # in the paper's order
        Column(metric, claim)
        for claim in dict.fromkeys(cell.metric for cell in published.cells)
        for metric in METRICS
        if metric in there and claim_of(metric) == claim
    ]
    body = []
    for system in systems_of(rows):
        cells = []
        for column in columns:
            same = column.metric == column.claim_of
            cell = published.cell(system, column.metric, paper) if same else None
            row = find(rows, system, dataset, column.metric)
            cells.append(
                JudgedCell(row, judged.get((system, column.metric)), cell.printed if cell else "")
            )
        body.append((system, cells))
    reasons = {row.metric: row.reason for row in rows if row.metric in printed - there}
    missing = [f"{METRICS[metric].title}: {reason}" for metric, reason in reasons.items()]
    return Grid(result.number, dataset, paper, columns, body, missing)


def about(result: SuiteResult) -> str:
    """The seeds, clips and baseline behind the numbers, in one sentence."""
    strengths = ", ".join(f"{name} {value:g}" for name, value in result.strengths.items())
    seeds = f"{len(result.seeds)} seed" + ("s" if len(result.seeds) != 1 else "")
    text = f"{result.clips} clips, {seeds} each; against {SUITES[result.number].baseline}"
    text += f"; strengths of the rows that share them: {strengths}"
    if result.number >= 5:
        text += "; a row's name is the paper's lambda, and its factor is applied to ours"
    if result.clips < MIN_CLIPS:
        text += f"; fewer than {MIN_CLIPS} clips decide nothing but times"
    return text
