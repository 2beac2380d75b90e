"""Runs a table of the paper and holds each cell against what the paper claims.

A claim is a direction: a row's printed number is above or below the baseline row's. It is
`reproduced` when our paired difference has that sign and its 95 % interval excludes zero, `not
reproduced` when the interval excludes zero on the other side, and `undecided` otherwise. Below
`MIN_CLIPS` clips nothing is decided: a bootstrap over fewer excludes zero by agreement alone.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from typing import Literal

import pyarrow as pa

from paha_core.benchmark.evaluation import Evaluation
from paha_core.benchmark.measuring import evaluate
from paha_core.benchmark.run import results_fingerprint
from paha_core.benchmark.samples import Sampler
from paha_core.benchmark.suites import SUITES, Suite
from paha_core.benchmark.systems import external_systems
from paha_core.benchmark.tables import PUBLISHED
from paha_core.benchmark.variants import derived, trained_variant
from paha_core.benchmark.videos import Systems, Video, real_video
from paha_core.config import Preset
from paha_core.errors import StepError
from paha_core.metrics.bootstrap import MIN_CLIPS, PairedDifference
from paha_core.metrics.protocol import protocol_of
from paha_core.metrics.row import METRICS, MetricRow, rows_to_table
from paha_core.progress import Progress
from paha_core.stages import kept_rows
from paha_core.store import Store

Outcome = Literal["reproduced", "not reproduced", "undecided", "missing"]
STANDS_FOR = {
    "fvd_random_r3d": "fvd",
    "lip_correlation_truth": "sync_c",
    "lip_correlation": "sync_c",
}
"""Metrics that are held against another's claim where that one can't be had, and marked so."""


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
    verdict: Outcome

    @property
    def claimed(self) -> str:
        """`up`, `down` or `equal`: how the paper's row lies to its baseline."""
        gap = self.published - self.published_baseline
        return "up" if gap > 0 else "down" if gap < 0 else "equal"


@dataclass(frozen=True)
class SuiteResult:
    """A table as it was measured. `computed`: whether anything had to be."""

    number: int
    fingerprint: str
    rows: list[MetricRow]
    comparisons: list[Comparison]
    seeds: list[int]
    clips: int
    computed: bool = False

    @property
    def path(self) -> str:
        return suite_path(self.number)

    @property
    def markdown(self) -> str:
        from paha_core.benchmark.export import to_markdown

        shown = [
            m for m in METRICS if any(r.metric == m and r.value is not None for r in self.rows)
        ]
        return to_markdown(self.rows, shown)


def suite_path(number: int) -> str:
    return f"benchmark/suites/table{number}.json"


def run_suite(
    store: Store, preset: Preset, number: int, *, workers: int = 1, device: str = "cpu"
) -> SuiteResult:
    """Generate, measure and judge one table; what is there already is not made again.

    Writes `benchmark/suites/table<N>.json` and `.parquet`, and the verdicts as
    `table<N>_verdicts.parquet`. Raises `StepError` for a table that can't be run, and
    `FileNotFoundError` that names the stage whose weights are missing.
    """
    if number not in SUITES:
        others = ", ".join(map(str, SUITES))
        raise StepError(f"table {number} can't be run (4 is the user study): there are {others}")
    suite, settings = SUITES[number], preset.benchmark.suite
    clips = settings.clips or preset.generation.clips
    preset = derived(preset, {"generation": {"clips": clips}})
    seeds = [preset.generation.seed + k for k in range(settings.seeds)]
    systems = _systems(store, preset, suite, seeds, device)
    fingerprint = results_fingerprint(store, preset, systems, suite.name)
    stored = load_suite(store, number)
    if stored is not None and stored.fingerprint == fingerprint:
        return stored
    evaluation = evaluate(store, preset, systems, workers=workers, device=device)
    rows = [
        row
        for system in systems
        for dataset in evaluation.scopes()
        for row in evaluation.rows(suite.name, system, dataset)
    ]
    found = compare(suite, evaluation, rows)
    result = SuiteResult(number, fingerprint, rows, found, seeds, clips, computed=True)
    _write(store, preset, result)
    return result


def load_suite(store: Store, number: int) -> SuiteResult | None:
    """What `run_suite` wrote last, or None."""
    if not store.exists(suite_path(number)):
        return None
    stored = store.read_json(suite_path(number))
    rows = [MetricRow(**row) for row in stored["rows"]]
    found = [Comparison(**cell) for cell in stored["comparisons"]]
    return SuiteResult(number, stored["fingerprint"], rows, found, stored["seeds"], stored["clips"])


def _write(store: Store, preset: Preset, result: SuiteResult) -> None:
    base = result.path.removesuffix(".json")
    store.write_table(f"{base}.parquet", rows_to_table(result.rows))
    if result.comparisons:
        cells = [asdict(cell) | {"claimed": cell.claimed} for cell in result.comparisons]
        store.write_table(f"{base}_verdicts.parquet", pa.Table.from_pylist(cells))
    described = asdict(result) | {"preset": preset.name, "protocol": asdict(protocol_of(preset))}
    del described["computed"]
    store.write_json(result.path, described)


def _systems(store: Store, preset: Preset, suite: Suite, seeds: list[int], device: str) -> Systems:
    """The table's videos by row, `real` first; variants are trained where a row asks for one."""
    systems: Systems = {"real": []}
    ours = Sampler(store, store, preset, device)
    systems["real"] = _real(store, ours)
    for name, videos in external_systems(store, systems["real"]).items():
        if name in suite.others:
            systems[name] = videos
    with Progress(len(suite.rows), suite.name, unit="row") as progress:
        for row in suite.rows:
            sampler = ours
            if row.training:
                guided = row.mode != "unguided"
                networks, changed = trained_variant(
                    store, preset, row.training, device, guided=guided
                )
                sampler = Sampler(store, networks, changed, device)
            systems[row.name] = sampler.videos(row, seeds)
            progress.update()
    return systems


def _real(store: Store, sampler: Sampler) -> list[Video]:
    datasets = sampler.preset.corpora.datasets
    rows = {row["clip_id"]: row for row in kept_rows(store, "clips", datasets)}
    videos = ((clip, real_video(rows[clip.clip_id], clip.frames)) for clip in sampler.clips)
    return [replace(video, reference=f"{clip.stem}.reference.png") for clip, video in videos]


# --- verdicts -------------------------------------------------------------------------------------


def compare(suite: Suite, evaluation: Evaluation, rows: Sequence[MetricRow]) -> list[Comparison]:
    """Every cell for which the paper prints a number in its row and in the baseline's."""
    published = PUBLISHED[suite.number]
    values = {(row.system, row.dataset, row.metric): row.value for row in rows}
    printed = {cell.metric for cell in published.cells}
    metrics = [m for m in METRICS if STANDS_FOR.get(m, m) in printed]
    found = []
    for system in evaluation.systems:
        if system == suite.baseline:
            continue
        for dataset in evaluation.scopes():
            paper = "cnas" if dataset == "cnas" and suite.number == 1 else "pats"
            for metric in metrics:
                claim = STANDS_FOR.get(metric, metric)
                number = published.value(system, claim, paper)
                base = published.value(suite.baseline, claim, paper)
                if number is None or base is None:
                    continue
                value = values.get((system, dataset, metric))
                if value is None and metric != claim:
                    continue  # a stand-in that is missing too says nothing
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
                        verdict(number - base, paired),
                    )
                )
    return found


def _numbers(
    paired: PairedDifference | None,
) -> tuple[float | None, float | None, float | None, float | None]:
    if paired is None:
        return None, None, None, None
    return paired.difference, paired.low, paired.high, paired.p


def verdict(claimed: float, paired: PairedDifference | None) -> Outcome:
    """`claimed`: the paper's row minus its baseline. A claim of nothing can't be reproduced."""
    if paired is None:
        return "missing"
    too_few = paired.clips < MIN_CLIPS
    if too_few or claimed == 0 or paired.low <= 0 <= paired.high:
        return "undecided"
    return "reproduced" if (paired.low > 0) == (claimed > 0) else "not reproduced"
