"""The processes of one training run: rank, world size and collectives.

A process that hangs must not cost the others hours, but they do wait for one that validates or
writes a checkpoint. So there are two time limits: a short one for what every step does, a long one
for `barrier`.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from datetime import timedelta

import torch
from torch import distributed

STEP_TIMEOUT = timedelta(minutes=10)  # of gradients, means and the shutdown flag
BARRIER_TIMEOUT = timedelta(hours=2)  # while the main process validates or writes a checkpoint


@dataclass(frozen=True)
class Distributed:
    """Process `rank` of `world_size`; with one process every collective is the identity."""

    rank: int = 0
    world_size: int = 1
    host: distributed.ProcessGroup | None = None  # on the hosts' own network: no GPU waits for it
    patient: distributed.ProcessGroup | None = None  # the same, for barriers

    @property
    def is_main_process(self) -> bool:
        """Whether this process logs, validates and writes checkpoints."""
        return self.rank == 0

    def barrier(self) -> None:
        """Wait for all processes, up to `BARRIER_TIMEOUT`."""
        if self.world_size > 1:
            distributed.all_reduce(torch.zeros(1), group=self.patient)

    def any(self, flag: bool) -> bool:
        """Logical OR of `flag` over all processes: the same result on every rank, without waiting
        for GPUs."""
        if self.world_size == 1:
            return flag
        total = torch.tensor(float(flag))
        distributed.all_reduce(total, group=self.host)
        return bool(total > 0)

    def mean(self, loss: torch.Tensor) -> torch.Tensor:
        """The mean over processes of a scalar on the device."""
        if self.world_size == 1:
            return loss
        total = loss.float().clone()
        distributed.all_reduce(total)
        return total / self.world_size

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

    state = PartialState(cpu=device == "cpu", timeout=STEP_TIMEOUT)
    host, patient = (
        distributed.new_group(backend="gloo", timeout=timeout)
        for timeout in (STEP_TIMEOUT, BARRIER_TIMEOUT)
    )
    return Distributed(state.process_index, state.num_processes, host, patient)
