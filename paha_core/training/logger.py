"""What a run says of itself while it trains: `log.jsonl`, TensorBoard, a bar, listeners."""

from __future__ import annotations

import json
import math
import resource
import sys
import time
from typing import Any

import torch

from paha_core.config import TrainConfig
from paha_core.engine.progress import Progress
from paha_core.training.distributed import Ranks
from paha_core.training.gradient import means
from paha_core.training.run import Figures, Run, State, Told


class Journal:
    """Every `trainer.log_every` steps a line of figures: means over these steps and all processes.

    Each process has one, the first one's speaks. Steps that were skipped are counted and belong to
    no mean; a figure of skipped steps alone is null.
    """

    def __init__(
        self, run: Run, config: TrainConfig, ranks: Ranks, device: torch.device, state: State
    ) -> None:
        self.run, self.config, self.ranks, self.device = run, config, ranks, device
        self.log = _Log(run, state.step) if ranks.first else None
        self.told: list[Told] = []  # of the steps since the last line
        self.progress = Progress(
            config.steps - state.step if ranks.first else 0, run.name, unit="step"
        )
        self.go_on()

    def go_on(self) -> None:
        """Steps are timed from here: what came between was not theirs."""
        self.clock, self.counted = time.monotonic(), 0

    def step(self, state: State, told: Told, learning_rate: float, taken: bool) -> None:
        """What a step told, and whether it was `taken`; `state` is that after it."""
        self.counted += 1
        if taken:
            self.told.append(told)
        if self.ranks.first:
            note = f"loss {told['loss'].item():.4f}"
            self.progress.update(note=note if taken else "not finite, skipped")
        if state.step % self.run.trainer.log_every == 0 or state.step == self.config.steps:
            figures = {"loss": math.nan} | self._means()
            rate = self.counted / max(time.monotonic() - self.clock, 1e-9)
            figures |= {
                "learning_rate": learning_rate,
                "skipped_steps": state.skipped_steps,
                "samples_per_second": rate * self.config.batch,
                "memory_gib": memory_gib(self.device),
            }
            self.tell(state.step, figures)
            self.go_on()

    def _means(self) -> Figures:
        """Over the steps since the last line; every process takes part."""
        if not self.told:
            return {}
        found, self.told = means(self.told), []
        own = [torch.as_tensor(value).float().to(self.device) for value in found.values()]
        values = self.ranks.means(torch.stack(own)).tolist()
        return as_numbers(dict(zip(found, values, strict=True)))

    def tell(self, step: int, figures: Figures) -> None:
        """A line of figures to everyone who listens."""
        if self.log is not None:
            self.log.write(step, figures)
            self.run.on_figures(step, as_numbers(figures))

    def publish(self) -> None:
        """The log so far, for stores where it can't grow."""
        if self.log is not None:
            self.log.publish()

    def __enter__(self) -> Journal:
        return self

    def __exit__(self, *_: object) -> None:
        self.progress.close()
        if self.log is not None:
            self.log.close()


class _Log:
    """The files. In a local store `log.jsonl` and TensorBoard's events grow line by line, in others
    the first is published now and then. Lines beyond `step` are cut off."""

    def __init__(self, run: Run, step: int) -> None:
        self.store, self.rel = run.store, f"{run.folder}/log.jsonl"
        before = run.store.read_bytes(self.rel).decode() if run.store.exists(self.rel) else ""
        self.text = "".join(line for line in before.splitlines(True) if _step_of(line) <= step)
        self.publish()
        self.board: Any = None
        if run.store.is_local and run.trainer.tensorboard:
            from torch.utils.tensorboard import SummaryWriter

            folder = run.store.growing(f"{run.folder}/tensorboard")
            self.board = SummaryWriter(str(folder), purge_step=step + 1)

    def write(self, step: int, figures: Figures) -> None:
        told = {n: round(v, 8) if math.isfinite(v) else None for n, v in figures.items()}
        line = json.dumps({"step": step} | told) + "\n"
        self.text += line
        if self.store.is_local:
            with open(self.store.growing(self.rel), "a") as file:
                file.write(line)
        if self.board is not None:
            for name, value in as_numbers(figures).items():
                self.board.add_scalar(name, value, step)

    def publish(self) -> None:
        self.store.write_bytes(self.rel, self.text.encode())

    def close(self) -> None:
        self.publish()
        if self.board is not None:
            self.board.close()


def _step_of(line: str) -> float:
    """The step of a line; of one that a kill cut off, beyond all."""
    try:
        return float(json.loads(line)["step"])
    except ValueError:
        return math.inf


def as_numbers(told: Told) -> Figures:
    """Figures as floats, read from their device here; what is not finite is left out."""
    numbers = {name: float(value) for name, value in told.items()}
    return {name: value for name, value in numbers.items() if math.isfinite(value)}


def memory_gib(device: torch.device) -> float:
    """The most memory held so far: a GPU's by tensors, or this process' on the host. GiB."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device) / 2**30
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / (2**30 if sys.platform == "darwin" else 2**20)
