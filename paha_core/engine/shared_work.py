"""Shares work between any number of processes through the store, on one host or on many.

There is no queue: each process goes through the same list and takes the units that are neither done
nor claimed (`engine/claims.py`). The units of a killed process are taken over by others.
"""

from __future__ import annotations

import multiprocessing
import time
from collections.abc import Callable, Iterator, Sequence
from typing import Any

from paha_core.engine.claims import try_claim
from paha_core.engine.processes import die_with_creator
from paha_core.store import Store

POLL = 2.0  # seconds between two checks of units that others have claimed


def claimed_in_turn(
    store: Store,
    folder: str,
    names: Sequence[str],
    is_done: Callable[[str], bool],
    refresh: Callable[[list[str]], None],
) -> Iterator[str]:
    """Yield each unit of work that is not done, while this process holds the claim
    `<folder>/<name>`; ends when all units are done, by whichever process.

    `refresh` updates the state of units that others may have done: it is called after a claim and
    before `is_done`. A unit is published atomically, so a claim that is lost on the way costs only
    work that is done twice. The claims are removed at the end.
    """
    waiting = [name for name in names if not is_done(name)]
    while waiting:
        progressed = False
        for name in list(waiting):
            claim = try_claim(store, f"{folder}/{name}")
            if claim is None:
                continue  # another process works on it
            try:
                refresh([name])
                if not is_done(name):
                    yield name
                    progressed = True
            finally:
                claim.release()
            waiting.remove(name)
        if waiting and not progressed:
            time.sleep(POLL)
            refresh(waiting)
        waiting = [name for name in waiting if not is_done(name)]
    store.writable.remove(f"claims/{folder}")


class GpuWorkers:
    """A process for every further GPU of this host while the block runs; the block itself gets the
    first GPU. On another device than "cuda" there are none.

    `work(*arguments, device)` must return when everything is done.
    """

    def __init__(self, work: Callable[..., object], arguments: tuple[Any, ...], device: str):
        self.work, self.arguments, self.device = work, arguments, device
        self.processes: list[multiprocessing.process.BaseProcess] = []

    def __enter__(self) -> str:
        if self.device != "cuda":
            return self.device
        import torch

        context = multiprocessing.get_context("spawn")
        for i in range(1, torch.cuda.device_count()):
            arguments = (self.work, *self.arguments, f"cuda:{i}")
            self.processes.append(context.Process(target=_run, args=arguments))
            self.processes[-1].start()
        return "cuda:0"

    def __exit__(self, kind: type[BaseException] | None, *error: object) -> None:
        """Wait for the others, whose units are then done as well; end them after an error."""
        for process in self.processes:
            if kind is not None:
                process.terminate()
            process.join()


def _run(work: Callable[..., object], *arguments: Any) -> None:
    die_with_creator()
    work(*arguments)
