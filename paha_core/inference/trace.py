"""Times of a generation, and metrics of its guided steps."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

import torch

StepMetrics = dict[str, float | None]
"""Metrics of one guided step; None where a classifier did not guide."""


@dataclass
class Trace:
    """Times are seconds of the whole batch."""

    solver: float = 0.0
    classifiers: float = 0.0
    codec: float = 0.0
    segments: int = 0
    steps: list[StepMetrics] = field(default_factory=list)

    def add(self, parts: list[Trace], rows: list[int]) -> None:
        """Add a segment whose batch was denoised in `parts` of so many `rows`, side by side.

        Times are those of the slower part; a step's metrics are means over the batch.
        """
        slowest = max(parts, key=lambda part: part.solver + part.classifiers)
        self.solver += slowest.solver
        self.classifiers += slowest.classifiers
        self.segments += 1
        for step in zip(*(part.steps for part in parts), strict=True):
            self.steps.append({name: _mean([s[name] for s in step], rows) for name in step[0]})


def _mean(values: list[float | None], rows: list[int]) -> float | None:
    known = [value * n for value, n in zip(values, rows, strict=True) if value is not None]
    return sum(known) / sum(rows) if known else None


class Stopwatch:
    """Seconds of device time within `with stopwatch.running():`. On a GPU it records events and
    reads them at the end, because synchronising at every step would slow down what is timed.
    """

    def __init__(self, device: torch.device) -> None:
        self.device = device
        self._seconds = 0.0
        self._spans: list[tuple[torch.cuda.Event, torch.cuda.Event]] = []

    @contextmanager
    def running(self) -> Iterator[None]:
        if self.device.type == "cuda":
            start, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
            stream = torch.cuda.current_stream(self.device)
            start.record(stream)
            yield
            end.record(stream)
            self._spans.append((start, end))
        else:
            started = time.perf_counter()
            yield
            self._seconds += time.perf_counter() - started

    def seconds(self) -> float:
        """The seconds so far; synchronises with a GPU."""
        if self._spans:
            torch.cuda.synchronize(self.device)
        return self._seconds + sum(a.elapsed_time(b) for a, b in self._spans) / 1000
