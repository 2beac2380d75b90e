"""Claims: one holder of a piece of work among all processes that share a store.

A claim is a file `claims/<name>/<generation>.json`. To claim is to create the next generation's
file, which a store does atomically (`Store.create`); the highest generation decides who holds the
claim. The holder rewrites its file every `BEAT` seconds. A claim can be taken over when its file is
marked `released`, when its process is gone (same host), or when its heartbeat has stopped for
`LEASE` seconds and remains so while the next claimant watches (any host, also with clocks apart).
"""

from __future__ import annotations

import json
import os
import random
import re
import socket
import threading
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from paha_core.errors import UserError
from paha_core.store import Store

BEAT = 15.0  # seconds between two heartbeats
LEASE = 60.0  # seconds without a heartbeat after which a holder on another host may be dead
WATCH = 2.5 * BEAT  # seconds that a claimant watches such a holder for a sign of life


@dataclass(frozen=True)
class Holder:
    """The holder of a claim, as recorded in its file."""

    host: str
    pid: int
    token: str  # of this claim alone: process ids come again
    started: float  # seconds since 1970, as is `beat`
    beat: float
    process_start: str = ""  # of the pid, in ticks since boot, where the system has it
    namespace: str = ""  # of the pid: containers may share a host name
    released: bool = False

    def __str__(self) -> str:
        since = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(self.started))
        return f"process {self.pid} on {self.host}, since {since}"


class ClaimedError(UserError):
    """Another process, `holder`, holds the claim."""

    def __init__(self, message: str, holder: Holder) -> None:
        super().__init__(message)
        self.holder = holder


class Claim:
    """A claim that this process holds until `release`; a thread renews it."""

    def __init__(self, store: Store, name: str, generation: int, holder: Holder) -> None:
        self.store, self.name, self.generation, self.holder = store, name, generation, holder
        self.lost = False  # another process took the claim over after the heartbeat had stopped
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._keep_alive, name=f"claim {name}", daemon=True)
        self._thread.start()

    def check(self) -> None:
        """Raises `ClaimedError` when another process has taken the claim over: this one must not
        publish then."""
        if self.lost and (holder := holder_of(self.store, self.name)):
            raise ClaimedError(
                f"{self.name} was taken over by {holder}, because this process could not renew its "
                "claim; its own work since then is not published",
                holder,
            )

    def release(self) -> None:
        """Release the claim for the next claimant."""
        self._ended.set()
        self._thread.join()
        if not self.lost:
            self._write(replace(self.holder, released=True))

    def _keep_alive(self) -> None:
        while not self._ended.wait(BEAT):
            with suppress(OSError):  # the next beat may get through
                if _latest(self.store, self.name) != self.generation:
                    self.lost = True
                    return
                self._write(replace(self.holder, beat=time.time()))

    def _write(self, holder: Holder) -> None:
        rel = _path(self.name, self.generation)
        self.store.write_bytes(rel, json.dumps(asdict(holder)).encode())


def try_claim(store: Store, name: str) -> Claim | None:
    """Claim `name`, or None when a living process holds it.

    `name` is a relative path. Takes `WATCH` seconds where a holder on another host has stopped its
    heartbeat, else a few requests.
    """
    store = store.writable
    latest = _latest(store, name)
    holder = _read(store, name, latest)
    if holder is not None and not holder.released and not _is_dead(store, name, latest, holder):
        return None
    now = time.time()
    own = Holder(
        host=socket.gethostname(),
        pid=os.getpid(),
        token=uuid.uuid4().hex,
        started=now,
        beat=now,
        process_start=_process_start(os.getpid()),
        namespace=_pid_namespace(),
    )
    generation = latest + 1
    if not store.create(_path(name, generation), json.dumps(asdict(own)).encode()):
        return None  # another claimant was faster
    if _latest(store, name) != generation:  # this generation had come and gone meanwhile
        store.remove(_path(name, generation))
        return None
    for old in _generations(store, name):
        if old < generation:
            store.remove(_path(name, old))
    return Claim(store, name, generation, own)


def holder_of(store: Store, name: str) -> Holder | None:
    """The present holder of the claim, whether or not its process still runs; None without one."""
    store = store.writable
    holder = _read(store, name, _latest(store, name))
    return None if holder is None or holder.released else holder


@contextmanager
def claimed(store: Store, name: str, what: str, wait: float = 0.0) -> Iterator[Claim]:
    """Hold the claim of `name` during the block. Raises `ClaimedError` after waiting for `wait`
    seconds; its sentence names the process that is already doing `what` ("training univdm").
    """
    deadline = time.monotonic() + wait
    claim = try_claim(store, name)
    while claim is None:
        holder = holder_of(store, name)
        if holder and time.monotonic() < deadline:
            time.sleep(random.uniform(0.1, 1.0))
        elif holder:
            raise ClaimedError(
                f"{what} in {store.url} is under way: {holder} holds it. Wait for it or stop it; a "
                "killed process' claim passes on by itself",
                holder,
            )
        claim = try_claim(store, name)  # released in between
    try:
        yield claim
    finally:
        claim.release()


def _path(name: str, generation: int) -> str:
    return f"claims/{name}/{generation:06d}.json"


def _generations(store: Store, name: str) -> list[int]:
    found = (re.search(r"/(\d+)\.json$", rel) for rel in store.glob(f"claims/{name}/*.json"))
    return sorted(int(match[1]) for match in found if match)


def _latest(store: Store, name: str) -> int:
    return max(_generations(store, name), default=0)


def _read(store: Store, name: str, generation: int) -> Holder | None:
    if not generation:
        return None
    try:
        return Holder(**json.loads(store.read_bytes(_path(name, generation))))
    except FileNotFoundError:  # a later generation removed it
        return None


def _is_dead(store: Store, name: str, generation: int, holder: Holder) -> bool:
    if (holder.host, holder.namespace) == (socket.gethostname(), _pid_namespace()):
        return not _is_running(holder)
    if time.time() - holder.beat < LEASE:
        return False
    # The clocks of two hosts may differ by more than a lease, so only a heartbeat that does not
    # change counts.
    deadline = time.monotonic() + WATCH
    while time.monotonic() < deadline:
        time.sleep(WATCH / 5)
        now = _read(store, name, generation)
        if now is None or now.beat != holder.beat:
            return False
        if now.released:
            return True
    return True


def _is_running(holder: Holder) -> bool:
    """Whether the holder's process still runs; a younger one may have its number."""
    try:
        os.kill(holder.pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return _process_start(holder.pid) == holder.process_start


def _process_start(pid: int) -> str:
    """When a process began, in clock ticks since boot (Linux); empty elsewhere, or for a zombie."""
    try:
        with open(f"/proc/{pid}/stat") as file:
            fields = file.read().rpartition(")")[2].split()
    except OSError:
        return ""
    return "" if fields[0] == "Z" else fields[19]


def _pid_namespace() -> str:
    with suppress(OSError):
        return str(Path("/proc/self/ns/pid").readlink())
    return ""
