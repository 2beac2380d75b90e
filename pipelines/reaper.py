"""Ends runs whose process is gone.

After a `kill -9` a Dagster run remains STARTED and keeps its pool slot forever, so that later runs
wait. Such a run's first engine event holds its process id, a tag the machine.
"""

from __future__ import annotations

import os
import socket
from datetime import datetime
from pathlib import Path

import dagster as dg

from pipelines.jobs import HOST_TAG

UNFINISHED = [dg.DagsterRunStatus.STARTED, dg.DagsterRunStatus.CANCELING]


def reap(instance: dg.DagsterInstance) -> list[str]:
    """Fail every run of this machine whose process is gone, free its slots; returns their ids.

    A run without the machine's tag (materialised by hand in the UI) is taken for one of this
    machine. Where runs have containers of their own, the id says nothing here, and Dagster's own
    monitoring asks the launcher.
    """
    if not type(instance.run_launcher).__module__.startswith("dagster."):
        return []
    reaped = []
    for run in instance.get_runs(filters=dg.RunsFilter(statuses=UNFINISHED)):
        if run.tags.get(HOST_TAG, socket.gethostname()) != socket.gethostname():
            continue
        found = _process_of(instance, run.run_id)
        if found is None or _is_alive(*found):
            continue
        instance.report_run_failed(run, f"its process {found[0]} is gone: killed, or out of memory")
        instance.event_log_storage.free_concurrency_slots_for_run(run.run_id)
        reaped.append(run.run_id)
    return reaped


def _process_of(instance: dg.DagsterInstance, run_id: str) -> tuple[int, float] | None:
    """The run's process id, and when (seconds since 1970) it was recorded; None before that."""
    records = instance.get_records_for_run(
        run_id, of_type=dg.DagsterEventType.ENGINE_EVENT, ascending=True
    ).records
    for record in records:
        event = record.event_log_entry.get_dagster_event()
        if event.step_key is not None:
            continue
        pid = event.engine_event_data.metadata.get("pid")
        if pid is not None:
            return int(str(pid.value)), record.event_log_entry.timestamp
    return None


def _is_alive(pid: int, seen: float) -> bool:
    """Whether the process that was recorded at `seen` still runs; a younger process may have its
    id."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    folder = Path(f"/proc/{pid}")
    try:
        state = (folder / "stat").read_text().rpartition(")")[2].split()[0]
        started = folder.stat().st_ctime
    except OSError:
        return not Path("/proc/self").exists()  # gone just now, or a system without /proc
    return state != "Z" and datetime.fromtimestamp(started).timestamp() <= seen + 1
