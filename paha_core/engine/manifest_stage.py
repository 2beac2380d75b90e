"""The engine under every per-clip stage: skip what is done, spread the rest, lose nothing.

A stage turns `Job`s into rows of its manifest, one Parquet file a speaker
(`manifests/<stage>/<dataset>/<speaker>.parquet`). A job whose fingerprint (content, settings, code
version) is already in the manifest is not computed again. A `Rejection` becomes a rejected row
with its reason; a `TransientError` as well, but the next run tries again. Any other exception is a
bug or a failure of the run itself (a full disk) and surfaces, after the finished rows were written.
Rows in = rows kept + rows rejected.

Stages that don't use it, and why. `training_shards` and `negative_samples`: one shard holds many
clips and is written as a whole. `generated_clips`: videos are sampled in batches on one device.
`systems` (other systems' videos): a control is made from two clips. They keep manifests with the
same base columns.
"""

from __future__ import annotations

import os
import re
import time
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import pyarrow as pa

from paha_core.engine.progress import Progress
from paha_core.engine.workers import (
    Outcome,
    Rejection,
    TransientError,
    Work,
    Workers,
    outcomes,
)
from paha_core.store import Store

KEPT, REJECTED = "kept", "rejected"
NO_FINGERPRINT = ""  # of a TransientError: no job has it, so the next run tries again

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

    table: pa.Table  # a row for each job, in their order
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


Row = dict[str, Any]


def update_manifest(
    store: Store,
    stage: str,
    dataset: str,
    jobs: Sequence[Job],
    work: Work,
    *,
    extra_schema: pa.Schema,
    workers: Workers = 1,
    flush_every: float = 20.0,
    retry_rejected: bool = False,
    limit_seconds: float | None = None,
    keep_row: Callable[[Row], bool] = lambda row: False,
    finish: Callable[[list[Row]], list[Row]] = lambda rows: rows,
) -> StageResult:
    """Bring the manifest of `stage` for `dataset` up to date with `jobs`.

    `work(payload)` runs where `workers` says and returns the row's further columns, `path` and
    `sha256` among them. A payload that is a `Rejection` is a rejected row at once. Finished rows
    are flushed every `flush_every` seconds, so that a kill costs no more than that.
    `retry_rejected`: rejected rows are computed again. `limit_seconds`: a job that takes longer
    loses its worker process and is rejected. `keep_row`: whether a row whose clip
    is not among the jobs belongs to another run and is kept; other such rows are dropped and their
    files removed, as are the files of a rejected clip. `finish`: called with all rows of a speaker
    before they are written, for columns that depend on all of them.
    """
    schema = stage_schema(extra_schema)
    own_ids = {job.clip_id for job in jobs}
    manifest = _Manifest(store, stage, dataset, schema, own_ids, keep_row, finish)
    before = {row["clip_id"]: row for row in read_manifest(store, stage, dataset)}
    existing_files = _existing_files(store, before.values())
    rows: dict[str, Row] = {}
    todo: list[Job] = []
    computed = 0
    for job in jobs:
        old = before.get(job.clip_id)
        if old is not None:
            rows[job.clip_id] = old | job.columns  # until there is a new one
        if old is not None and is_up_to_date(old, job, existing_files, retry_rejected):
            continue
        computed += 1
        if isinstance(job.payload, Rejection):
            rows[job.clip_id] = _row(job, job.payload, dataset)
        else:
            todo.append(job)

    last_flush, cost = time.monotonic(), 0.0
    try:
        with Progress(len(todo), f"{stage} {dataset}") as progress:
            payloads = [job.payload for job in todo]
            for number, outcome in outcomes(payloads, work, workers, limit_seconds):
                rows[todo[number].clip_id] = _row(todo[number], outcome, dataset)
                progress.update()
                # A large manifest takes its time to write: never more than 2 % of the run's.
                if time.monotonic() - last_flush > max(flush_every, 50 * cost):
                    started = time.monotonic()
                    manifest.write(rows)
                    last_flush = time.monotonic()
                    cost = last_flush - started
    finally:
        manifest.write(rows)
    manifest.drop_others()
    _remove_leftovers(store, before, manifest.rows, keep_row)
    table = pa.Table.from_pylist([manifest.rows[job.clip_id] for job in jobs], schema=schema)
    return StageResult(table, computed=computed, reused=len(jobs) - computed)


class _Manifest:
    """The files of one manifest, one a speaker. A file is written only when its rows changed, and
    keeps the rows of other runs that `keep_row` names.

    Two runs at the same time that share a speaker may lose each other's rows (not their clips: the
    next run finds them missing); runs over different speakers don't meet.
    """

    def __init__(
        self,
        store: Store,
        stage: str,
        dataset: str,
        schema: pa.Schema,
        own_ids: set[str],
        keep_row: Callable[[Row], bool],
        finish: Callable[[list[Row]], list[Row]],
    ) -> None:
        self.store, self.schema = store, schema
        self.stage, self.dataset = stage, dataset
        self.own_ids, self.keep_row, self.finish = own_ids, keep_row, finish
        self.files: set[str] = set()
        self.rows: dict[str, Row] = {}  # as they were published, by clip id

    def write(self, rows: Mapping[str, Row]) -> None:
        """Publish each speaker's rows, in the order of their ids."""
        parts: dict[str, list[Row]] = defaultdict(list)
        for row in rows.values():
            parts[self._file(row["speaker"])].append(row)
        for rel, part in parts.items():
            stored = self.store.read_table(rel).to_pylist() if self.store.exists(rel) else []
            self._publish(rel, part + self._others(stored), stored)
        self.files.update(parts)
        self.store.remove(manifest_path(self.stage, self.dataset))  # an earlier version's one file

    def drop_others(self) -> None:
        """The files of other speakers: what doesn't stay leaves them."""
        listed = manifest_files(self.store, self.stage, self.dataset)
        for rel in set(listed) - self.files:
            stored = self.store.read_table(rel).to_pylist()
            others = self._others(stored)
            if others:
                self._publish(rel, others, stored)
            else:
                self.store.remove(rel)
        if not self.rows:  # a stage that ran over nothing has a manifest too
            self.store.write_table(self._file("none"), self.schema.empty_table())

    def _others(self, stored: Iterable[Row]) -> list[Row]:
        return [row for row in stored if row["clip_id"] not in self.own_ids and self.keep_row(row)]

    def _publish(self, rel: str, rows: Iterable[Row], stored: list[Row]) -> None:
        filled = ({name: row.get(name) for name in self.schema.names} for row in rows)
        part = self.finish(sorted(filled, key=lambda row: str(row["clip_id"])))
        self.rows |= {row["clip_id"]: row for row in part}
        if part != stored:
            self.store.write_table(rel, pa.Table.from_pylist(part, schema=self.schema))

    def _file(self, speaker: str | None) -> str:
        name = re.sub(r"[^\w-]", "_", speaker or "") or "unnamed"
        return f"manifests/{self.stage}/{self.dataset}/{name}.parquet"


def is_up_to_date(old: Row, job: Job, existing_files: set[str], retry_rejected: bool) -> bool:
    """Whether the row's files were made from the same input and still exist."""
    if old["fingerprint"] != job.fingerprint:
        return False
    return (
        not retry_rejected if old["status"] == REJECTED else existing_files.issuperset(_files(old))
    )


def _files(row: Row) -> set[str]:
    """The files that a row names, relative to the store."""
    return {row[name] for name in row if re.fullmatch("(.+_)?path", name) and row[name]}


def _existing_files(store: Store, rows: Iterable[Row]) -> set[str]:
    """Which of the rows' files exist; an object store is listed once."""
    named = {rel for row in rows for rel in _files(row)}
    if store.is_local or not named:
        return {rel for rel in named if store.exists(rel)}
    folder = os.path.commonpath([os.path.dirname(rel) for rel in named])
    return named.intersection(store.glob(f"{folder}/**"))


def _remove_leftovers(
    store: Store,
    before: Mapping[str, Row],
    after: Mapping[str, Row],
    keep_row: Callable[[Row], bool],
) -> None:
    """Remove the files of rows that were dropped, or rejected for good."""
    named = {rel for row in after.values() for rel in _files(row)}
    for clip_id, row in before.items():
        now = after.get(clip_id)
        if keep_row(row) if now is None else now["fingerprint"] == NO_FINGERPRINT:
            continue
        for rel in _files(row) - named:
            store.remove(rel)


def _row(job: Job, outcome: Outcome, dataset: str) -> Row:
    row = {"clip_id": job.clip_id, "dataset": dataset, "fingerprint": job.fingerprint} | job.columns
    if isinstance(outcome, Rejection):
        row |= outcome.columns | {"status": REJECTED, "reason": str(outcome)}
        if isinstance(outcome, TransientError):
            row["fingerprint"] = NO_FINGERPRINT
        return row | {"path": "", "sha256": ""}
    return row | {"status": KEPT, "reason": "", **outcome}
