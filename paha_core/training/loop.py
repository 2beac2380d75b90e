"""The one training loop: codec, UniVDM, classifiers and pose autoencoder all go through `fit`.

A run is a pure function of its task and settings: every step draws its noise and its data from the
step's number, never from a running state. So a checkpoint is weights, optimizer and the step, and a
run that was killed goes on to the same losses, to the last bit, as one that was not. The same code
runs in one process and, started by a launcher (`torchrun`, `accelerate launch`, `paha train univdm`
with `trainer.processes`), in many.
"""

from __future__ import annotations

import contextlib
import logging
import math
import signal
import time
from types import FrameType

import torch
from torch import nn

from paha_core.config import TrainConfig
from paha_core.errors import Interrupted
from paha_core.progress import Progress
from paha_core.training import checkpoints
from paha_core.training.average import Average
from paha_core.training.gradient import Gradient
from paha_core.training.journal import Journal, as_numbers, closing, memory_gib
from paha_core.training.ranks import Ranks, join
from paha_core.training.run import Figures, Run, Task, Told, TrainingError

log = logging.getLogger("paha")


def fit(task: Task, config: TrainConfig, run: Run) -> bool:
    """Train `task` to `config.steps` steps, from the last checkpoint if there is one.

    Returns whether anything had to be done. Raises `Interrupted` on SIGTERM after saving, and
    `TrainingError` when more than `config.max_bad_steps` steps had a loss or gradient that was not
    finite, or the memory does not suffice.
    """
    if run.is_done():
        return False
    # 1. set-up
    device = next(task.model.parameters()).device
    ranks = _ranks(task, run, device)
    optimizer = torch.optim.AdamW(
        task.model.parameters(),
        lr=config.learning_rate,
        weight_decay=config.weight_decay,
        fused=True,
    )
    average = Average(task.model, config.ema)
    if ranks.first:
        checkpoints.start_over(run)
    ranks.barrier()
    state = checkpoints.resume(run, task.model, average, optimizer, ranks.world)
    task.model.train()
    gradient = Gradient(task, config, run.trainer, ranks)
    stop, bad = _StopFlag(), state["bad_steps"]
    with closing(Journal(run, state["step"]) if ranks.first else None) as journal:
        teller = _Teller(run, config, journal, device, ranks.world, state["step"])
        for step in range(state["step"], config.steps):
            # 2. gradient
            for group in optimizer.param_groups:
                group["lr"] = learning_rate(config, step)
            loss, told = gradient.at(step)
            loss, stopping = ranks.agree(loss, stop.asked)
            norm = nn.utils.clip_grad_norm_(task.model.parameters(), config.clip_norm)

            # 3. step, unless it would spoil the weights
            if bool(torch.isfinite(loss) & torch.isfinite(norm)):
                optimizer.step()
                average.update(task.model, step)
            else:
                bad += 1
                log.warning("%s: step %d is not finite (%d so far), skipped", run.name, step, bad)
            optimizer.zero_grad(set_to_none=True)
            if bad > config.max_bad_steps:
                raise TrainingError(
                    f"{run.name}: {bad} steps were not finite, the last one {step}. The last good "
                    f"checkpoint is in {run.store.uri(run.folder)}/steps; lower learning_rate"
                )

            # 4. tell
            done = step + 1
            last = done == config.steps
            teller.step(done, loss, norm, told)
            if ranks.first and (done % config.validate_every == 0 or last):
                with average.applied(task.model) as model, gradient.autocast():
                    teller.validated(done, task.validate(model))
                    run.on_validation(done, model)

            # 5. save
            if ranks.first and done in run.milestones:
                checkpoints.export(run, task, average, done, run.milestones[done])
            kept = run.trainer.keep_every and done % run.trainer.keep_every == 0
            if done % config.checkpoint_every == 0 or stopping or last or kept:
                if journal is not None:
                    numbers = {"step": done, "bad_steps": bad, "world": ranks.world}
                    checkpoints.save(run, task.model, average, optimizer, numbers, config.keep)
                    journal.publish()
                ranks.barrier()
            if stopping and not last:
                raise Interrupted(f"{run.name}: stopped at step {done} of {config.steps}, saved")

        # 6. publish
        if journal is not None:
            teller.progress.close()
            journal.publish()
            checkpoints.export(run, task, average, config.steps, "final")
            checkpoints.clear(run)
    ranks.barrier()
    return True


def _ranks(task: Task, run: Run, device: torch.device) -> Ranks:
    ranks = join(device.type)
    if ranks.world != getattr(task, "world", 1):
        raise TrainingError(
            f"{run.name} is trained by one process, not by {ranks.world}: start it without launcher"
        )
    return ranks


class _Teller:
    """Figures of the steps to everyone who listens."""

    def __init__(
        self,
        run: Run,
        config: TrainConfig,
        journal: Journal | None,
        device: torch.device,
        world: int,
        step: int,
    ) -> None:
        self.run, self.config, self.journal, self.device = run, config, journal, device
        self.samples = config.batch * config.accumulate * world
        self.clock, self.counted, self.waited = time.monotonic(), 0, 0.0
        total = config.steps - step if journal is not None else 0
        self.progress = Progress(total, run.name, unit="step")

    def step(self, done: int, loss: torch.Tensor, norm: torch.Tensor, told: Told) -> None:
        if self.journal is None:
            return
        self.counted += 1
        self.waited += float(told.get("data_wait_seconds", 0.0))  # never on a device
        if done % self.run.log_every == 0 or done == self.config.steps:
            rate = self.counted / max(time.monotonic() - self.clock, 1e-9)
            figures = as_numbers(told) | {
                "loss": loss.item(),
                "gradient_norm": norm.item(),
                "learning_rate": learning_rate(self.config, done - 1),
                "samples_per_second": rate * self.samples,
                "memory_gib": memory_gib(self.device),
            }
            if "data_wait_seconds" in told:
                figures["data_wait_seconds"] = self.waited / self.counted
            self._tell(done, figures)
        self.progress.update(note=f"loss {loss.item():.4f}")

    def validated(self, done: int, figures: Figures) -> None:
        self._tell(done, figures)

    def _tell(self, done: int, figures: Figures) -> None:
        """Afterwards the clock starts anew: what comes between is not the steps' time."""
        if self.journal is not None:
            self.journal.write(done, figures)
        self.run.on_figures(done, figures)
        self.clock, self.counted, self.waited = time.monotonic(), 0, 0.0


def learning_rate(config: TrainConfig, step: int) -> float:
    """Linear warm-up, then constant or a half cosine down to 2 %."""
    if step < config.warmup:
        return config.learning_rate * (step + 1) / config.warmup
    if config.decay == "constant":
        return config.learning_rate
    share = (step - config.warmup) / max(config.steps - config.warmup, 1)
    return config.learning_rate * (0.02 + 0.98 * 0.5 * (1 + math.cos(math.pi * share)))


class _StopFlag:
    """Set by SIGTERM; a step is never cut in the middle."""

    def __init__(self) -> None:
        self.asked = False
        with contextlib.suppress(ValueError):  # not in the main thread: somebody else handles it
            signal.signal(signal.SIGTERM, self._ask)

    def _ask(self, signum: int, frame: FrameType | None) -> None:
        self.asked = True
