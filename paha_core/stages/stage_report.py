"""Reports of stages, made from manifests and training logs."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from paha_core.errors import StageError, run_first

if TYPE_CHECKING:
    from paha_core.engine.manifest_stage import StageResult
    from paha_core.store import Store
    from paha_core.training.run import Run

OnMetrics = Callable[[int, dict[str, float]], None]
_COUNTS = ("kept", "rejected", "computed", "reused")


@dataclass(frozen=True)
class StageReport:
    """What a stage did, as plain data: assets show it as metadata, the command line as a table."""

    stage: str
    kept: int = 0
    rejected: int = 0
    computed: int = 0  # done now; for networks 1 if anything was trained
    reused: int = 0  # found done
    reasons: dict[str, int] = field(default_factory=dict)  # why rows were rejected -> how many
    figures: dict[str, float | str] = field(default_factory=dict)
    artifacts: dict[str, str] = field(default_factory=dict)  # what -> URI
    pictures: dict[str, str] = field(default_factory=dict)  # title -> PNG, relative to the store
    pages: dict[str, str] = field(default_factory=dict)  # title -> markdown, likewise
    data_version: str = ""  # changes when, and only when, what the stage made changes

    def as_dict(self) -> dict[str, Any]:
        """As JSON: what a process sends, and `StageReport(**…)` takes."""
        return asdict(self)


def merged(reports: list[StageReport]) -> StageReport:
    """The reports of one stage over several datasets as one."""
    from paha_core.store import sha256_json

    if len(reports) == 1:
        return reports[0]
    reasons: dict[str, int] = {}
    for report in reports:
        for reason, count in report.reasons.items():
            reasons[reason] = reasons.get(reason, 0) + count
    return StageReport(
        reports[0].stage,
        **{name: sum(getattr(r, name) for r in reports) for name in _COUNTS},
        reasons=reasons,
        figures={key: value for r in reports for key, value in r.figures.items()},
        artifacts={key: value for r in reports for key, value in r.artifacts.items()},
        pictures={key: value for r in reports for key, value in r.pictures.items()},
        pages={key: value for r in reports for key, value in r.pages.items()},
        data_version=sha256_json([r.data_version for r in reports]),
    )


def report_of(
    store: Store,
    stage: str,
    results: Mapping[str, StageResult] | StageResult,
    pictures: Mapping[str, str | None],
    figures: Mapping[str, float] | None = None,
) -> StageReport:
    """A report of manifests by name (a dataset or a mode)."""
    from paha_core.engine.manifest_stage import manifest_place
    from paha_core.store import sha256_json

    named = dict(results) if isinstance(results, Mapping) else {"": results}
    single = len(named) == 1
    reports = []
    for name, result in named.items():
        rows = result.table.select(["clip_id", "status", "split", "sha256"]).to_pylist()
        label = f" ({name})" if name else ""
        manifest = store.uri(manifest_place(store, stage, name) if name else f"manifests/{stage}")
        reports.append(
            StageReport(
                stage,
                **{count: getattr(result, count) for count in _COUNTS},
                reasons=result.reasons,
                figures={f"{k}{label}": round(v, 4) for k, v in (figures or {}).items()},
                artifacts={f"manifest{label}": manifest},
                pictures={f"{k}{label if single else ''}": v for k, v in pictures.items() if v},
                data_version=sha256_json(rows),
            )
        )
    return merged(reports)


def means(result: StageResult, *columns: str) -> dict[str, float]:
    """The mean over kept rows of each column."""
    means = {}
    for column in columns:
        values = [v for v in result.table.column(column).to_pylist() if v is not None]
        if values:
            means[column] = sum(values) / len(values)
    return means


def trained(run: Run, train: Callable[[], bool]) -> StageReport:
    """Train a network and report the last metrics of its log."""
    from paha_core.stages import pictures

    done = train()
    store, figures = run.store, _last_figures(run.store, run.name)
    curve = pictures.curve(store, run.name, fresh=done)
    strips = sorted(store.glob(f"{run.folder}/strips/*.png"))
    shown = {"Loss": curve} if curve else {}
    if strips:
        shown["Held-out clips, real and generated"] = strips[-1]
    return StageReport(
        run.name,
        kept=1,
        computed=int(done),
        reused=int(not done),
        figures=figures,
        artifacts={"weights": store.uri(run.final), "log": store.uri(f"{run.folder}/log.jsonl")},
        pictures=shown,
        data_version=run.fingerprint,
    )


def _last_figures(store: Store, network: str) -> dict[str, float | str]:
    """The last value of every figure in a network's log."""
    from paha_core.trained import read_log

    figures: dict[str, float | str] = {}
    for line in read_log(store, network):
        figures |= {name: value for name, value in line.items() if value is not None}
    return figures


def with_metrics_callback(run: Run, on_metrics: OnMetrics | None) -> Run:
    """The same run with a callback for its metrics."""
    if on_metrics is not None:
        run.on_metrics = on_metrics
    return run


def not_in_preset(stage: str, dataset: str) -> StageReport:
    """The report of a stage that has nothing to do."""
    return StageReport(stage, figures={f"note ({dataset})": "this preset has no such corpus"})


def require_manifest(store: Store, stage: str, dataset: str) -> None:
    """Raises `StageError` naming the stage to run first when it has not."""
    from paha_core.engine.manifest_stage import manifest_files

    if not manifest_files(store, stage, dataset):
        raise StageError(f"no {store.uri(f'manifests/{stage}/{dataset}')}: {run_first(stage)}")


def require_path(path: Path, stage: str) -> None:
    """Raises `StageError` naming the stage to run first when the file or folder is not there."""
    if not path.exists():
        raise StageError(f"no {path}: {run_first(stage)}, or correct the preset's path")
