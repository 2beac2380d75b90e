"""Starts one training in several processes, with torchrun's environment.

    python -m paha_core.training.launch PROCESSES GRACE_SECONDS COMMAND…

torchrun itself answers every failure with exit code 1; here a run that saved a checkpoint on
SIGTERM ends with 75, so that an orchestrator can start it again. On several hosts it is started
once on each, with torchrun's NNODES, NODE_RANK, MASTER_ADDR and MASTER_PORT set.
"""

from __future__ import annotations

import contextlib
import math
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence

from paha_core.engine.processes import INTERRUPTED, die_with_parent

AFTER_FAILURE = 60.0  # seconds: the others can't save without the process that failed
POLL = 0.1


def processes_of(wanted: int) -> int:
    """The number of processes for `trainer.processes`; 0 means one per GPU (or one)."""
    if wanted:
        return wanted
    import torch

    return torch.cuda.device_count() or 1


def launch(
    command: Sequence[str],
    processes: int,
    grace: float,
    environment: Mapping[str, str] | None = None,
) -> int:
    """Run `command` in `processes` processes of this host, with `environment` added to ours;
    returns one exit code for all.

    0 when all are done, 75 when they stopped and saved a checkpoint, else the code of the first
    that failed; the others are then ended. SIGTERM and SIGINT are passed on as SIGTERM, with
    `grace` seconds until SIGKILL; a second SIGINT kills at once.
    """
    hosts = int(os.environ.get("NNODES", "1"))
    first_rank = int(os.environ.get("NODE_RANK", "0")) * processes if hosts > 1 else 0
    shared = {"WORLD_SIZE": str(hosts * processes), "LOCAL_WORLD_SIZE": str(processes)}
    shared |= environment or {}
    if hosts == 1:
        shared |= {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(_free_port())}
    group = _ProcessGroup(grace)
    before = {s: signal.signal(s, group.request_shutdown) for s in (signal.SIGTERM, signal.SIGINT)}
    try:
        for rank in range(processes):
            own = {"RANK": str(first_rank + rank), "LOCAL_RANK": str(rank)}
            group.children.append(
                subprocess.Popen(command, env=os.environ | shared | own, preexec_fn=die_with_parent)
            )
        return group.wait()
    finally:
        group.signal(signal.SIGKILL)
        for signum, handler in before.items():
            signal.signal(signum, handler)


class _ProcessGroup:
    """The processes of one training, with a deadline for their shutdown."""

    def __init__(self, grace: float) -> None:
        self.grace, self.children = grace, list[subprocess.Popen[bytes]]()
        self.stopping = self.interrupted = False
        self.deadline = math.inf

    def request_shutdown(self, signum: int, frame: object) -> None:
        """Handles SIGTERM and SIGINT."""
        again = self.interrupted and signum == signal.SIGINT
        self.stopping, self.interrupted = True, self.interrupted or signum == signal.SIGINT
        self.shut_down_within(0.0 if again else self.grace)

    def shut_down_within(self, seconds: float) -> None:
        self.signal(signal.SIGTERM)
        self.deadline = min(self.deadline, time.monotonic() + seconds)

    def signal(self, signum: int) -> None:
        for child in self.children:
            if child.poll() is None:
                with contextlib.suppress(ProcessLookupError):
                    child.send_signal(signum)

    def wait(self) -> int:
        """One exit code for the group; a failed process limits the time of the others."""
        failed = 0
        while any(child.poll() is None for child in self.children):
            if not failed and (failed := self._failure()):
                self.shut_down_within(AFTER_FAILURE)
            if time.monotonic() > self.deadline:
                self.signal(signal.SIGKILL)
            time.sleep(POLL)
        ended = [child.returncode for child in self.children]
        return failed or self._failure() or (INTERRUPTED if any(ended) else 0)

    def _failure(self) -> int:
        """The exit code of the first process that failed, else 0. A process that SIGTERM ended
        before training began had nothing to save: no failure."""
        expected = {None, 0, INTERRUPTED} | ({-signal.SIGTERM} if self.stopping else set())
        return next(
            (child.returncode for child in self.children if child.poll() not in expected), 0
        )


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def main(arguments: list[str]) -> int:
    wanted, grace, *command = arguments
    die_with_parent()
    code = launch(command, processes_of(int(wanted)), float(grace))
    return 128 - code if code < 0 else code


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
