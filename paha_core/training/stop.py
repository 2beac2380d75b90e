"""Being asked to stop."""

from __future__ import annotations

import contextlib
import signal
from types import FrameType
from typing import Any


class StopFlag:
    """Within the block SIGTERM and SIGINT set `asked`, so that a step is never cut in the middle.

    A second SIGINT aborts. Outside the main thread signals are somebody else's.
    """

    def __init__(self) -> None:
        self.asked = self._interrupted = False
        self._before: dict[int, Any] = {}

    def __enter__(self) -> StopFlag:
        with contextlib.suppress(ValueError):  # not in the main thread
            for signum in (signal.SIGTERM, signal.SIGINT):
                self._before[signum] = signal.signal(signum, self._ask)
        return self

    def __exit__(self, *_: object) -> None:
        for signum, handler in self._before.items():
            signal.signal(signum, handler)

    def _ask(self, signum: int, frame: FrameType | None) -> None:
        if signum == signal.SIGINT:
            if self._interrupted:
                raise KeyboardInterrupt
            self._interrupted = True
        self.asked = True
