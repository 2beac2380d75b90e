"""Progress of long work: a bar on a terminal, a line now and then in a log."""

from __future__ import annotations

import logging
import sys
import time
from typing import Any

log = logging.getLogger("paha")


class Progress:
    """Counts `total` units of work with their rate and the time left.

    On a terminal it draws a bar (tqdm); elsewhere it logs at most one line every `every` seconds,
    because bars flood logs.
    """

    def __init__(self, total: int, what: str, unit: str = "clip", every: float = 15.0) -> None:
        self.total, self.what, self.unit, self.every = total, what, unit, every
        self.done = 0
        self.started = self.last = time.monotonic()
        self.bar: Any = None
        if sys.stderr.isatty() and total:
            self.bar = self._bar()

    def _bar(self) -> Any:
        from tqdm import tqdm

        return tqdm(total=self.total, desc=self.what, unit=self.unit, dynamic_ncols=True)

    def update(self, n: int = 1, note: str = "") -> None:
        self.done += n
        if self.bar is not None:
            self.bar.set_postfix_str(note, refresh=False)
            self.bar.update(n)
            return
        now = time.monotonic()
        if now - self.last >= self.every:
            self.last = now
            rate = self.done / max(now - self.started, 1e-9)
            left = (self.total - self.done) / max(rate, 1e-9)
            tail = f", {note}" if note else ""
            log.info(
                "%s: %d of %d, %.3g %ss/s, %s left%s",
                *(self.what, self.done, self.total, rate, self.unit, duration(left), tail),
            )

    def reach(self, done: int, total: int) -> None:
        """For callbacks that report `done` and `total` together."""
        self.total = total
        if self.bar is None and sys.stderr.isatty():
            self.bar = self._bar()
        self.update(done - self.done)

    def close(self) -> None:
        if self.bar is not None:
            self.bar.close()

    def __enter__(self) -> Progress:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def duration(seconds: float) -> str:
    """A duration for display: `40 s`, `12 min`, `5 h 03 min`."""
    if seconds < 99.5:
        return f"{seconds:.0f} s"
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes < 100 else f"{minutes // 60} h {minutes % 60:02d} min"
