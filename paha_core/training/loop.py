"""The one training loop: codec, UniVDM, classifiers and feature networks all go through `fit`.

A run is a pure function of its task and settings: every step draws its noise and its data from the
step's number, never from a running state. So a checkpoint is weights, optimizer and the step, and a
killed run resumes with bit-identical losses. The same code runs in one process and, started by a
launcher (`torchrun`, `accelerate launch`, `paha train univdm` with `trainer.processes`), in many.
"""

from __future__ import annotations

import contextlib
import logging
import math
import signal
from types import FrameType
from typing import Any

import torch
from torch import nn

from paha_core.config import TrainConfig
from paha_core.engine.claims import claimed
from paha_core.errors import Interrupted
from paha_core.training import checkpoints
from paha_core.training.distributed import SINGLE_PROCESS, Distributed, is_launched
from paha_core.training.ema import EMA
from paha_core.training.gradient import (
    GradientAccumulation,
    is_out_of_memory,
    out_of_memory_message,
)
from paha_core.training.logger import TrainingLogger
from paha_core.training.optimizer import (
    SkippedSteps,
    new_optimizer,
    step_if_finite,
    too_many_skipped,
)
from paha_core.training.run import Run, Task, TrainingError, TrainingState

log = logging.getLogger("paha")


def fit(task: Task, config: TrainConfig, run: Run, dist: Distributed = SINGLE_PROCESS) -> bool:
    """Train `task` to `config.steps` steps, from the last checkpoint if there is one.

    `dist`: the processes that share the task's batches; most tasks train in a single process.
    Returns whether anything had to be done. Raises `Interrupted` on SIGTERM or SIGINT after saving,
    `ClaimedError` while another process trains the same network in the same store, and
    `TrainingError` when too many steps had a loss or gradient that was not finite
    (`too_many_skipped`), or when memory runs out.
    """
    if is_launched() and dist.world_size == 1:
        raise TrainingError(f"{run.name} is trained by one process: start it without a launcher")
    if run.is_done():
        return False
    claim: contextlib.AbstractContextManager[object] = contextlib.nullcontext()
    if dist.is_main_process:
        claim = claimed(run.store, run.folder, f"training {run.name}")
    with claim:
        return _fit(task, config, run, dist)


def _fit(task: Task, config: TrainConfig, run: Run, dist: Distributed) -> bool:
    if dist.is_main_process:
        checkpoints.prepare_folder(run)
    dist.barrier()
    if run.is_done():
        return False
    state = TrainingState()
    try:
        with GracefulShutdown() as shutdown:
            _train(task, config, run, dist, state, shutdown)
    except RuntimeError as error:
        if not is_out_of_memory(error):
            raise
        message = out_of_memory_message(run.name, config, dist.world_size, state.step, error)
        raise TrainingError(f"{run.name}: {message}") from error
    dist.barrier()
    return True


def _train(
    task: Task,
    config: TrainConfig,
    run: Run,
    dist: Distributed,
    state: TrainingState,
    shutdown: GracefulShutdown,
) -> None:
    # 1. set-up
    model = task.model.to(run.device).train()
    optimizer = new_optimizer(model, config, run.trainer, dist)
    ema = EMA(model, config.ema) if dist.is_main_process else None
    checkpoints.resume(run, model, ema, optimizer, state, config)
    gradient = GradientAccumulation(task, config, run.trainer, dist)
    skipped = SkippedSteps(state, gradient.device)
    if dist.is_main_process:
        log.info("%s: %s", run.name, gradient.summary)

    def validate() -> None:
        if ema is not None:
            with ema.applied_to(model) as averaged, gradient.autocast():
                logger.log(state.step, task.validate(averaged))
                run.on_validation(state.step, averaged)
        dist.barrier()
        logger.reset_timer()

    dist.barrier()
    with (
        TrainingLogger(run, config, dist, gradient.device, state) as logger,
        checkpoints.CheckpointWriter(run, config.keep) as writer,
    ):
        for step in range(state.step, config.steps):
            # 2. gradient
            rate = learning_rate(config, step)
            for group in optimizer.param_groups:
                group["lr"] = rate
            loss, metrics = gradient.compute(step)
            loss = dist.mean(loss)
            norm = nn.utils.clip_grad_norm_(model.parameters(), config.clip_norm)

            # 3. optimizer step, skipped where it would spoil the weights
            finite = torch.isfinite(loss) & torch.isfinite(norm)
            step_if_finite(optimizer, finite)
            if ema is not None:
                ema.update(model, step, finite)
            optimizer.zero_grad(set_to_none=True)
            state.step = step + 1
            skipped.count(step, finite)
            stopping = dist.any(shutdown.requested)
            last = state.step == config.steps
            permanent = run.trainer.keep_every and state.step % run.trainer.keep_every == 0
            saving = state.step % config.checkpoint_every == 0 or stopping or last or permanent
            if saving or logger.is_due(state.step):  # the only places that wait for the device
                skipped.read(state, run.name)
            logger.log_step(state, metrics | {"loss": loss, "gradient_norm": norm}, rate, finite)
            if too_many_skipped(state, config):
                raise TrainingError(
                    f"{run.name}: {state.skipped_steps} steps were not finite, the last one "
                    f"{skipped.last_step}. The last good checkpoint is in "
                    f"{run.store.uri(run.folder)}/steps; lower learning_rate"
                )

            # 4. validate (skipped on shutdown)
            if state.step % config.validate_every == 0 and not (stopping or last):
                validate()

            # 5. save
            if ema is not None and state.step in run.milestones:
                checkpoints.export(run, task, ema, state.step, run.milestones[state.step])
            if saving:
                writer.save(model, ema, optimizer, state)
                logger.publish()
                dist.barrier()
                logger.reset_timer()
            if stopping:
                writer.wait()
                dist.barrier()  # no process ends, and takes the others along, before it is saved
                raise Interrupted(
                    f"{run.name}: stopped at step {state.step} of {config.steps}, saved"
                )

        # 6. publish
        validate()
        writer.wait()
        if ema is not None:
            checkpoints.export(run, task, ema, config.steps, "final")
            checkpoints.remove_finished(run)


def learning_rate(config: TrainConfig, step: int) -> float:
    """Linear warm-up, then constant or a half cosine down to 2 %."""
    if step < config.warmup:
        return config.learning_rate * (step + 1) / config.warmup
    if config.decay == "constant":
        return config.learning_rate
    share = (step - config.warmup) / max(config.steps - config.warmup, 1)
    return config.learning_rate * (0.02 + 0.98 * 0.5 * (1 + math.cos(math.pi * share)))


class GracefulShutdown:
    """Within the block SIGTERM and SIGINT set `requested`, which is checked between steps.

    A second SIGINT aborts. Outside the main thread no handler is installed.
    """

    def __init__(self) -> None:
        self.requested = self._interrupted = False
        self._previous: dict[int, Any] = {}

    def __enter__(self) -> GracefulShutdown:
        with contextlib.suppress(ValueError):  # not in the main thread
            for signum in (signal.SIGTERM, signal.SIGINT):
                self._previous[signum] = signal.signal(signum, self._handle)
        return self

    def __exit__(self, *_: object) -> None:
        for signum, handler in self._previous.items():
            signal.signal(signum, handler)

    def _handle(self, signum: int, frame: FrameType | None) -> None:
        if signum == signal.SIGINT:
            if self._interrupted:
                raise KeyboardInterrupt
            self._interrupted = True
        self.requested = True
