"""Batches made ahead by worker threads, without changing what any step gets."""

from __future__ import annotations

import threading
from concurrent.futures import Future, ThreadPoolExecutor

from paha_core.shards.windows import Batch, Batches


class Prefetched:
    """Other batches, the next steps' made while the caller works on the present one.

        batches = Prefetched(WindowBatches(reader, 8, 32, 2, seed=0), workers=2)
        batch = batches.batch_at(step)

    A batch is a pure function of its step, so neither the number of workers nor where a run resumes
    changes anything: each step is made once, by one of `workers` threads (reading, checksums and
    copies release Python's lock). At most `depth` steps are ahead. Safe to share between threads. A
    bad shard's error surfaces at the step that needs it.
    """

    def __init__(self, batches: Batches, *, workers: int = 1, depth: int = 2) -> None:
        self.batches, self.depth = batches, depth
        self._pool = ThreadPoolExecutor(workers, thread_name_prefix="batches")
        self._coming: dict[int, Future[Batch]] = {}
        self._lock = threading.Lock()

    def batch_at(self, step: int) -> Batch:
        """As that of the batches behind it."""
        with self._lock:
            # Steps that nobody came for: the caller went back or leapt ahead.
            for other in [s for s in self._coming if abs(s - step) > 4 * self.depth]:
                self._coming.pop(other).cancel()
            for wanted in range(step, step + 1 + self.depth):
                if wanted not in self._coming:
                    self._coming[wanted] = self._pool.submit(self.batches.batch_at, wanted)
            present = self._coming.pop(step)
        return present.result()

    def close(self) -> None:
        """Stop the workers after the batch they are at."""
        self._pool.shutdown(wait=True, cancel_futures=True)

    def __enter__(self) -> Prefetched:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
