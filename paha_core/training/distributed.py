"""The processes of one training run: their topology through accelerate, and what they agree on."""

from __future__ import annotations

import os
from dataclasses import dataclass
from datetime import timedelta

import torch
from torch import distributed

TIMEOUT = timedelta(hours=2)  # rank 0 validates and writes checkpoints while the others wait


@dataclass(frozen=True)
class Ranks:
    """Process `rank` of `world`; alone it does nothing."""

    rank: int = 0
    world: int = 1

    @property
    def first(self) -> bool:
        """Whether this process is the one that writes and tells."""
        return self.rank == 0

    def barrier(self) -> None:
        if self.world > 1:
            distributed.barrier()

    def agree(self, loss: torch.Tensor, stop: bool) -> tuple[torch.Tensor, bool]:
        """The mean loss, and whether anyone was asked to stop: the same on every rank."""
        if self.world == 1:
            return loss, stop
        both = torch.stack([loss.float(), torch.tensor(float(stop), device=loss.device)])
        distributed.all_reduce(both)
        return both[0] / self.world, bool(both[1] > 0)

    def means(self, values: torch.Tensor) -> torch.Tensor:
        """Each of `values` [n] as the mean over the processes in which it is a number."""
        if self.world == 1:
            return values
        is_number = values.isfinite()
        sums = torch.stack([values.where(is_number, 0), is_number.to(values.dtype)])
        distributed.all_reduce(sums)
        return sums[0] / sums[1]


ALONE = Ranks()


def launched() -> bool:
    """Whether a launcher (torchrun, accelerate, `launch`) made this process one of several."""
    return int(os.environ.get("WORLD_SIZE", "1")) > 1


def join(device: str) -> Ranks:
    """Meet the other processes of this run, if there are any: gloo on CPU, NCCL on GPUs.

    Afterwards "cuda" means this process' own GPU. Call it before anything is moved there.
    """
    if not launched():
        return ALONE
    from accelerate import PartialState

    state = PartialState(cpu=device == "cpu", timeout=TIMEOUT)
    return Ranks(state.process_index, state.num_processes)
