"""AdamW with whole, sharded or 8-bit moments; non-finite steps are skipped on the device."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import Any

import torch
from torch import nn
from torch.distributed.optim import ZeroRedundancyOptimizer

from paha_core.config import TrainConfig, TrainerConfig
from paha_core.trained import MAX_SKIPPED_SHARE
from paha_core.training.distributed import Distributed
from paha_core.training.run import TrainingError, TrainingState

log = logging.getLogger("paha")

# Of bitsandbytes: values that share a scale; from which size on a parameter's moments have 8 bits.
BLOCK, SMALLEST_IN_8_BITS = 256, 4096


def new_optimizer(
    model: nn.Module, config: TrainConfig, trainer: TrainerConfig, dist: Distributed
) -> torch.optim.Optimizer:
    """AdamW; with `trainer.shard_optimizer` each process keeps only the moments of its share of the
    parameters (ZeRO-1), with `trainer.optimizer_bits` 8 moments are bitsandbytes'.

    Raises `TrainingError` for 8 bits without that package, or together with shares.
    """
    settings: dict[str, Any] = {"lr": config.learning_rate, "weight_decay": config.weight_decay}
    if trainer.optimizer_bits == 8:
        if trainer.shard_optimizer:
            raise TrainingError(
                "trainer.optimizer_bits 8 and trainer.shard_optimizer both shrink the moments: "
                "choose one of them"
            )
        try:
            from bitsandbytes.optim import AdamW8bit
        except ImportError:
            raise TrainingError(
                "trainer.optimizer_bits 8 needs bitsandbytes: pip install 'paha[adam8bit]', or set "
                "it to 32"
            ) from None
        optimizer: torch.optim.Optimizer = AdamW8bit(model.parameters(), **settings)
        return optimizer
    settings["fused"] = True
    if trainer.shard_optimizer and dist.world_size > 1:
        return ZeroRedundancyOptimizer(model.parameters(), torch.optim.AdamW, **settings)
    return torch.optim.AdamW(model.parameters(), **settings)


def step_if_finite(optimizer: torch.optim.Optimizer, finite: torch.Tensor) -> None:
    """Take the step where `finite` (a scalar on the device) is true. Its value is not waited for:
    the kernel itself leaves weights and moments alone, as under a gradient scaler. The
    8-bit kernel can't, and the host waits."""
    inner: Any = getattr(optimizer, "optim", optimizer)  # the AdamW inside ZeRO's wrapper
    can_skip = isinstance(inner, torch.optim.AdamW)
    if can_skip:
        inner.found_inf = (~finite).float()
        optimizer.step()
    elif finite:
        optimizer.step()


def moments_of(optimizer: torch.optim.Optimizer) -> dict[int, dict[str, torch.Tensor]]:
    """AdamW's moments and counts by the parameter's number; some of 8 bits share their memory."""
    found: dict[int, dict[str, torch.Tensor]] = {}
    for number, entry in optimizer.state_dict()["state"].items():
        flat: dict[str, Any] = {}
        for key, value in entry.items():  # bitsandbytes nests what is quantised
            flat |= value if isinstance(value, dict) else {key: value}
        found[number] = {key: torch.as_tensor(value) for key, value in flat.items()}
    return found


def load_moments(
    optimizer: torch.optim.Optimizer, moments: dict[int, dict[str, torch.Tensor]]
) -> None:
    """What `moments_of` gave."""
    groups = [
        {name: value for name, value in group.items() if name != "params"}
        | {"params": list(range(len(group["params"])))}
        for group in optimizer.param_groups
    ]
    optimizer.load_state_dict({"state": moments, "param_groups": groups})
    inner: Any = getattr(optimizer, "optim", optimizer)
    for parameter, entry in inner.state.items():  # ZeRO's loading leaves counts on the host
        count = entry["step"]
        on_device = isinstance(inner, torch.optim.AdamW)
        entry["step"] = count.to(parameter.device) if on_device else int(count)


def moments_bytes(sizes: Sequence[int], bits: int = 32) -> int:
    """Of two moments and a count, for parameters of so many elements."""
    if bits == 32:
        return sum(4 * (2 * size + 1) for size in sizes)
    small = [size for size in sizes if size < SMALLEST_IN_8_BITS]
    large = [size for size in sizes if size >= SMALLEST_IN_8_BITS]
    scales = 4 * sum(-(-size // BLOCK) for size in large)
    return moments_bytes(small) + 2 * (sum(large) + scales)


class SkippedSteps:
    """Counts steps whose loss or gradient was not finite, on the device; `read` waits for it."""

    def __init__(self, state: TrainingState, device: torch.device) -> None:
        self.total = torch.tensor(state.skipped_steps, device=device)
        self.in_a_row = torch.tensor(state.skipped_in_a_row, device=device)
        self.last = torch.tensor(-1, device=device)
        self.last_step = -1

    def count(self, step: int, finite: torch.Tensor) -> None:
        self.total += ~finite
        self.in_a_row = torch.where(finite, 0, self.in_a_row + 1)
        self.last = torch.where(finite, self.last, step)

    def read(self, state: TrainingState, name: str) -> None:
        """Bring `state` up to date; warns of steps skipped since the last call."""
        values = torch.stack([self.total, self.in_a_row, self.last]).tolist()
        count = values[0] - state.skipped_steps
        state.skipped_steps, state.skipped_in_a_row, self.last_step = values
        if count:
            log.warning(
                "%s: %d steps were not finite and skipped, the last %d",
                *(name, count, self.last_step),
            )


def too_many_skipped(state: TrainingState, config: TrainConfig) -> bool:
    """Whether more than `max_bad_steps` were skipped in a row, or in all more than `max_bad_steps`
    and 1 % of the steps, the share that the check `finite_loss` allows."""
    allowed = max(config.max_bad_steps, MAX_SKIPPED_SHARE * state.step)
    return state.skipped_in_a_row > config.max_bad_steps or state.skipped_steps > allowed
