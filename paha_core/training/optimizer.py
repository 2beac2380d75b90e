"""AdamW with whole or sharded moments; non-finite steps are skipped on the device."""

from __future__ import annotations

import logging
from typing import Any

import torch
from torch import nn
from torch.distributed.optim import ZeroRedundancyOptimizer

from paha_core.config import TrainConfig, TrainerConfig
from paha_core.trained import MAX_SKIPPED_SHARE
from paha_core.training.distributed import Distributed
from paha_core.training.run import State

log = logging.getLogger("paha")


def new_optimizer(
    model: nn.Module, config: TrainConfig, trainer: TrainerConfig, dist: Distributed
) -> torch.optim.Optimizer:
    """AdamW; with `trainer.shard_optimizer` each process keeps only the moments of its share of the
    parameters (ZeRO-1)."""
    settings: dict[str, Any] = {"lr": config.learning_rate, "weight_decay": config.weight_decay}
    settings["fused"] = True
    if trainer.shard_optimizer and dist.world_size > 1:
        return ZeroRedundancyOptimizer(model.parameters(), torch.optim.AdamW, **settings)
    return torch.optim.AdamW(model.parameters(), **settings)


def step_if_finite(optimizer: torch.optim.Optimizer, finite: torch.Tensor) -> None:
    """Take the step where `finite` (a scalar on the device) is true. Its value is not waited for:
    the kernel itself leaves weights and moments alone, as under a gradient scaler."""
    inner: Any = getattr(optimizer, "optim", optimizer)  # the AdamW inside ZeRO's wrapper
    inner.found_inf = (~finite).float()
    optimizer.step()


class SkippedSteps:
    """Counts steps whose loss or gradient was not finite, on the device; `read` waits for it."""

    def __init__(self, state: State, device: torch.device) -> None:
        self.total = torch.tensor(state.skipped_steps, device=device)
        self.in_a_row = torch.tensor(state.skipped_in_a_row, device=device)
        self.last = torch.tensor(-1, device=device)
        self.last_step = -1

    def count(self, step: int, finite: torch.Tensor) -> None:
        self.total += ~finite
        self.in_a_row = torch.where(finite, 0, self.in_a_row + 1)
        self.last = torch.where(finite, self.last, step)

    def read(self, state: State, name: str) -> None:
        """Bring `state` up to date; warns of steps skipped since the last call."""
        values = torch.stack([self.total, self.in_a_row, self.last]).tolist()
        count = values[0] - state.skipped_steps
        state.skipped_steps, state.skipped_in_a_row, self.last_step = values
        if count:
            log.warning(
                "%s: %d steps were not finite and skipped, the last %d",
                *(name, count, self.last_step),
            )


def too_many_skipped(state: State, config: TrainConfig) -> bool:
    """Whether more than `max_bad_steps` were skipped in a row, or in all more than `max_bad_steps`
    and 1 % of the steps, the share that the check `finite_loss` allows."""
    allowed = max(config.max_bad_steps, MAX_SKIPPED_SHARE * state.step)
    return state.skipped_in_a_row > config.max_bad_steps or state.skipped_steps > allowed
