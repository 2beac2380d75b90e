"""The stages that generate videos, measure them and report the results."""

from __future__ import annotations

from typing import TYPE_CHECKING

from paha_core.stages.stage_report import (
    StageReport,
    report_of,
)
from paha_core.stages.workspace import prepare_torch, workers_of

if TYPE_CHECKING:
    from paha_core.config import Preset
    from paha_core.store import Store


def generate_clips(store: Store, preset: Preset) -> StageReport:
    """Videos for held-out audio, in every mode of the preset."""
    from functools import cache

    from paha_core.inference.held_out import generate_held_out
    from paha_core.inference.pipeline import PahaPipeline
    from paha_core.inference.timing import time_held_out
    from paha_core.stages import pictures

    device = prepare_torch(preset)
    pipeline = cache(lambda: PahaPipeline.from_store(store, preset, device))
    results = generate_held_out(store, preset, pipeline, device)
    time_held_out(store, preset, pipeline)
    fresh = any(result.computed for result in results.values())
    strip = pictures.generated(store, preset.generation.modes, fresh=fresh)
    return report_of(store, "generated_clips", results, {"Real, then generated": strip})


def run_benchmark(store: Store, preset: Preset) -> StageReport:
    """Every metric of every system under one protocol."""
    from paha_core.benchmark import run
    from paha_core.benchmark.cells import with_interval

    device = prepare_torch(preset)
    before = run.load_results(store)
    rows = run.run_benchmark(store, preset, workers=workers_of(preset), device=device)
    after = run.load_results(store)
    same = before is not None and after is not None and before[0] == after[0]
    missing: dict[str, int] = {}
    for row in rows:
        if row.value is None:
            missing[row.reason] = missing.get(row.reason, 0) + 1
    values = [row for row in rows if row.value is not None]
    scope = "all" if any(row.dataset == "all" for row in rows) else None
    return StageReport(
        "benchmark",
        kept=len(values),
        rejected=len(rows) - len(values),
        computed=0 if same else len(rows),
        reused=len(rows) if same else 0,
        reasons=missing,
        figures={
            f"{row.system} {row.metric}": with_interval(row)
            for row in values
            if row.dataset == (scope or row.dataset)
        },
        artifacts={"results": store.uri(f"{run.RESULTS}.json")},
        pages={"Results": run.SUMMARY},
        data_version=after[0] if after else "",
    )


def build_report(store: Store, preset: Preset) -> StageReport:
    """The page that shows the run."""
    from paha_core.benchmark.report.page import build_report as build
    from paha_core.benchmark.run import SUMMARY
    from paha_core.benchmark.tables.specs import SUITES
    from paha_core.stages.pictures import GENERATED
    from paha_core.store import sha256_json

    rel = build(store, preset)
    html = store.read_bytes(rel)
    pages = {"Results": SUMMARY}
    pages |= {f"Table {n}": f"report/tables/table{n}.md" for n in SUITES}
    return StageReport(
        "report",
        kept=1,
        computed=1,
        figures={"bytes": len(html)},
        artifacts={"report": store.uri(rel), "videos": store.uri("generated")},
        pictures={"Real, then generated": GENERATED} if store.exists(GENERATED) else {},
        pages={title: page for title, page in pages.items() if store.exists(page)},
        data_version=sha256_json(html.decode()),
    )


def run_table(store: Store, preset: Preset, number: int) -> StageReport:
    """One of the paper's tables: generate its rows, measure them, test its claims."""
    from paha_core.benchmark.tables.claims import VERDICTS
    from paha_core.benchmark.tables.export import write_suite
    from paha_core.benchmark.tables.run import run_suite

    device = prepare_torch(preset)
    result = run_suite(store, preset, number, workers=workers_of(preset), device=device)
    write_suite(store, result)
    verdicts = [cell.verdict for cell in result.comparisons]
    figures: dict[str, float | str] = {"clips": result.clips, "seeds": len(result.seeds)}
    figures |= {f"claims {word}": verdicts.count(word) for word in VERDICTS}
    return StageReport(
        f"table{number}",
        kept=sum(row.value is not None for row in result.rows),
        rejected=sum(row.value is None for row in result.rows),
        computed=int(result.computed),
        reused=int(not result.computed),
        figures=figures,
        artifacts={"results": store.uri(result.path)},
        pages={"Table": f"report/tables/table{number}.md"},
        data_version=result.fingerprint,
    )
