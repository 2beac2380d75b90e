"""The one training loop: codec, UniVDM, classifiers and pose autoencoder all go through `fit`.

A run is a pure function of its task and settings: every step draws its noise and its data from the
step's number, never from a running state. So a checkpoint is weights, optimizer and the step, and a
run that was killed goes on to the same losses, to the last bit, as one that was not. The same code
runs in one process and, started by a launcher (`torchrun`, `accelerate launch`, `paha train univdm`
with `trainer.processes`), in many.
"""

from __future__ import annotations

import logging
import math

import torch
from torch import nn

from paha_core.config import TrainConfig
from paha_core.errors import Interrupted
from paha_core.training import checkpoints
from paha_core.training.distributed import ALONE, Ranks, launched
from paha_core.training.ema import Average
from paha_core.training.gradient import Gradient, is_out_of_memory, out_of_memory
from paha_core.training.logger import Journal
from paha_core.training.run import Run, State, Task, TrainingError
from paha_core.training.stop import StopFlag

log = logging.getLogger("paha")


def fit(task: Task, config: TrainConfig, run: Run, ranks: Ranks = ALONE) -> bool:
    """Train `task` to `config.steps` steps, from the last checkpoint if there is one.

    `ranks`: those among whom the task shares its batches; others are trained by one process.
    Returns whether anything had to be done. Raises `Interrupted` on SIGTERM or SIGINT after saving,
    and `TrainingError` when more than `config.max_bad_steps` steps had a loss or gradient that was
    not finite, or the memory does not suffice.
    """
    if launched() and ranks.world == 1:
        raise TrainingError(f"{run.name} is trained by one process: start it without a launcher")
    if ranks.first:
        checkpoints.claim(run)
    ranks.barrier()
    if run.is_done():
        return False
    state = State()
    try:
        with StopFlag() as stop:
            _train(task, config, run, ranks, state, stop)
    except RuntimeError as error:
        if not is_out_of_memory(error):
            raise
        said = out_of_memory(config, ranks.world, state.step, error)
        raise TrainingError(f"{run.name}: {said}") from error
    ranks.barrier()
    return True


def _train(
    task: Task, config: TrainConfig, run: Run, ranks: Ranks, state: State, stop: StopFlag
) -> None:
    # 1. set-up
    model = task.model.to(run.device).train()
    optimizer = torch.optim.AdamW(
        model.parameters(), lr=config.learning_rate, weight_decay=config.weight_decay, fused=True
    )
    average = Average(model, config.ema)
    checkpoints.resume(run, model, average, optimizer, state, config.steps)
    gradient = Gradient(task, config, run.trainer, ranks)

    def validate() -> None:
        if ranks.first:
            with average.applied(model) as averaged, gradient.autocast():
                journal.tell(state.step, task.validate(averaged))
                run.on_validation(state.step, averaged)
            journal.go_on()

    with Journal(run, config, ranks, gradient.device, state) as journal:
        for step in range(state.step, config.steps):
            # 2. gradient
            rate = learning_rate(config, step)
            for group in optimizer.param_groups:
                group["lr"] = rate
            loss, told = gradient.at(step)
            loss, stopping = ranks.agree(loss, stop.asked)
            norm = nn.utils.clip_grad_norm_(model.parameters(), config.clip_norm)

            # 3. step, unless it would spoil the weights
            finite = bool(torch.isfinite(loss) & torch.isfinite(norm))
            if finite:
                optimizer.step()
                average.update(model, step)
            else:
                log.warning("%s: step %d is not finite, skipped", run.name, step)
            optimizer.zero_grad(set_to_none=True)
            state.step, state.skipped_steps = step + 1, state.skipped_steps + (not finite)
            journal.step(state, told | {"loss": loss, "gradient_norm": norm}, rate, finite)
            if state.skipped_steps > config.max_bad_steps:
                raise TrainingError(
                    f"{run.name}: {state.skipped_steps} steps were not finite, the last one {step}."
                    f" The last good checkpoint is in {run.store.uri(run.folder)}/steps; lower "
                    "learning_rate"
                )

            # 4. look; who was asked to stop has no time for it
            last = state.step == config.steps
            if state.step % config.validate_every == 0 and not (stopping or last):
                validate()

            # 5. save
            if ranks.first and state.step in run.milestones:
                checkpoints.export(run, task, average, state.step, run.milestones[state.step])
            kept = run.trainer.keep_every and state.step % run.trainer.keep_every == 0
            if state.step % config.checkpoint_every == 0 or stopping or last or kept:
                if ranks.first:
                    checkpoints.save(run, model, average, optimizer, state, config.keep)
                    journal.publish()
                ranks.barrier()
                journal.go_on()
            if stopping:
                raise Interrupted(
                    f"{run.name}: stopped at step {state.step} of {config.steps}, saved"
                )

        # 6. publish
        validate()
        if ranks.first:
            checkpoints.export(run, task, average, config.steps, "final")
            checkpoints.clear(run)


def learning_rate(config: TrainConfig, step: int) -> float:
    """Linear warm-up, then constant or a half cosine down to 2 %."""
    if step < config.warmup:
        return config.learning_rate * (step + 1) / config.warmup
    if config.decay == "constant":
        return config.learning_rate
    share = (step - config.warmup) / max(config.steps - config.warmup, 1)
    return config.learning_rate * (0.02 + 0.98 * 0.5 * (1 + math.cos(math.pi * share)))
