"""The engine under every per-clip stage: skip what is done, spread the rest, lose nothing.

A stage turns `Job`s into rows of its manifest (`manifests/<stage>/<dataset>.parquet`). A job whose
fingerprint (content, settings, code version) already stands in the manifest is not computed again.
A `Rejection` becomes a rejected row with its reason; so does a job that kills its worker process.
Any other exception is a bug and surfaces, after the finished rows were written. Rows in = rows kept
+ rows rejected.
"""

from __future__ import annotations

import multiprocessing
import time
from collections.abc import Callable, Generator, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass, field
from typing import Any

import pyarrow as pa

from paha_core.processes import die_with_parent
from paha_core.progress import Progress
from paha_core.store import Store

KEPT, REJECTED = "kept", "rejected"

BASE_SCHEMA = pa.schema(
    [
        ("clip_id", pa.string()),  # dataset/speaker/interval
        ("dataset", pa.string()),
        ("speaker", pa.string()),
        ("split", pa.string()),  # train | test
        ("status", pa.string()),  # kept | rejected
        ("reason", pa.string()),  # why rejected, in words; empty when kept
        ("fingerprint", pa.string()),  # of content, settings and code version
        ("path", pa.string()),  # what the stage made, relative to the store
        ("sha256", pa.string()),  # of that file
    ]
)


class Rejection(Exception):
    """An input that can't be used, with the reason in words a person understands."""


@dataclass(frozen=True)
class Job:
    """One clip's work: `payload` is for the stage's function, the rest goes to the manifest."""

    clip_id: str
    fingerprint: str
    payload: Any
    columns: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class StageResult:
    """A stage's manifest after a run, and what the run had to do."""

    table: pa.Table
    computed: int
    reused: int

    @property
    def kept(self) -> int:
        return self.table.column("status").to_pylist().count(KEPT)

    @property
    def rejected(self) -> int:
        return self.table.num_rows - self.kept

    @property
    def reasons(self) -> dict[str, int]:
        """How many rows each reason rejected."""
        counts: dict[str, int] = {}
        for row in self.table.select(["status", "reason"]).to_pylist():
            if row["status"] == REJECTED:
                counts[row["reason"]] = counts.get(row["reason"], 0) + 1
        return counts


def clip_key(clip_id: str) -> str:
    """The name of a clip in files and shards: `/` becomes `__`, dots become `_` (WebDataset splits
    at dots).
    """
    return clip_id.replace("/", "__").replace(".", "_")


def manifest_path(stage: str, dataset: str) -> str:
    return f"manifests/{stage}/{dataset}.parquet"


def stage_schema(extra: pa.Schema) -> pa.Schema:
    return pa.schema([*BASE_SCHEMA, *extra])


def read_manifest(store: Store, stage: str, dataset: str) -> list[dict[str, Any]]:
    """All rows of a stage's manifest; an absent manifest is an empty one."""
    rel = manifest_path(stage, dataset)
    return store.read_table(rel).to_pylist() if store.exists(rel) else []


def kept_rows(store: Store, stage: str, datasets: Sequence[str]) -> list[dict[str, Any]]:
    """The kept rows of a stage over several datasets, in the order of clip ids."""
    rows = [r for d in datasets for r in read_manifest(store, stage, d) if r["status"] == KEPT]
    return sorted(rows, key=lambda row: row["clip_id"])


def run_stage(
    store: Store,
    stage: str,
    dataset: str,
    jobs: Sequence[Job],
    work: Callable[[Any], dict[str, Any]],
    *,
    extra_schema: pa.Schema,
    workers: int = 1,
    flush_every: float = 20.0,
) -> StageResult:
    """Bring the manifest of `stage` for `dataset` up to date with `jobs`.

    `work(payload)` runs in a worker process (in this one for `workers=0`) and returns the row's
    further columns, `path` and `sha256` among them. Rows of clips that are no longer among the jobs
    leave the manifest; finished rows are flushed every `flush_every` seconds, so that a kill costs
    no more than that.
    """
    schema = stage_schema(extra_schema)
    before = {row["clip_id"]: row for row in read_manifest(store, stage, dataset)}
    rows: dict[str, dict[str, Any]] = {}
    todo: list[Job] = []
    for job in jobs:
        old = before.get(job.clip_id)
        if old is not None and _stands(store, old, job):
            rows[job.clip_id] = old | job.columns  # a changed split moves along
        else:
            todo.append(job)
    reused = len(rows)

    def flush() -> pa.Table:
        ordered = [_fill(rows[job.clip_id], schema) for job in jobs if job.clip_id in rows]
        table = pa.Table.from_pylist(ordered, schema=schema)
        store.write_table(manifest_path(stage, dataset), table)
        return table

    last_flush = time.monotonic()
    try:
        with Progress(len(todo), f"{stage} {dataset}") as progress:
            for job, outcome in _run(todo, work, workers):
                rows[job.clip_id] = _row(job, outcome, dataset)
                progress.update()
                if time.monotonic() - last_flush > flush_every:
                    flush()
                    last_flush = time.monotonic()
    finally:
        unchanged = not todo and set(before) == set(rows)
        table = store.read_table(manifest_path(stage, dataset)) if unchanged and before else flush()
    return StageResult(table, computed=len(todo), reused=reused)


def _stands(store: Store, row: dict[str, Any], job: Job) -> bool:
    """Whether what the row tells of was made from the same input and is still there."""
    same = row["fingerprint"] == job.fingerprint
    return bool(same and (row["status"] == REJECTED or store.exists(row["path"])))


def _fill(row: dict[str, Any], schema: pa.Schema) -> dict[str, Any]:
    return {name: row.get(name) for name in schema.names}


def _row(job: Job, outcome: dict[str, Any] | Rejection, dataset: str) -> dict[str, Any]:
    row = {"clip_id": job.clip_id, "dataset": dataset, "fingerprint": job.fingerprint} | job.columns
    if isinstance(outcome, Rejection):
        return row | {"status": REJECTED, "reason": str(outcome), "path": "", "sha256": ""}
    return row | {"status": KEPT, "reason": ""} | outcome


def _run(
    jobs: Sequence[Job], work: Callable[[Any], dict[str, Any]], workers: int
) -> Iterator[tuple[Job, dict[str, Any] | Rejection]]:
    if workers == 0 or (len(jobs) <= 1 and workers <= 1):
        for job in jobs:
            yield job, _attempt(work, job.payload)
        return
    queue = list(jobs)
    while queue:
        suspects, queue = yield from _run_pool(queue, work, workers)
        # A pool dies as a whole. Whoever was running is tried alone, so that only the culprit is
        # rejected.
        for job in suspects:
            yield job, _alone(work, job)


def _run_pool(
    queue: list[Job], work: Callable[[Any], dict[str, Any]], workers: int
) -> Generator[tuple[Job, dict[str, Any] | Rejection], None, tuple[list[Job], list[Job]]]:
    """Yields outcomes; returns (jobs in flight when the pool broke, jobs not started)."""
    waiting = list(reversed(queue))
    running: dict[Future[Any], Job] = {}
    with _pool(workers) as pool:
        while waiting or running:
            while waiting and len(running) < 2 * workers:
                job = waiting.pop()
                try:
                    running[pool.submit(_attempt, work, job.payload)] = job
                except BrokenProcessPool:
                    return [*running.values(), job], list(reversed(waiting))
            done, _ = wait(running, return_when=FIRST_COMPLETED)
            for future in done:
                if isinstance(future.exception(), BrokenProcessPool):
                    return list(running.values()), list(reversed(waiting))
                yield running.pop(future), future.result()
    return [], []


def _pool(workers: int) -> ProcessPoolExecutor:
    context = multiprocessing.get_context("spawn")
    return ProcessPoolExecutor(workers, mp_context=context, initializer=die_with_parent)


def _alone(work: Callable[[Any], dict[str, Any]], job: Job) -> dict[str, Any] | Rejection:
    with _pool(1) as pool:
        try:
            return pool.submit(_attempt, work, job.payload).result()
        except BrokenProcessPool:
            return Rejection("processing this clip killed its worker process")


def _attempt(work: Callable[[Any], dict[str, Any]], payload: Any) -> dict[str, Any] | Rejection:
    try:
        return work(payload)
    except Rejection as rejection:
        return rejection
