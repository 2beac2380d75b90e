"""Batches prepared ahead by worker threads; every step gets the same batch as without them."""

from __future__ import annotations

import threading
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Generic, Protocol, Self, TypeVar


class Pinnable(Protocol):
    """A batch that can be copied to page-locked memory, from which a GPU copies without waiting."""

    def pin_memory(self) -> Self: ...


BatchT = TypeVar("BatchT", bound=Pinnable)
BatchT_co = TypeVar("BatchT_co", bound=Pinnable, covariant=True)


class BatchSource(Protocol[BatchT_co]):
    def batch_at(self, step: int, /) -> BatchT_co: ...


class Prefetched(Generic[BatchT]):
    """Prepares the batches of the next steps while the caller uses the present one.

        batches = Prefetched(WindowBatches(reader, 8, 32, 2, seed=0), workers=2)
        batch = batches.batch_at(step)

    A batch is a pure function of its step, so neither the number of workers nor where a run resumes
    changes the batches: each is made once, by one of `workers` threads (reading, checksums and
    copies release Python's lock). At most `depth` steps are ahead. With `pin` they are in
    page-locked memory. Safe to share between threads. A bad shard raises at the step that needs it.
    """

    def __init__(
        self, batches: BatchSource[BatchT], *, workers: int = 1, depth: int = 2, pin: bool = False
    ) -> None:
        self.batches, self.depth, self.pin = batches, depth, pin
        self._pool = ThreadPoolExecutor(workers, thread_name_prefix="batches")
        self._pending: dict[int, Future[BatchT]] = {}
        self._lock = threading.Lock()

    def batch_at(self, step: int) -> BatchT:
        """The same as that of the wrapped `batches`."""
        with self._lock:
            # Drop stale steps: the caller went back or skipped ahead.
            for other in [s for s in self._pending if abs(s - step) > 4 * self.depth]:
                self._pending.pop(other).cancel()
            for wanted in range(step, step + 1 + self.depth):
                if wanted not in self._pending:
                    self._pending[wanted] = self._pool.submit(self._make, wanted)
            present = self._pending.pop(step)
        return present.result()

    def _make(self, step: int) -> BatchT:
        batch = self.batches.batch_at(step)
        return batch.pin_memory() if self.pin else batch

    def close(self) -> None:
        """Stop the workers after their present batch."""
        self._pool.shutdown(wait=True, cancel_futures=True)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
