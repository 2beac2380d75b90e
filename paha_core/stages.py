"""The engine under every per-clip stage: skip what is done, spread the rest, lose nothing.

A stage turns `Job`s into rows of its manifest, one Parquet file a speaker
(`manifests/<stage>/<dataset>/<speaker>.parquet`). A job whose fingerprint (content, settings, code
version) already stands in the manifest is not computed again. A `Rejection` becomes a rejected row
with its reason; so does a job that kills its worker process or takes too long. Any other exception
is a bug and surfaces, after the finished rows were written. Rows in = rows kept + rows rejected.
"""

from __future__ import annotations

import multiprocessing
import re
import signal
import time
from collections import defaultdict
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping, Sequence
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
    """An input that can't be used, with the reason in words a person understands.

    `columns`: what is known of it all the same, for its row.
    """

    def __init__(self, reason: str = "", **columns: Any) -> None:
        super().__init__(reason)
        self.columns = columns


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
    figures: Mapping[str, float] = field(default_factory=dict)  # of the stage's own

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
    """The manifest of a stage that keeps it in one file. To read any, use `read_manifest`."""
    return f"manifests/{stage}/{dataset}.parquet"


def manifest_files(store: Store, stage: str, dataset: str = "*") -> list[str]:
    """The files of a stage's manifest, of one dataset or (`*`) of all; none if it never ran."""
    whole = store.glob(manifest_path(stage, dataset))
    return whole + store.glob(f"manifests/{stage}/{dataset}/*.parquet")


def manifest_place(store: Store, stage: str, dataset: str) -> str:
    """The file or folder that holds a manifest, for a user to look into."""
    whole = manifest_path(stage, dataset)
    return whole if store.exists(whole) else whole.removesuffix(".parquet")


def stage_schema(extra: pa.Schema) -> pa.Schema:
    """The columns of every manifest, and a stage's own."""
    return pa.schema([*BASE_SCHEMA, *extra])


def read_manifest(store: Store, stage: str, dataset: str) -> list[dict[str, Any]]:
    """All rows of a stage's manifest; an absent manifest is an empty one."""
    files = manifest_files(store, stage, dataset)
    return [row for rel in files for row in store.read_table(rel).to_pylist()]


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
    retry_rejected: bool = False,
    limit_seconds: float | None = None,
) -> StageResult:
    """Bring the manifest of `stage` for `dataset` up to date with `jobs`.

    `work(payload)` runs in a worker process (in this one for `workers=0`) and returns the row's
    further columns, `path` and `sha256` among them. A payload that is a `Rejection` is a rejected
    row at once. Rows of clips that are no longer among the jobs leave the manifest; finished rows
    are flushed every `flush_every` seconds, so that a kill costs no more than that.
    `retry_rejected`: rejected rows are computed again. `limit_seconds`: a job that takes longer
    loses its worker process and is rejected.
    """
    manifest = _Manifest(store, stage, dataset, stage_schema(extra_schema))
    before = {row["clip_id"]: row for row in read_manifest(store, stage, dataset)}
    rows: dict[str, dict[str, Any]] = {}
    todo: list[Job] = []
    computed = 0
    for job in jobs:
        old = before.get(job.clip_id)
        again = retry_rejected and old is not None and old["status"] == REJECTED
        if old is not None and not again and _stands(store, old, job):
            rows[job.clip_id] = old | job.columns  # a changed split moves along
        elif isinstance(job.payload, Rejection):
            rows[job.clip_id] = _row(job, job.payload, dataset)
            computed += 1
        else:
            todo.append(job)
    computed += len(todo)

    last_flush, cost = time.monotonic(), 0.0
    try:
        with Progress(len(todo), f"{stage} {dataset}") as progress:
            for job, outcome in _run(todo, work, workers, limit_seconds):
                rows[job.clip_id] = _row(job, outcome, dataset)
                progress.update()
                # A large manifest takes its time to write: never more than 2 % of the run's.
                if time.monotonic() - last_flush > max(flush_every, 50 * cost):
                    started = time.monotonic()
                    manifest.write(rows[job.clip_id] for job in jobs if job.clip_id in rows)
                    last_flush = time.monotonic()
                    cost = last_flush - started
    finally:
        table = manifest.write(rows[job.clip_id] for job in jobs if job.clip_id in rows)
        manifest.drop_others()
    return StageResult(table, computed=computed, reused=len(jobs) - computed)


class _Manifest:
    """The files of one manifest; a file is written only when its rows changed."""

    def __init__(self, store: Store, stage: str, dataset: str, schema: pa.Schema) -> None:
        self.store, self.schema = store, schema
        self.stage, self.dataset = stage, dataset
        self.written: dict[str, list[dict[str, Any]]] = {}

    def write(self, rows: Iterable[dict[str, Any]]) -> pa.Table:
        """Publish each speaker's rows; returns all of them as one table, in their order."""
        filled = [_fill(row, self.schema) for row in rows]
        parts: dict[str, list[dict[str, Any]]] = defaultdict(list)
        for row in filled:
            parts[self._file(row["speaker"])].append(row)
        if not parts:  # a stage that ran over nothing has a manifest too
            parts[self._file("none")] = []
        for rel, part in parts.items():
            if self.written.get(rel) != part:
                table = pa.Table.from_pylist(part, schema=self.schema)
                if not self.store.exists(rel) or not self._same(rel, table):
                    self.store.write_table(rel, table)
        if not self.written:  # what an earlier version kept in one file is in these now
            self.store.remove(manifest_path(self.stage, self.dataset))
        self.written = parts
        return pa.Table.from_pylist(filled, schema=self.schema)

    def _same(self, rel: str, table: pa.Table) -> bool:
        return rel not in self.written and bool(self.store.read_table(rel).equals(table))

    def _file(self, speaker: str | None) -> str:
        name = re.sub(r"[^\w-]", "_", speaker or "") or "unnamed"
        return f"manifests/{self.stage}/{self.dataset}/{name}.parquet"

    def drop_others(self) -> None:
        """Remove files of speakers that are gone."""
        for rel in manifest_files(self.store, self.stage, self.dataset):
            if rel not in self.written:
                self.store.remove(rel)


def _stands(store: Store, row: dict[str, Any], job: Job) -> bool:
    """Whether what the row tells of was made from the same input and is still there."""
    same = row["fingerprint"] == job.fingerprint
    return bool(same and (row["status"] == REJECTED or store.exists(row["path"])))


def _fill(row: dict[str, Any], schema: pa.Schema) -> dict[str, Any]:
    return {name: row.get(name) for name in schema.names}


def _row(job: Job, outcome: dict[str, Any] | Rejection, dataset: str) -> dict[str, Any]:
    row = {"clip_id": job.clip_id, "dataset": dataset, "fingerprint": job.fingerprint} | job.columns
    if isinstance(outcome, Rejection):
        rejected = {"status": REJECTED, "reason": str(outcome), "path": "", "sha256": ""}
        return row | outcome.columns | rejected
    return row | {"status": KEPT, "reason": ""} | outcome


def _run(
    jobs: Sequence[Job],
    work: Callable[[Any], dict[str, Any]],
    workers: int,
    limit: float | None = None,
) -> Iterator[tuple[Job, dict[str, Any] | Rejection]]:
    if workers == 0:
        for job in jobs:
            yield job, _attempt(work, job.payload)
        return
    queue = list(jobs)
    while queue:
        suspects, queue = yield from _run_pool(queue, work, workers, limit)
        # A pool dies as a whole. Whoever was running is tried alone, so that only the culprit is
        # rejected.
        for job in suspects:
            yield job, _alone(work, job, limit)


def _run_pool(
    queue: list[Job], work: Callable[[Any], dict[str, Any]], workers: int, limit: float | None
) -> Generator[tuple[Job, dict[str, Any] | Rejection], None, tuple[list[Job], list[Job]]]:
    """Yields outcomes; returns (jobs in flight when the pool broke, jobs not started)."""
    waiting = list(reversed(queue))
    running: dict[Future[Any], Job] = {}
    with _pool(min(workers, len(queue))) as pool:
        while waiting or running:
            while waiting and len(running) < 2 * workers:
                job = waiting.pop()
                try:
                    running[pool.submit(_attempt, work, job.payload, limit)] = job
                except BrokenProcessPool:
                    return [*running.values(), job], list(reversed(waiting))
            done, _ = wait(running, return_when=FIRST_COMPLETED)
            broken = False
            for future in done:
                if isinstance(future.exception(), BrokenProcessPool):
                    broken = True
                else:
                    yield running.pop(future), future.result()
            if broken:
                return list(running.values()), list(reversed(waiting))
    return [], []


def _pool(workers: int) -> ProcessPoolExecutor:
    context = multiprocessing.get_context("spawn")
    return ProcessPoolExecutor(workers, mp_context=context, initializer=die_with_parent)


def _alone(
    work: Callable[[Any], dict[str, Any]], job: Job, limit: float | None
) -> dict[str, Any] | Rejection:
    with _pool(1) as pool:
        pool.submit(_ready).result()  # the limit counts from when the process stands
        started = time.monotonic()
        try:
            return pool.submit(_attempt, work, job.payload, limit).result()
        except BrokenProcessPool:
            if limit is not None and time.monotonic() - started >= limit:
                return Rejection(f"processing this clip took longer than {limit:g} s")
            return Rejection("processing this clip killed its worker process")


def _ready() -> None:
    """A worker process that answers."""


def _attempt(
    work: Callable[[Any], dict[str, Any]], payload: Any, limit: float | None = None
) -> dict[str, Any] | Rejection:
    if limit is not None:
        # The default action of SIGALRM ends the process, also when it hangs in a library's code.
        signal.setitimer(signal.ITIMER_REAL, limit)
    try:
        return work(payload)
    except Rejection as rejection:
        return rejection
    finally:
        if limit is not None:
            signal.setitimer(signal.ITIMER_REAL, 0)
