"""Metrics of a run while it trains: `log.jsonl`, TensorBoard, MLflow, a progress bar,
callbacks."""

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
from paha_core.training.distributed import Distributed
from paha_core.training.gradient import nanmeans
from paha_core.training.run import Metrics, Run, Scalars, TrainingState


class TrainingLogger:
    """Logs a line of metrics every `trainer.log_every` steps: means over these steps and all
    processes.

    Each process has one, only the main process writes. Skipped steps are counted and enter no mean;
    the metrics of a line of skipped steps only are null. Metrics stay on their device until the
    line.
    """

    def __init__(
        self,
        run: Run,
        config: TrainConfig,
        dist: Distributed,
        device: torch.device,
        state: TrainingState,
    ) -> None:
        self.run, self.config, self.dist, self.device = run, config, dist, device
        self.files = _LogFiles(run, state.step) if dist.is_main_process else None
        self.mlflow = None
        if dist.is_main_process and run.trainer.mlflow:
            from paha_core.training.mlflow_hook import MLflowRun

            self.mlflow = MLflowRun(run, config)
        self.pending: list[Metrics] = []  # of the steps since the last line
        self.finite: list[torch.Tensor] = []  # whether each of them was applied
        self.progress = Progress(
            config.steps - state.step if dist.is_main_process else 0, run.name, unit="step"
        )
        self.reset_timer()

    def reset_timer(self) -> None:
        """Exclude validation and checkpointing from the throughput."""
        self.started, self.steps_timed = time.monotonic(), 0

    def is_due(self, step: int) -> bool:
        """Whether a line ends with this step."""
        return step % self.run.trainer.log_every == 0 or step == self.config.steps

    def log_step(
        self, state: TrainingState, metrics: Metrics, learning_rate: float, finite: torch.Tensor
    ) -> None:
        """Add the metrics of one step, and whether it was `finite`; `state` is that after it."""
        self.steps_timed += 1
        self.pending.append(metrics)
        self.finite.append(finite)
        if self.is_due(state.step):
            steps, line = len(self.pending), {"loss": math.nan} | self._means()
            if self.dist.is_main_process:
                self.progress.update(steps, note=f"loss {line['loss']:.4f}")
            rate = self.steps_timed / max(time.monotonic() - self.started, 1e-9)
            line |= {
                "learning_rate": learning_rate,
                "skipped_steps": state.skipped_steps,
                "samples_per_second": rate * self.config.batch,
                "memory_gib": memory_gib(self.device),
            }
            self.log(state.step, line)
            self.reset_timer()

    def _means(self) -> Scalars:
        """Mean metrics over the steps since the last line; every process must call it."""
        steps = zip(self.pending, torch.stack(self.finite).tolist(), strict=True)
        taken = [metrics for metrics, finite in steps if finite]
        means = nanmeans(taken or [dict.fromkeys(self.pending[0], math.nan)])
        self.pending, self.finite = [], []
        own = [torch.as_tensor(value).float().to(self.device) for value in means.values()]
        values = self.dist.nanmean(torch.stack(own)).tolist()
        return as_numbers(dict(zip(means, values, strict=True)))

    def log(self, step: int, metrics: Scalars) -> None:
        """One line of metrics to the files and to the run's callback."""
        if self.files is not None:
            self.files.write(step, metrics)
            self.run.on_metrics(step, as_numbers(metrics))
        if self.mlflow is not None:
            self.mlflow.log(step, as_numbers(metrics))

    def publish(self) -> None:
        """Upload the log so far, for stores in which a file can't grow."""
        if self.files is not None:
            self.files.publish()

    def __enter__(self) -> TrainingLogger:
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        self.progress.close()
        if self.files is not None:
            self.files.close()
        if self.mlflow is not None:
            self.mlflow.close(finished=kind is None)


class _LogFiles:
    """In a local store `log.jsonl` and TensorBoard's events grow line by line, in others the first
    is published at each checkpoint. Lines beyond `step` are cut off."""

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

    def write(self, step: int, metrics: Scalars) -> None:
        values = {n: round(v, 8) if math.isfinite(v) else None for n, v in metrics.items()}
        line = json.dumps({"step": step} | values) + "\n"
        self.text += line
        if self.store.is_local:
            with open(self.store.growing(self.rel), "a") as file:
                file.write(line)
        if self.board is not None:
            for name, value in as_numbers(metrics).items():
                self.board.add_scalar(name, value, step)

    def publish(self) -> None:
        self.store.write_bytes(self.rel, self.text.encode())

    def close(self) -> None:
        self.publish()
        if self.board is not None:
            self.board.close()


def _step_of(line: str) -> float:
    """The step of a line; infinity for one that a kill cut off."""
    try:
        return float(json.loads(line)["step"])
    except ValueError:
        return math.inf


def as_numbers(metrics: Metrics) -> Scalars:
    """Metrics as floats, which reads them from their device; those that are not finite are left
    out."""
    numbers = {name: float(value) for name, value in metrics.items()}
    return {name: value for name, value in numbers.items() if math.isfinite(value)}


def memory_gib(device: torch.device) -> float:
    """The peak of memory so far: a GPU's by tensors, or this process' on the host. GiB."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device) / 2**30
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / (2**30 if sys.platform == "darwin" else 2**20)
