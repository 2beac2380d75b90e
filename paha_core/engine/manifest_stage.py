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

import time
from collections import Counter
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, TypedDict

import pyarrow as pa
import pyarrow.compute as pc

from paha_core.engine.manifest_files import (
    Manifest,
    Row,
    manifest_path,
    manifest_versions,
    some_rows,
)
from paha_core.engine.named_files import complete_rows, files_in, files_of
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


@dataclass(slots=True)  # a frozen one takes three times as long to make
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
        return int(pc.sum(pc.equal(self.table["status"], KEPT)).as_py() or 0)

    @property
    def rejected(self) -> int:
        return self.table.num_rows - self.kept

    @property
    def reasons(self) -> dict[str, int]:
        """How many rows each reason rejected."""
        rejected = self.table.filter(pc.equal(self.table["status"], REJECTED))
        return dict(Counter(rejected["reason"].to_pylist()))


def clip_key(clip_id: str) -> str:
    """The name of a clip in files and shards: `/` becomes `__`, dots become `_` (WebDataset splits
    at dots).
    """
    return clip_id.replace("/", "__").replace(".", "_")


def manifest_files(store: Store, stage: str, dataset: str = "*") -> list[str]:
    """The files of a stage's manifest, of one dataset or (`*`) of all; none if it never ran."""
    return list(manifest_versions(store, stage, dataset))


def manifest_place(store: Store, stage: str, dataset: str) -> str:
    """The file or folder of a manifest, to show to a user."""
    whole = manifest_path(stage, dataset)
    is_whole = whole in manifest_versions(store, stage, dataset)
    return whole if is_whole else whole.removesuffix(".parquet")


def stage_schema(extra: pa.Schema) -> pa.Schema:
    """The columns of every manifest, and a stage's own."""
    return pa.schema([*BASE_SCHEMA, *extra])


def read_manifest(
    store: Store, stage: str, dataset: str, columns: Collection[str] = ()
) -> list[dict[str, Any]]:
    """All rows of a stage's manifest; an absent manifest is an empty one. With `columns`, rows have
    only these: of 100,000 rows, most of the time goes into Python objects."""
    tables = read_tables(store, manifest_versions(store, stage, dataset)).values()
    return [row for table in tables for row in some_rows(table, columns)]


def kept_rows(store: Store, stage: str, datasets: Sequence[str]) -> list[dict[str, Any]]:
    """The kept rows of a stage over several datasets, in the order of clip ids."""
    rows = [r for d in datasets for r in read_manifest(store, stage, d) if r["status"] == KEPT]
    return sorted(rows, key=lambda row: row["clip_id"])


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
    finish: Callable[[pa.Table], pa.Table] = lambda table: table,
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
    own_ids = [job.clip_id for job in jobs]
    manifest = Manifest(store, stage, dataset, schema, own_ids, keep_row, finish)
    before = manifest.read()
    plan = _compared(before, jobs, complete_rows(store, before), retry_rejected)
    unchanged, rows, todo = before.take(plan.unchanged), plan.rows, plan.todo
    for job in plan.rejected:
        rows[job.clip_id] = _row(job, job.payload, dataset)

    def write(drop: bool = False) -> pa.Table:
        changed = pa.Table.from_pylist(list(rows.values()), schema=schema)
        return manifest.write(pa.concat_tables([unchanged, changed]), drop=drop)

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
                    write()
                    last_flush = time.monotonic()
                    cost = last_flush - started
        done = True
    finally:
        after = write(drop=done)
    _remove_leftovers(store, before, after, rows, keep_row)
    place = {clip_id: n for n, clip_id in enumerate(after["clip_id"].to_pylist())}
    computed = len(todo) + len(plan.rejected)
    table = after.take(pa.array([place[clip_id] for clip_id in own_ids], pa.int64()))
    return StageResult(table, computed=computed, reused=len(jobs) - computed)


def _or_of_others(
    speakers: Collection[str], keep_row: Callable[[Row], bool]
) -> Callable[[Row], bool]:
    return lambda row: row["speaker"] not in speakers or keep_row(row)


@dataclass
class _Plan:
    """What a run has to do: only what changes becomes Python objects."""

    unchanged: pa.Array  # indices of stored rows that stay as they are
    rows: dict[str, Row]  # by clip id: stored rows with new columns, until there is a new one
    todo: list[ClipWork]
    rejected: list[ClipWork]  # their payload is a `Rejection`


def _compared(
    before: pa.Table, jobs: Sequence[ClipWork], complete: Sequence[bool], retry_rejected: bool
) -> _Plan:
    """Compare the stored rows with the jobs; `complete`: whether the files of each row exist."""
    ids, fingerprints, statuses = (
        before[name].to_pylist() for name in ("clip_id", "fingerprint", "status")
    )
    place = {clip_id: n for n, clip_id in enumerate(ids)}
    stored: dict[tuple[str, ...], list[tuple[Any, ...]]] = {}  # values by the names of columns
    unchanged: set[int] = set()
    changed: list[tuple[int, ClipWork]] = []
    new: list[ClipWork] = []
    for job in jobs:
        n = place.get(job.clip_id)
        if n is None:
            new.append(job)
            continue
        names = tuple(job.columns)
        if names not in stored:
            stored[names] = list(zip(*(_values(before, name) for name in names), strict=True))
        usable = not retry_rejected if statuses[n] == REJECTED else complete[n]
        if fingerprints[n] != job.fingerprint or not usable:
            new.append(job)
        elif not names or stored[names][n] == tuple(job.columns.values()):
            unchanged.add(n)
            continue
        changed.append((n, job))
    old = before.take(pa.array([n for n, _ in changed], pa.int64())).to_pylist()
    rows = {job.clip_id: row | job.columns for (_, job), row in zip(changed, old, strict=True)}
    return _Plan(
        pa.array(sorted(unchanged), pa.int64()),
        rows,
        [job for job in new if not isinstance(job.payload, Rejection)],
        [job for job in new if isinstance(job.payload, Rejection)],
    )


def _values(table: pa.Table, name: str) -> list[Any]:
    found: list[Any] = table[name].to_pylist() if name in table.column_names else []
    return found or [None] * table.num_rows


def _remove_leftovers(
    store: Store,
    before: pa.Table,
    after: pa.Table,
    changed: Collection[str],
    keep_row: Callable[[Row], bool],
) -> None:
    """Remove the files of rows that were dropped, or rejected for good. `changed`: ids of the rows
    that this run wrote."""
    now = dict(zip(*(after[name].to_pylist() for name in ("clip_id", "fingerprint")), strict=True))
    ids = before["clip_id"].to_pylist()
    places = [n for n, clip_id in enumerate(ids) if clip_id not in now or clip_id in changed]
    leftovers: set[str] = set()
    for row in before.take(pa.array(places, pa.int64())).to_pylist():
        fingerprint = now.get(row["clip_id"])
        if keep_row(row) if fingerprint is None else fingerprint == NO_FINGERPRINT:
            continue
        leftovers |= files_of(row)
    if leftovers:
        leftovers -= files_in(after)
    store.remove_files(sorted(leftovers))


def _row(job: ClipWork, outcome: Outcome, dataset: str) -> Row:
    row = {"clip_id": job.clip_id, "dataset": dataset, "fingerprint": job.fingerprint} | job.columns
    if isinstance(outcome, Rejection):
        row |= outcome.columns | {"status": REJECTED, "reason": str(outcome)}
        if isinstance(outcome, TransientError):
            row["fingerprint"] = NO_FINGERPRINT
        return row | {"path": "", "sha256": ""}
    return row | {"status": KEPT, "reason": "", **outcome}
