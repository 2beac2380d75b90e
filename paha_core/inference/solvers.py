"""f_theta of algorithm 1: the solver step from a prediction at one noise level to the sample at the
next.

DDIM is the paper's. DPM++ 2M and UniPC (diffusers) also use the predictions of earlier steps, and
need fewer of them. All three go through the same noise levels, so a guidance rate means the same
with each.
"""

from __future__ import annotations

from collections.abc import Callable, Collection
from typing import Protocol

import torch
from diffusers import DDIMScheduler, DPMSolverMultistepScheduler, UniPCMultistepScheduler

from paha_core.config import Solver, UniVDMConfig
from paha_core.models.noise import ddim_step, noise_schedule, sampling_scheduler

ORDER = 2


class Solves(Protocol):
    """The solver of one run from noise to latents."""

    timesteps: list[int]

    def step(
        self, model_output: torch.Tensor, index: int, sample: torch.Tensor, states: int = 1
    ) -> torch.Tensor:
        """The samples after step `index`. `sample` [states * b, ...] are `states` states of each
        video, z* first, from which the run continues."""
        ...


class DDIM:
    """Deterministic DDIM, which has no state."""

    def __init__(self, scheduler: DDIMScheduler) -> None:
        self.scheduler = scheduler
        self.timesteps: list[int] = scheduler.timesteps.tolist()

    def step(
        self, model_output: torch.Tensor, index: int, sample: torch.Tensor, states: int = 1
    ) -> torch.Tensor:
        return ddim_step(self.scheduler, model_output, index, sample)


class Multistep:
    """A multistep scheduler of diffusers, which keeps earlier predictions of z*."""

    def __init__(self, scheduler: DPMSolverMultistepScheduler | UniPCMultistepScheduler) -> None:
        self.scheduler = scheduler
        self.timesteps: list[int] = scheduler.timesteps.tolist()

    def step(
        self, model_output: torch.Tensor, index: int, sample: torch.Tensor, states: int = 1
    ) -> torch.Tensor:
        self._remembered(lambda tensor: tensor.repeat(states, *[1] * (tensor.ndim - 1)))
        stepped = self.scheduler.step(
            model_output, self.timesteps[index], sample, return_dict=False
        )[0]
        self._remembered(lambda tensor: tensor.chunk(states)[0])
        return stepped

    def _remembered(self, change: Callable[[torch.Tensor], torch.Tensor]) -> None:
        scheduler = self.scheduler
        outputs = scheduler.model_outputs
        scheduler.model_outputs = [None if one is None else change(one) for one in outputs]
        if getattr(scheduler, "last_sample", None) is not None:  # UniPC's
            scheduler.last_sample = change(scheduler.last_sample)


def new_solver(
    name: Solver, config: UniVDMConfig, steps: int, changed: Collection[int] = ()
) -> Solves:
    """A solver of so many steps, for one run.

    `changed` are the steps before which something else, such as guidance, has changed the sample:
    UniPC's corrector would undo that change, so it is turned off there.
    """
    levels = sampling_scheduler(config, steps)
    if name == "ddim":
        return DDIM(levels)
    schedule = noise_schedule(config) | {"solver_order": ORDER}
    del schedule["clip_sample"]
    if name == "dpm++2m":
        scheduler = DPMSolverMultistepScheduler(**schedule, algorithm_type="dpmsolver++")
    else:
        before = [step - 1 for step in changed]
        scheduler = UniPCMultistepScheduler(**schedule, disable_corrector=before)
    scheduler.set_timesteps(steps)
    # DDIM's noise levels, sigma = sqrt((1 - alpha_bar) / alpha_bar), and where it ends.
    scheduler.timesteps = levels.timesteps
    alphas = torch.cat([scheduler.alphas_cumprod[levels.timesteps], scheduler.alphas_cumprod[:1]])
    scheduler.sigmas = ((1 - alphas) / alphas) ** 0.5
    return Multistep(scheduler)
