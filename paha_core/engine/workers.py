"""Where per-clip work runs: in this process, over local processes, or on a Ray cluster.

`outcomes(payloads, work, workers)` is the one way in: it yields each payload's outcome as it is
done. A `Rejection` is an outcome; so is a worker that was killed or took too long. Any other
exception is a bug or a failure of the run itself (a full disk), and propagates.
"""

from __future__ import annotations

import multiprocessing
import os
import signal
import time
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from typing import Any, Literal, cast

from paha_core.engine.processes import die_with_parent, quiet_native_stderr
from paha_core.errors import UserError

Workers = int | Literal["ray"]  # local processes (0: in this one), or those of a Ray cluster
Columns = Mapping[str, Any]  # a stage's own columns of one row
RowFunction = Callable[[Any], Columns]


class Rejection(Exception):
    """An input that can't be used, with the reason as a sentence. `columns`: values that its row
    has all the same.
    """

    def __init__(self, reason: str = "", **columns: Any) -> None:
        super().__init__(reason)
        self.columns = columns


class TransientError(Rejection):
    """A rejection that is not the input's fault (a worker was killed, a network was down): the next
    run tries again."""


Outcome = Columns | Rejection


def cores() -> int:
    """The number of cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def outcomes(
    payloads: Sequence[Any], work: RowFunction, workers: Workers, limit: float | None = None
) -> Iterator[tuple[int, Outcome]]:
    """The number of each payload and its outcome, in the order in which they are done.

    `limit`: seconds; work that takes longer loses its worker process and is rejected (not in this
    process).
    """
    if workers == "ray":
        yield from _on_ray(payloads, work, limit)
    elif workers == 0:
        for number, payload in enumerate(payloads):
            yield number, _attempt(work, payload)
    else:
        yield from _over_processes(payloads, work, workers, limit)


@contextmanager
def unlimited() -> Iterator[None]:
    """Time in here (a download, a lock that others hold) doesn't count against the limit."""
    left, _ = signal.setitimer(signal.ITIMER_REAL, 0)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, left)


def _attempt(work: RowFunction, payload: Any, limit: float | None = None) -> Outcome:
    if limit is not None:
        # The default action of SIGALRM ends the process, also when it hangs in a library's code.
        signal.setitimer(signal.ITIMER_REAL, limit)
    try:
        return work(payload)
    except Rejection as rejection:
        return rejection
    finally:
        if limit is not None:
            signal.setitimer(signal.ITIMER_REAL, 0)


def _ended(seconds: float, limit: float | None) -> Rejection:
    """The rejection of work whose process died after that many seconds."""
    if limit is not None and seconds >= limit:
        return Rejection(f"processing this clip took longer than {limit:g} s")
    return TransientError("processing this clip killed its worker process")


# --- local processes -----------------------------------------------------------------------------


def _over_processes(
    payloads: Sequence[Any], work: RowFunction, workers: int, limit: float | None
) -> Iterator[tuple[int, Outcome]]:
    queue = list(range(len(payloads)))
    while queue:
        suspects, queue = yield from _run_pool(queue, payloads, work, workers, limit)
        # A killed worker breaks the whole pool. The jobs that were running are tried one by one, so
        # that only the culprit is rejected.
        for number in suspects:
            yield number, _alone(work, payloads[number], limit)


def _run_pool(
    queue: list[int], payloads: Sequence[Any], work: RowFunction, workers: int, limit: float | None
) -> Generator[tuple[int, Outcome], None, tuple[list[int], list[int]]]:
    """Yields outcomes; returns (those in flight when the pool broke, those not started)."""
    waiting = list(reversed(queue))
    running: dict[Future[Any], int] = {}
    with _pool(min(workers, len(queue))) as pool:
        while waiting or running:
            while waiting and len(running) < 2 * workers:
                number = waiting.pop()
                try:
                    running[pool.submit(_attempt, work, payloads[number], limit)] = number
                except BrokenProcessPool:
                    return [*running.values(), number], list(reversed(waiting))
            done, _ = wait(running, return_when=FIRST_COMPLETED)
            broken = False
            for future in done:
                if isinstance(future.exception(), BrokenProcessPool):
                    broken = True
                else:
                    yield running.pop(future), future.result()
            if broken:
                return list(running.values()), list(reversed(waiting))
    return [], []


def _pool(workers: int) -> ProcessPoolExecutor:
    context = multiprocessing.get_context("spawn")
    return ProcessPoolExecutor(workers, mp_context=context, initializer=_begin)


def _begin() -> None:
    """Initialises a worker process."""
    die_with_parent()
    quiet_native_stderr()


def _alone(work: RowFunction, payload: Any, limit: float | None) -> Outcome:
    with _pool(1) as pool:
        # The limit counts from when the process has started, since a failed start is not the clip's
        # fault.
        pool.submit(_ready, work).result()
        started = time.monotonic()
        try:
            return pool.submit(_attempt, work, payload, limit).result()
        except BrokenProcessPool:
            return _ended(time.monotonic() - started, limit)


def _ready(work: RowFunction) -> None:
    """Runs in a new worker process to show that it is up, with all imports that the work needs."""


# --- Ray -----------------------------------------------------------------------------------------


def _on_ray(
    payloads: Sequence[Any], work: RowFunction, limit: float | None
) -> Iterator[tuple[int, Outcome]]:
    """A task of one core each, on the cluster that RAY_ADDRESS names or else on this machine.

    Raises `UserError` where a node lacks what the payloads name, before any work starts.
    """
    try:
        import ray
    except ImportError:
        raise UserError("`executor: ray` needs Ray: pip install 'paha[ray]'") from None
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    if not ray.is_initialized():
        ray.init(log_to_driver=False)
    from paha_core.engine.ray_nodes import PLAIN_PRIORITY, check_nodes

    check_nodes(payloads)
    task = ray.remote(num_cpus=1, max_retries=0, runtime_env=PLAIN_PRIORITY)(_attempt)
    waiting = list(reversed(range(len(payloads))))
    running: dict[Any, int] = {}
    while waiting or running:
        room = 2 * int(ray.cluster_resources().get("CPU", 1))
        while waiting and len(running) < room:
            number = waiting.pop()
            running[task.remote(work, payloads[number], limit)] = number
        for done in ray.wait(list(running))[0]:
            yield running.pop(done), _from_ray(done)


def _from_ray(done: Any) -> Outcome:
    import ray
    from ray.exceptions import NodeDiedError, OutOfMemoryError, RayTaskError, WorkerCrashedError

    try:
        return cast(Outcome, ray.get(done))
    except RayTaskError as error:
        raise error.cause from None  # a bug, or the run's own trouble: as it was
    except (NodeDiedError, OutOfMemoryError, WorkerCrashedError):
        return TransientError("its worker process was killed, or took longer than it may")
