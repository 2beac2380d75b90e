"""Batches prepared ahead by worker threads; every step gets the same batch as without them."""

from __future__ import annotations

import threading
from concurrent.futures import Future, ThreadPoolExecutor

from paha_core.shards.windows import Batch, Batches


class Prefetched:
    """Prepares the batches of the next steps while the caller uses the present one.

        batches = Prefetched(WindowBatches(reader, 8, 32, 2, seed=0), workers=2)
        batch = batches.batch_at(step)

    A batch is a pure function of its step, so neither the number of workers nor where a run resumes
    changes the batches: each is made once, by one of `workers` threads (reading, checksums and
    copies release Python's lock). At most `depth` steps are ahead. Safe to share between threads. A
    bad shard raises at the step that needs it.
    """

    def __init__(self, batches: Batches, *, workers: int = 1, depth: int = 2) -> None:
        self.batches, self.depth = batches, depth
        self._pool = ThreadPoolExecutor(workers, thread_name_prefix="batches")
        self._pending: dict[int, Future[Batch]] = {}
        self._lock = threading.Lock()

    def batch_at(self, step: int) -> Batch:
        """The same as that of the wrapped `batches`."""
        with self._lock:
            # Drop stale steps: the caller went back or skipped ahead.
            for other in [s for s in self._pending if abs(s - step) > 4 * self.depth]:
                self._pending.pop(other).cancel()
            for wanted in range(step, step + 1 + self.depth):
                if wanted not in self._pending:
                    self._pending[wanted] = self._pool.submit(self.batches.batch_at, wanted)
            present = self._pending.pop(step)
        return present.result()

    def close(self) -> None:
        """Stop the workers after their present batch."""
        self._pool.shutdown(wait=True, cancel_futures=True)

    def __enter__(self) -> Prefetched:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
