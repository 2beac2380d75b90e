"""Runs per-clip stages: skips finished clips, distributes the rest, survives a kill.

A stage turns `ClipWork`s into rows of its manifest, one Parquet file a speaker
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

import re
import time
from collections import defaultdict
from collections.abc import Callable, Collection, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from itertools import islice
from typing import Any, TypedDict

import pyarrow as pa

from paha_core.engine.claims import Claim, claimed
from paha_core.engine.named_files import existing_files, files_of
from paha_core.engine.progress import Progress
from paha_core.engine.table_cache import read_tables
from paha_core.engine.workers import (
    Outcome,
    Rejection,
    RowFunction,
    TransientError,
    Workers,
    outcomes,
)
from paha_core.store import Store

CLAIM_WAIT = 600.0  # seconds that a run waits for another one that writes the same manifest
KEPT, REJECTED = "kept", "rejected"
NO_FINGERPRINT = ""  # after a TransientError: matches no job, so that the next run tries again

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


class ManifestRow(TypedDict):
    """The columns of every manifest, `BASE_SCHEMA`; a stage's own row type adds its own."""

    clip_id: str
    dataset: str
    speaker: str
    split: str
    status: str
    reason: str
    fingerprint: str
    path: str
    sha256: str


@dataclass(frozen=True)
class ClipWork:
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
        status, reason = (self.table.column(name).to_pylist() for name in ("status", "reason"))
        for each, why in zip(status, reason, strict=True):
            if each == REJECTED:
                counts[why] = counts.get(why, 0) + 1
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
    return list(_versions(store, stage, dataset))


def _versions(store: Store, stage: str, dataset: str) -> dict[str, str]:
    """The files of `manifest_files` with their versions; one request to an object store."""
    folder = f"manifests/{stage}/"
    name = "[^/]+" if dataset == "*" else re.escape(dataset)
    matches = re.compile(rf"{re.escape(folder)}{name}(/[^/]+)?\.parquet").fullmatch
    found = store.versions(folder if dataset == "*" else folder + dataset)
    whole_first = sorted(found, key=lambda rel: (rel.count("/"), rel))
    return {rel: found[rel] for rel in whole_first if matches(rel)}


def manifest_place(store: Store, stage: str, dataset: str) -> str:
    """The file or folder of a manifest, to show to a user."""
    whole = manifest_path(stage, dataset)
    return whole if whole in _versions(store, stage, dataset) else whole.removesuffix(".parquet")


def stage_schema(extra: pa.Schema) -> pa.Schema:
    """The columns of every manifest, and a stage's own."""
    return pa.schema([*BASE_SCHEMA, *extra])


def read_manifest(
    store: Store, stage: str, dataset: str, columns: Collection[str] = ()
) -> list[dict[str, Any]]:
    """All rows of a stage's manifest; an absent manifest is an empty one. With `columns`, rows have
    only these: of 100,000 rows, most of the time goes into Python objects."""
    tables = read_tables(store, _versions(store, stage, dataset)).values()
    chosen = (
        table.select([name for name in table.column_names if name in columns]) if columns else table
        for table in tables
    )
    return [row for table in chosen for row in table.to_pylist()]


def kept_rows(store: Store, stage: str, datasets: Sequence[str]) -> list[dict[str, Any]]:
    """The kept rows of a stage over several datasets, in the order of clip ids."""
    rows = [r for d in datasets for r in read_manifest(store, stage, d) if r["status"] == KEPT]
    return sorted(rows, key=lambda row: row["clip_id"])


Row = dict[str, Any]


def update_manifest(
    store: Store,
    stage: str,
    dataset: str,
    jobs: Sequence[ClipWork],
    work: RowFunction,
    *,
    extra_schema: pa.Schema,
    workers: Workers = 1,
    flush_every: float = 20.0,
    retry_rejected: bool = False,
    limit_seconds: float | None = None,
    speakers: Collection[str] = (),
    keep_row: Callable[[Row], bool] = lambda row: False,
    finish: Callable[[list[Row]], list[Row]] = lambda rows: rows,
) -> StageResult:
    """Bring the manifest of `stage` for `dataset` up to date with `jobs`.

    `work(payload)` runs on `workers` and returns the row's further columns, `path` and
    `sha256` among them. A payload that is a `Rejection` is a rejected row at once. Finished rows
    are flushed every `flush_every` seconds, so that a kill costs no more than that.
    `retry_rejected`: rejected rows are computed again. `limit_seconds`: a job that takes longer
    loses its worker process and is rejected. `speakers`: only their jobs count, and the rows of all
    other speakers are kept. `keep_row`: whether a row whose clip
    is not among the jobs belongs to another run and is kept; other such rows are dropped and their
    files removed, as are the files of a rejected clip. `finish`: called with all rows of the
    manifest before they are written, for columns that depend on all of them; it returns as many
    rows, in the same order.
    """
    schema = stage_schema(extra_schema)
    if speakers:
        jobs = [job for job in jobs if job.columns["speaker"] in speakers]
        keep_row = _or_of_others(speakers, keep_row)
    own_ids = {job.clip_id for job in jobs}
    manifest = _Manifest(store, stage, dataset, schema, own_ids, keep_row, finish)
    before = {row["clip_id"]: row for row in manifest.read()}
    existing = existing_files(store, before.values())
    rows: dict[str, Row] = {}
    todo: list[ClipWork] = []
    computed = 0
    for job in jobs:
        old = before.get(job.clip_id)
        if old is not None:
            rows[job.clip_id] = with_columns(old, job.columns)  # until there is a new one
        if old is not None and is_up_to_date(old, job, existing, retry_rejected):
            continue
        computed += 1
        if isinstance(job.payload, Rejection):
            rows[job.clip_id] = _row(job, job.payload, dataset)
        else:
            todo.append(job)

    last_flush, cost = time.monotonic(), 0.0
    done = False
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
        done = True
    finally:
        manifest.write(rows, drop=done)
    _remove_leftovers(store, before, manifest.rows, keep_row)
    table = pa.Table.from_pylist([manifest.rows[job.clip_id] for job in jobs], schema=schema)
    return StageResult(table, computed=computed, reused=len(jobs) - computed)


def _or_of_others(
    speakers: Collection[str], keep_row: Callable[[Row], bool]
) -> Callable[[Row], bool]:
    return lambda row: row["speaker"] not in speakers or keep_row(row)


class _Manifest:
    """The files of one manifest, one per speaker. A file is written only when its rows changed, and
    keeps those rows of other runs that `keep_row` selects. Concurrent runs keep each other's rows:
    the writer holds the manifest's claim and reads the stored rows again before it writes.
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
        self.rows: dict[str, Row] = {}  # as they were published, by clip id
        # Each file's version and rows as last read: a manifest may have 100,000 rows, and a row of
        # Python objects costs far more than its bytes.
        self.known: dict[str, tuple[str, list[Row]]] = {}

    def read(self) -> list[Row]:
        """All rows that are stored now."""
        stored = self._stored(_versions(self.store, self.stage, self.dataset))
        return [row for part in stored.values() for row in part]

    def write(self, rows: Mapping[str, Row], *, drop: bool = False) -> None:
        """Publish each speaker's rows, in the order of their ids.

        drop: the rows of other speakers that `keep_row` does not select go as well.
        """
        parts: dict[str, list[Row]] = defaultdict(list)
        for row in rows.values():
            parts[self._file(row["speaker"])].append(row)
        seen = _versions(self.store, self.stage, self.dataset)
        if changed := self._changed(parts, drop, seen):
            with self._claimed():
                now = _versions(self.store, self.stage, self.dataset)
                if now != seen:  # another run has written since
                    changed = self._changed(parts, drop, now)
                for rel, part in changed.items():
                    if part or rel in parts:
                        self._publish(rel, part)
                    else:
                        self.store.remove_files([rel])
                if parts:  # an earlier version kept one file
                    self.store.remove_files([manifest_path(self.stage, self.dataset)])
        if drop and not self.rows:  # a stage without any clip has a manifest too
            self._publish(self._file("none"), [])

    def _changed(
        self, parts: Mapping[str, list[Row]], drop: bool, versions: Mapping[str, str]
    ) -> dict[str, list[Row]]:
        """The rows of each file that differ from what is stored at these versions."""
        stored = self._stored(versions)
        found = {
            rel: self._filled(parts[rel], stored.get(rel, [])) if rel in parts
            else self._filled([], stored[rel]) if drop
            else [row for row in stored[rel] if row["clip_id"] not in self.own_ids]
            for rel in {**stored, **parts}
        }  # fmt: skip
        finished = iter(self.finish([row for part in found.values() for row in part]))
        found = {rel: list(islice(finished, len(part))) for rel, part in found.items()}
        self.rows = {row["clip_id"]: row for part in found.values() for row in part}
        return {rel: part for rel, part in found.items() if part != stored.get(rel, [])}

    def _stored(self, versions: Mapping[str, str]) -> dict[str, list[Row]]:
        known = {rel: version for rel, (version, _) in self.known.items()}
        new = {rel: version for rel, version in versions.items() if known.get(rel) != version}
        for rel, table in read_tables(self.store, new).items():
            self.known[rel] = versions[rel], table.to_pylist()
        return {rel: self.known[rel][1] for rel in versions}

    def _filled(self, own: list[Row], stored: list[Row]) -> list[Row]:
        """A file's rows: this run's, and those of others that are kept."""
        others = [row for row in stored if row["clip_id"] not in self.own_ids]
        rows = own + [row for row in others if self.keep_row(row)]
        names = dict.fromkeys(self.schema.names)
        filled = (
            row if row.keys() == names.keys() else {name: row.get(name) for name in names}
            for row in rows
        )
        return sorted(filled, key=lambda row: str(row["clip_id"]))

    def _publish(self, rel: str, rows: list[Row]) -> None:
        self.store.write_table(rel, pa.Table.from_pylist(rows, schema=self.schema))

    def _claimed(self) -> AbstractContextManager[Claim]:
        name = f"manifests/{self.stage}/{self.dataset}"
        return claimed(self.store, name, f"writing {name}", wait=CLAIM_WAIT)

    def _file(self, speaker: str | None) -> str:
        name = re.sub(r"[^\w-]", "_", speaker or "") or "unnamed"
        return f"manifests/{self.stage}/{self.dataset}/{name}.parquet"


def with_columns(row: Row, columns: dict[str, Any]) -> Row:
    """The row with these columns: itself where it has them already, so that what is unchanged is
    found by identity."""
    return row if all(row.get(name) == value for name, value in columns.items()) else row | columns


def is_up_to_date(old: Row, job: ClipWork, existing: set[str], retry_rejected: bool) -> bool:
    """Whether the row's files were made from the same input and still exist."""
    if old["fingerprint"] != job.fingerprint:
        return False
    return not retry_rejected if old["status"] == REJECTED else existing.issuperset(files_of(old))


def _remove_leftovers(
    store: Store,
    before: Mapping[str, Row],
    after: Mapping[str, Row],
    keep_row: Callable[[Row], bool],
) -> None:
    """Remove the files of rows that were dropped, or rejected for good."""
    leftovers: set[str] = set()
    for clip_id, row in before.items():
        now = after.get(clip_id)
        if now is row or (keep_row(row) if now is None else now["fingerprint"] == NO_FINGERPRINT):
            continue
        leftovers |= files_of(row)
    if leftovers:
        leftovers -= {rel for row in after.values() for rel in files_of(row)}
    store.remove_files(sorted(leftovers))


def _row(job: ClipWork, outcome: Outcome, dataset: str) -> Row:
    row = {"clip_id": job.clip_id, "dataset": dataset, "fingerprint": job.fingerprint} | job.columns
    if isinstance(outcome, Rejection):
        row |= outcome.columns | {"status": REJECTED, "reason": str(outcome)}
        if isinstance(outcome, TransientError):
            row["fingerprint"] = NO_FINGERPRINT
        return row | {"path": "", "sha256": ""}
    return row | {"status": KEPT, "reason": "", **outcome}
