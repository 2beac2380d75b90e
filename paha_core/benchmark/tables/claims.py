"""What the paper claims of a cell, and whether our numbers reproduce it.

A claim is a direction: a row's printed number is above or below the baseline row's. It is
`reproduced` when our paired difference has that sign and its 95 % interval excludes zero, `not
reproduced` when the interval excludes zero on the other side, and `undecided` otherwise. Below
`MIN_CLIPS` pairs (clips; for TC repeats) nothing is decided: a bootstrap over fewer excludes zero
whenever all signs agree.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from paha_core.benchmark.measuring.evaluation import Evaluation
from paha_core.benchmark.tables.published import PUBLISHED
from paha_core.benchmark.tables.specs import Suite
from paha_core.metrics.bootstrap import MIN_CLIPS, PairedDifference
from paha_core.metrics.registry import METRICS
from paha_core.metrics.row import MetricRow

ClaimVerdict = Literal["reproduced", "not reproduced", "undecided", "missing"]
VERDICTS: tuple[ClaimVerdict, ...] = ("reproduced", "not reproduced", "undecided", "missing")


@dataclass(frozen=True)
class Comparison:
    """One cell beside its baseline. Differences are row minus baseline."""

    table: int
    system: str
    dataset: str
    metric: str
    claim_of: str  # the published metric whose claim this is
    baseline: str
    published: float
    published_baseline: float
    value: float | None
    difference: float | None
    low: float | None
    high: float | None
    p: float | None
    verdict: ClaimVerdict

    @property
    def claimed(self) -> str:
        """`up`, `down` or `equal`: direction of the published difference."""
        gap = self.published - self.published_baseline
        return "up" if gap > 0 else "down" if gap < 0 else "equal"


def claim_of(metric: str) -> str:
    """The published metric whose claims apply to a metric: its own, or that of the metric it
    replaces."""
    return METRICS[metric].stands_for or metric


def published_dataset(number: int, dataset: str) -> str:
    """The paper's data set that one of ours is compared with. Only table 1 has two; all of ours
    together are compared with PATS, which every table has."""
    return "cnas" if dataset == "cnas" and number == 1 else "pats"


def compare(suite: Suite, evaluation: Evaluation, rows: Sequence[MetricRow]) -> list[Comparison]:
    """Every cell for which the paper prints a number in its row and in the baseline's."""
    published = PUBLISHED[suite.number]
    values = {(row.system, row.dataset, row.metric): row.value for row in rows}
    printed = {cell.metric for cell in published.cells}
    metrics = [m for m in METRICS if claim_of(m) in printed]
    found = []
    for system in evaluation.systems:
        if system == suite.baseline:
            continue
        for dataset in evaluation.scopes():
            paper = published_dataset(suite.number, dataset)
            for metric in metrics:
                claim = claim_of(metric)
                number = published.value(system, claim, paper)
                base = published.value(suite.baseline, claim, paper)
                if number is None or base is None:
                    continue
                value = values.get((system, dataset, metric))
                if value is None and metric != claim:
                    continue  # nothing to compare: the stand-in is missing too
                paired = evaluation.difference(metric, system, suite.baseline, dataset)
                found.append(
                    Comparison(
                        suite.number,
                        system,
                        dataset,
                        metric,
                        claim,
                        suite.baseline,
                        number,
                        base,
                        value,
                        *_numbers(paired),
                        verdict_of(number - base, paired),
                    )
                )
    return found


def _numbers(
    paired: PairedDifference | None,
) -> tuple[float | None, float | None, float | None, float | None]:
    if paired is None:
        return None, None, None, None
    return paired.difference, paired.low, paired.high, paired.p


def verdict_of(claimed: float, paired: PairedDifference | None) -> ClaimVerdict:
    """`claimed`: the paper's row minus its baseline. A claim of nothing can't be reproduced."""
    if paired is None:
        return "missing"
    too_few = paired.clips < MIN_CLIPS
    if too_few or claimed == 0 or paired.low <= 0 <= paired.high:
        return "undecided"
    return "reproduced" if (paired.low > 0) == (claimed > 0) else "not reproduced"
