"""The engine: every job a row, done work stands, and what dies or hangs costs only its own row."""

from __future__ import annotations

import os
import signal
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from paha_core.engine.manifest_files import manifest_path, with_column
from paha_core.engine.manifest_stage import (
    ClipWork,
    Rejection,
    TransientError,
    kept_rows,
    manifest_files,
    read_manifest,
    update_manifest,
)
from paha_core.engine.named_files import existing_files
from paha_core.engine.workers import unlimited
from paha_core.store import Store

EXTRA = pa.schema([("length", pa.int32())])


@pytest.fixture
def store(tmp_path) -> Store:
    return Store(str(tmp_path / "store"))


def work(payload: dict[str, Any]) -> dict[str, Any]:
    """Writes a file; or rejects, dies, hangs or fails, as its payload says."""
    store, name = payload["store"], payload["name"]
    store.write_bytes(f"calls/{name}-{os.getpid()}-{time.monotonic_ns()}", b"")
    if name == "bad":
        raise Rejection("it is bad")
    if name == "kill":
        os.kill(os.getpid(), signal.SIGKILL)
    if name == "late" and len(store.glob("calls/late-*")) == 1:
        raise TransientError("the network was down")
    if name == "hang":
        while True:
            time.sleep(60)
    if name == "bug":
        raise ZeroDivisionError
    sha = store.write_bytes(f"made/{name}", name.encode())
    return {"path": f"made/{name}", "sha256": sha, "length": len(name)}


def jobs(store: Store, *ids: str, version: int = 1) -> list[ClipWork]:
    """A job for each `speaker/name`."""
    return [
        ClipWork(
            clip_id=f"set/{id}",
            fingerprint=f"{id}-{version}",
            payload={"store": store, "name": id.split("/")[1]},
            columns={"speaker": id.split("/")[0], "split": "train"},
        )
        for id in ids
    ]


def run(store: Store, listed: list[ClipWork], **kwargs: Any):
    return update_manifest(
        store, "stage", "set", listed, work, **({"workers": 0, "extra_schema": EXTRA} | kwargs)
    )


def calls(store: Store) -> int:
    return len(store.glob("calls/*"))


def test_a_file_a_speaker_and_the_rows_in_the_order_of_the_jobs(store):
    result = run(store, jobs(store, "b/one", "a/bad", "b/two", "ä ö/three"))
    assert [r["clip_id"] for r in result.table.to_pylist()] == [
        "set/b/one", "set/a/bad", "set/b/two", "set/ä ö/three"
    ]  # fmt: skip
    assert (result.kept, result.rejected, result.reasons) == (3, 1, {"it is bad": 1})
    assert manifest_files(store, "stage", "set") == [
        f"manifests/stage/set/{name}.parquet" for name in ("a", "b", "ä_ö")
    ]
    assert len(read_manifest(store, "stage", "set")) == 4
    assert [r["clip_id"] for r in kept_rows(store, "stage", ["set", "none"])] == [
        "set/b/one", "set/b/two", "set/ä ö/three"
    ]  # fmt: skip


def test_only_what_changed_or_is_new_or_gone_is_touched(store):
    run(store, jobs(store, "a/one", "a/two", "b/three"))
    stamps = {f: Path(store.full(f)).stat().st_mtime_ns for f in manifest_files(store, "stage")}
    result = run(store, jobs(store, "a/one", "a/two", "b/three"))
    assert (result.computed, result.reused, calls(store)) == (0, 3, 3)
    result = run(store, [*jobs(store, "a/one", "a/two"), *jobs(store, "b/three", version=2)])
    assert (result.computed, calls(store)) == (1, 4)
    for rel, stamp in stamps.items():
        changed = Path(store.full(rel)).stat().st_mtime_ns != stamp
        assert changed == rel.endswith("/b.parquet")
    store.remove("made/one")
    assert run(store, jobs(store, "a/one", "a/two")).computed == 1
    assert manifest_files(store, "stage", "set") == ["manifests/stage/set/a.parquet"]


def test_rejected_rows_are_tried_again_only_when_asked(store):
    listed = jobs(store, "a/one", "a/bad")
    run(store, listed)
    assert run(store, listed).computed == 0
    assert run(store, listed, retry_rejected=True).computed == 1
    assert calls(store) == 3


def test_a_rejection_as_payload_needs_no_worker(store):
    row = ClipWork("set/a/x", "x", Rejection("never"), {"speaker": "a", "split": "train"})
    result = run(store, [row, *jobs(store, "a/one")], workers=1)
    assert (result.computed, result.reasons, calls(store)) == (2, {"never": 1}, 1)


def test_a_job_that_kills_its_worker_costs_only_its_own_row(store):
    listed = jobs(store, "a/one", "a/kill", "a/two", "a/three")
    result = run(store, listed, workers=2)
    assert result.reasons == {"processing this clip killed its worker process": 1}
    assert [r["status"] for r in result.table.to_pylist()] == [
        "kept", "rejected", "kept", "kept"
    ]  # fmt: skip
    fingerprint = result.table.to_pylist()[1]["fingerprint"]
    assert fingerprint != listed[1].fingerprint  # it may have been memory: the next run tries again


def test_a_transient_failure_is_retried_and_removes_nothing(store):
    listed = jobs(store, "a/one", "a/late")
    store.write_bytes("made/late", b"of an earlier run")
    first = run(store, listed)
    assert first.reasons == {"the network was down": 1}
    assert store.exists("made/late")
    again = run(store, listed)
    assert (again.computed, again.kept) == (1, 2)


def test_rows_of_other_runs_stay_and_the_files_of_those_that_leave_go(store):
    run(store, jobs(store, "a/one", "a/two", "b/three"))
    others = run(store, jobs(store, "a/four"), keep_row=lambda row: True)
    assert others.table.num_rows == 1
    assert len(read_manifest(store, "stage", "set")) == 4
    run(store, jobs(store, "a/four"), keep_row=lambda row: row["speaker"] == "b")
    left = [row["clip_id"] for row in read_manifest(store, "stage", "set")]
    assert left == ["set/a/four", "set/b/three"]
    assert store.glob("made/*") == ["made/four", "made/three"]


def test_some_speakers_are_brought_up_to_date_and_all_others_kept(store):
    run(store, jobs(store, "ada/a", "ada/gone", "ben/b"))
    changed = jobs(store, "ada/a", "ben/b", "cyd/c", version=2)
    result = run(store, changed, speakers=["ada"])
    assert (result.table.column("clip_id").to_pylist(), result.computed) == (["set/ada/a"], 1)
    rows = {row["clip_id"]: row["fingerprint"] for row in read_manifest(store, "stage", "set")}
    assert rows == {"set/ada/a": "ada/a-2", "set/ben/b": "ben/b-1"}
    assert not store.exists("made/gone")
    assert run(store, changed).computed == 2


def test_columns_that_depend_on_all_rows(store):
    def number(table: pa.Table) -> pa.Table:
        return with_column(table, "split", [f"{n} of {len(table)}" for n in range(len(table))])

    def splits(result) -> list[str]:
        return [row["split"] for row in result.table.to_pylist()]

    assert splits(run(store, jobs(store, "a/one", "b/x"), finish=number)) == ["0 of 2", "1 of 2"]
    more = run(store, jobs(store, "a/one", "a/two", "b/x"), finish=number)
    assert splits(more) == ["0 of 3", "1 of 3", "2 of 3"]
    assert more.computed == 1
    # also the rows of another speaker that another run made
    run(store, jobs(store, "c/y"), finish=number, keep_row=lambda row: True)
    stored = read_manifest(store, "stage", "set")
    assert [row["split"] for row in stored] == [f"{n} of 4" for n in range(4)]


def test_a_download_does_not_count_against_the_limit():
    signal.setitimer(signal.ITIMER_REAL, 100)
    try:
        with unlimited():
            assert signal.getitimer(signal.ITIMER_REAL)[0] == 0
        assert 99 < signal.getitimer(signal.ITIMER_REAL)[0] <= 100
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)


def test_ray_does_the_same_work(store):
    ray = pytest.importorskip("ray")
    places = os.pathsep.join([str(Path(__file__).parent), *sys.path])  # of this file's functions
    ray.init(log_to_driver=False, runtime_env={"env_vars": {"PYTHONPATH": places}})
    try:
        with pytest.raises(ZeroDivisionError):
            run(store, jobs(store, "a/bug"), workers="ray")
        result = run(store, jobs(store, "a/one", "a/bad", "a/kill", "b/two"), workers="ray")
    finally:
        ray.shutdown()
    assert result.kept == 2
    assert set(result.reasons) == {
        "it is bad", "its worker process was killed, or took longer than it may"
    }  # fmt: skip


def test_a_job_that_hangs_is_stopped(store):
    result = run(store, jobs(store, "a/hang", "a/one"), workers=1, limit_seconds=1.0)
    assert result.reasons == {"processing this clip took longer than 1 s": 1}
    assert result.kept == 1


def test_a_bug_surfaces_and_loses_nothing(store):
    with pytest.raises(ZeroDivisionError):
        run(store, jobs(store, "a/one", "a/bug"))
    assert [r["clip_id"] for r in read_manifest(store, "stage", "set")] == ["set/a/one"]


class CountingStore(Store):
    """Counts the tables that are read from it."""

    def __init__(self, url: str) -> None:
        super().__init__(url)
        self.reads: list[str] = []

    def read_table(self, rel: str) -> pa.Table:
        self.reads.append(Path(rel).stem)
        return super().read_table(rel)


def test_a_file_of_many_rows_is_read_once_and_written_when_it_changed(tmp_path):
    counting = CountingStore(str(tmp_path / "store"))
    run(counting, jobs(counting, "ana/a", "ben/b"))
    counting.reads.clear()
    before = counting.versions("manifests/")
    run(counting, jobs(counting, "ana/a", "ben/b"))
    assert sorted(counting.reads) == ["ana", "ben"]
    assert counting.versions("manifests/") == before
    counting.reads.clear()
    run(counting, jobs(counting, "ana/a", "ben/b", "ben/c"))
    assert sorted(counting.reads) == ["ana", "ben"]
    after = counting.versions("manifests/")
    assert [rel for rel in after if after[rel] != before.get(rel)] == [
        rel for rel in after if rel.endswith("ben.parquet")
    ]


def test_a_column_that_is_new_or_holds_no_number_makes_nothing_again(store):
    listed = jobs(store, "a/one", "a/two")
    run(store, listed)
    wider = pa.schema([*EXTRA, ("jitter", pa.float32())])
    assert run(store, listed, extra_schema=wider).computed == 0
    assert [row["jitter"] for row in read_manifest(store, "stage", "set")] == [None, None]
    rel = manifest_files(store, "stage", "set")[0]
    table = store.read_table(rel)
    store.write_table(rel, with_column(table, "jitter", [float("nan"), 0.5]))
    before = store.versions("manifests/")
    assert run(store, listed, extra_schema=wider).computed == 0
    assert store.versions("manifests/") == before


def test_a_manifest_of_one_file_is_taken_over(store):
    made = run(store, jobs(store, "a/one", "b/two")).table
    store.remove("manifests/stage/set")
    store.write_table(manifest_path("stage", "set"), made)
    assert len(read_manifest(store, "stage", "set")) == 2
    assert run(store, jobs(store, "a/one"), keep_row=lambda row: True).computed == 0
    assert len(read_manifest(store, "stage", "set")) == 2
    assert run(store, jobs(store, "a/one", "b/two")).computed == 0
    assert not store.exists(manifest_path("stage", "set"))
    assert len(read_manifest(store, "stage", "set")) == 2


def test_nothing_to_do_leaves_an_empty_manifest(store):
    assert run(store, []).table.num_rows == 0
    assert manifest_files(store, "stage", "set")
    assert read_manifest(store, "stage", "set") == []


def test_runs_at_the_same_time_keep_each_others_rows(store):
    names = {letter: [f"a/{letter}{n}" for n in range(6)] for letter in "xyz"}

    def one(letter: str) -> int:
        listed = jobs(store, *names[letter])
        return run(store, listed, workers=0, flush_every=0.0, keep_row=lambda row: True).kept

    with ThreadPoolExecutor(3) as pool:
        assert list(pool.map(one, "xyz")) == [6, 6, 6]
    found = {row["clip_id"] for row in read_manifest(store, "stage", "set")}
    assert found == {f"set/{name}" for each in names.values() for name in each}


def test_files_of_several_stages_are_found_in_an_object_store():
    store = Store("memory://several-stages")
    rows = [{"path": "generated/a.mp4", "audio_path": "clips/pats/ada/a.wav", "reference_path": ""}]
    rows += [{"path": "generated/gone.mp4", "audio_path": "clips/cnas/lin/b.wav"}]
    for rel in ("generated/a.mp4", "clips/pats/ada/a.wav", "clips/cnas/lin/b.wav"):
        store.write_bytes(rel, b"x")
    found = {"generated/a.mp4", "clips/pats/ada/a.wav", "clips/cnas/lin/b.wav"}
    assert existing_files(store, rows) == found
