"""Starts one training in several processes of this host, with torchrun's environment.

    python -m paha_core.training.launch PROCESSES COMMAND…

torchrun itself answers every failure with exit code 1; here a run that saved itself on SIGTERM ends
with 75, so that an orchestrator knows to start it again. For several hosts use torchrun on each.
"""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Sequence

from paha_core.processes import die_with_parent

INTERRUPTED = 75  # exit code of a trainer that saved itself and wants to be started again
GRACE = 60.0  # seconds that the others have once one has failed
POLL = 0.1


def processes_of(wanted: int) -> int:
    """How many processes: as `trainer.processes` says, 0 standing for one a GPU (or one)."""
    if wanted:
        return wanted
    import torch

    return torch.cuda.device_count() or 1


def launch(command: Sequence[str], processes: int) -> int:
    """Run `command` in `processes` processes; returns one exit code for all.

    0 when all are done, 75 when they saved themselves, else the code of the first that failed; the
    others are then ended. SIGTERM and SIGINT go to all of them.
    """
    shared = {
        "MASTER_ADDR": "127.0.0.1",
        "MASTER_PORT": str(_free_port()),
        "WORLD_SIZE": str(processes),
        "LOCAL_WORLD_SIZE": str(processes),
    }
    children: list[subprocess.Popen[bytes]] = []

    def pass_on(signum: int, frame: object) -> None:
        _signal(children, signal.SIGTERM)

    before = {s: signal.signal(s, pass_on) for s in (signal.SIGTERM, signal.SIGINT)}
    try:
        for rank in range(processes):
            own = {"RANK": str(rank), "LOCAL_RANK": str(rank)}
            children.append(
                subprocess.Popen(command, env=os.environ | shared | own, preexec_fn=die_with_parent)
            )
        return _wait(children)
    finally:
        _signal(children, signal.SIGKILL)
        for signum, handler in before.items():
            signal.signal(signum, handler)


def _wait(children: list[subprocess.Popen[bytes]]) -> int:
    """The first code that is neither 0 nor 75 decides; then the others' time is limited."""
    deadline: float | None = None
    decided = 0
    while any(child.poll() is None for child in children):
        codes = [child.poll() for child in children]
        if not decided and (bad := [c for c in codes if c not in (None, 0, INTERRUPTED)]):
            decided, deadline = int(bad[0] or 1), time.monotonic() + GRACE
            _signal(children, signal.SIGTERM)
        if deadline is not None and time.monotonic() > deadline:
            _signal(children, signal.SIGKILL)
        time.sleep(POLL)
    ended = [child.returncode for child in children]
    return decided or next((code for code in ended if code not in (0, INTERRUPTED)), max(ended))


def _signal(children: list[subprocess.Popen[bytes]], signum: int) -> None:
    for child in children:
        if child.poll() is None:
            with contextlib.suppress(ProcessLookupError):
                child.send_signal(signum)


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def main(arguments: list[str]) -> int:
    wanted, *command = arguments
    die_with_parent()
    code = launch(command, processes_of(int(wanted)))
    return 128 - code if code < 0 else code


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
