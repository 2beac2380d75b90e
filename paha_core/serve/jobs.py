"""The queue of videos to generate: one SQLite file, so that it survives a restart or a kill."""

from __future__ import annotations

import json
import sqlite3
import threading
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal, TypedDict

JobState = Literal["queued", "running", "cancelling", "done", "failed", "cancelled"]
FINISHED: tuple[JobState, ...] = ("done", "failed", "cancelled")

_SCHEMA = """
create table if not exists videos (
    id text primary key, state text not null, created real not null, started real, finished real,
    settings text not null, image text not null, audio text not null,
    done integer not null default 0, total integer not null default 0,
    message text not null default ''
);
create index if not exists by_state on videos (state, created);
"""


class Job(TypedDict):
    """One row of the queue."""

    id: str
    state: JobState
    created: float
    started: float | None
    finished: float | None
    settings: dict[str, Any]
    image: str  # file name inside the job's folder
    audio: str
    done: int  # segments generated
    total: int
    message: str  # why it failed, or a note on the video


class QueueFull(Exception):
    """The queue is full."""


class Jobs:
    """The queue in `folder/queue.sqlite`; each job has `folder/<id>/` for its files.

    Safe to use from several threads: each has a connection of its own.
    """

    def __init__(self, folder: Path, capacity: int = 16) -> None:
        self.folder, self.capacity = folder, capacity
        folder.mkdir(parents=True, exist_ok=True)
        self._local = threading.local()
        with self._database() as database:
            database.executescript(_SCHEMA)

    def place(self, job_id: str) -> Path:
        """The folder of one job's files."""
        return self.folder / job_id

    @staticmethod
    def new_id() -> str:
        return uuid.uuid4().hex

    def has_room(self) -> bool:
        return self.waiting() < self.capacity

    def submit(self, job_id: str, image: str, audio: str, settings: dict[str, Any]) -> Job:
        """Add a job whose files lie in its folder. Raises `QueueFull`."""
        with self._database() as database:
            row = database.execute(
                "insert into videos (id, state, created, settings, image, audio) "
                "select ?, 'queued', ?, ?, ?, ? where "
                "(select count(*) from videos where state = 'queued') < ? returning *",
                (job_id, time.time(), json.dumps(settings), image, audio, self.capacity),
            ).fetchone()
        if row is None:
            raise QueueFull(f"{self.capacity} videos are waiting")
        return _job(row)

    def take(self) -> Job | None:
        """The oldest queued job, now running; None when none waits."""
        with self._database() as database:
            row = database.execute(
                "update videos set state = 'running', started = ? where id = (select id from "
                "videos where state = 'queued' order by created limit 1) returning *",
                (time.time(),),
            ).fetchone()
        return None if row is None else _job(row)

    def get(self, job_id: str) -> Job | None:
        with self._database() as database:
            row = database.execute("select * from videos where id = ?", (job_id,)).fetchone()
        return None if row is None else _job(row)

    def newest(self) -> list[Job]:
        """All jobs, the one submitted last first."""
        with self._database() as database:
            rows = database.execute("select * from videos order by created desc").fetchall()
        return [_job(row) for row in rows]

    def progress(self, job_id: str, done: int, total: int) -> None:
        with self._database() as database:
            database.execute(
                "update videos set done = ?, total = ? where id = ?", (done, total, job_id)
            )

    def finish(self, job_id: str, state: JobState, message: str = "") -> None:
        with self._database() as database:
            database.execute(
                "update videos set state = ?, message = ?, finished = ? where id = ?",
                (state, message, time.time(), job_id),
            )

    def cancel(self, job_id: str) -> None:
        """A queued job is cancelled at once, a running one before its next sampling step."""
        with self._database() as database:
            database.execute(
                "update videos set state = case state when 'queued' then 'cancelled' else "
                "'cancelling' end, finished = case state when 'queued' then ? end "
                "where id = ? and state in ('queued', 'running')",
                (time.time(), job_id),
            )

    def recover(self) -> int:
        """Queue again what was running when the process ended; returns how many."""
        with self._database() as database:
            database.execute(
                "update videos set state = 'cancelled', finished = ? where state = 'cancelling'",
                (time.time(),),
            )
            return database.execute(
                "update videos set state = 'queued', done = 0, started = null "
                "where state = 'running'"
            ).rowcount

    def requeue(self, job_id: str) -> None:
        """Give back a job that was not finished."""
        with self._database() as database:
            database.execute(
                "update videos set state = 'queued', done = 0, started = null where id = ?",
                (job_id,),
            )

    def expired(self, before: float) -> list[str]:
        """Ids of finished jobs older than `before` (seconds since the epoch)."""
        with self._database() as database:
            rows = database.execute(
                f"select id from videos where state in {FINISHED} and finished < ?", (before,)
            ).fetchall()
        return [row["id"] for row in rows]

    def forget(self, job_id: str) -> None:
        with self._database() as database:
            database.execute("delete from videos where id = ?", (job_id,))

    def waiting(self) -> int:
        return self.counts().get("queued", 0)

    def ahead_of(self, job: Job) -> int:
        """How many jobs run before this one."""
        with self._database() as database:
            row = database.execute(
                "select count(*) from videos where state in ('running', 'cancelling') or "
                "(state = 'queued' and created < ?)",
                (job["created"],),
            ).fetchone()
        return int(row[0])

    def counts(self) -> dict[str, int]:
        with self._database() as database:
            rows = database.execute("select state, count(*) as n from videos group by state")
            return {row["state"]: row["n"] for row in rows}

    @contextmanager
    def _database(self) -> Iterator[sqlite3.Connection]:
        """This thread's connection, in a transaction."""
        connection = getattr(self._local, "connection", None)
        if connection is None:
            connection = sqlite3.connect(self.folder / "queue.sqlite", timeout=30)
            connection.row_factory = sqlite3.Row
            connection.execute("pragma journal_mode = wal")
            self._local.connection = connection
        with connection:
            yield connection


def _job(row: sqlite3.Row) -> Job:
    values = dict(row)
    values["settings"] = json.loads(values["settings"])
    return Job(**values)  # type: ignore[typeddict-item]
