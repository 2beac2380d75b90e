"""What a run says of itself while it trains: `log.jsonl`, and TensorBoard's event files."""

from __future__ import annotations

import contextlib
import json
import math
import resource
import sys
from collections.abc import Iterator
from typing import Any

import torch

from paha_core.training.run import Figures, Run


class Journal:
    """One line of figures a while; lines after the step a run resumes from are dropped.

    `log.jsonl` is published with each checkpoint, TensorBoard's events (local stores) at once.
    """

    def __init__(self, run: Run, step: int) -> None:
        self.run, self.rel = run, f"{run.folder}/log.jsonl"
        text = run.store.read_bytes(self.rel).decode() if run.store.exists(self.rel) else ""
        old = [json.loads(line) for line in text.splitlines()]
        self.lines = [line for line in old if line["step"] <= step]
        self.board: Any = None
        if run.trainer.tensorboard and run.store.is_local:
            from torch.utils.tensorboard import SummaryWriter

            folder = run.store.full(f"{run.folder}/tensorboard")
            self.board = SummaryWriter(folder, purge_step=step + 1 if step else None)

    def write(self, step: int, figures: Figures) -> None:
        self.lines.append({"step": step} | {k: round(v, 8) for k, v in figures.items()})
        if self.board is not None:
            for name, value in figures.items():
                self.board.add_scalar(name, value, step)

    def publish(self) -> None:
        text = "".join(json.dumps(line) + "\n" for line in self.lines)
        self.run.store.write_bytes(self.rel, text.encode())
        if self.board is not None:
            self.board.flush()

    def close(self) -> None:
        if self.board is not None:
            self.board.close()


def as_numbers(told: dict[str, Any]) -> Figures:
    """Figures as floats, read from their device here; what is not finite is left out."""
    numbers = {name: float(value) for name, value in told.items()}
    return {name: value for name, value in numbers.items() if math.isfinite(value)}


def memory_gib(device: torch.device) -> float:
    """The most memory held so far: a GPU's by tensors, or this process' on the host. GiB."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device) / 2**30
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / (2**30 if sys.platform == "darwin" else 2**20)


@contextlib.contextmanager
def closing(journal: Journal | None) -> Iterator[Journal | None]:
    """Close the journal however the run ends."""
    try:
        yield journal
    finally:
        if journal is not None:
            journal.close()
