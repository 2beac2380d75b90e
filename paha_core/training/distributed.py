"""The processes of one training run: who they are, and their collectives."""

from __future__ import annotations

import os
from dataclasses import dataclass
from datetime import timedelta

import torch
from torch import distributed

TIMEOUT = timedelta(hours=2)  # the others wait while rank 0 validates and writes checkpoints


@dataclass(frozen=True)
class Distributed:
    """Process `rank` of `world_size`; with one process every collective is the identity."""

    rank: int = 0
    world_size: int = 1

    @property
    def is_main_process(self) -> bool:
        """Whether this process logs, validates and writes checkpoints."""
        return self.rank == 0

    def barrier(self) -> None:
        if self.world_size > 1:
            distributed.barrier()

    def all_agree(self, loss: torch.Tensor, stop: bool) -> tuple[torch.Tensor, bool]:
        """The mean loss, and whether any process was asked to stop: the same on every rank."""
        if self.world_size == 1:
            return loss, stop
        both = torch.stack([loss.float(), torch.tensor(float(stop), device=loss.device)])
        distributed.all_reduce(both)
        return both[0] / self.world_size, bool(both[1] > 0)

    def nanmean(self, values: torch.Tensor) -> torch.Tensor:
        """Each of `values` [n] as the mean over the processes in which it is finite."""
        if self.world_size == 1:
            return values
        is_finite = values.isfinite()
        sums = torch.stack([values.where(is_finite, 0), is_finite.to(values.dtype)])
        distributed.all_reduce(sums)
        return sums[0] / sums[1]


SINGLE_PROCESS = Distributed()


def is_launched() -> bool:
    """Whether a launcher (torchrun, accelerate, `launch`) made this process one of several."""
    return int(os.environ.get("WORLD_SIZE", "1")) > 1


def init_distributed(device: str) -> Distributed:
    """Join the process group, if this process was launched in one: gloo on CPU, NCCL on GPUs.

    Afterwards "cuda" means this process' own GPU. Call it before anything is moved there.
    """
    if not is_launched():
        return SINGLE_PROCESS
    from accelerate import PartialState

    state = PartialState(cpu=device == "cpu", timeout=TIMEOUT)
    return Distributed(state.process_index, state.num_processes)
