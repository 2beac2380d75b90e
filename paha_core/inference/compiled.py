"""Compiled networks in generation, compared with the eager ones before their first video."""

from __future__ import annotations

import logging

import torch

from paha_core.inference.guidance import energy_gradient
from paha_core.inference.inputs import InputError
from paha_core.inference.sampling import Conditions, GuidanceFactory, Sampler
from paha_core.models.compiled import LARGEST_DIFFERENCE, relative_difference

log = logging.getLogger("paha")


def check_compiled(
    sampler: Sampler, conditions: Conditions, factory: GuidanceFactory | None = None
) -> None:
    """Compare what the compiled networks make of noise with what the eager ones do: UniVDM's
    prediction, and the gradient of every classifier that guides.

    `conditions` are those of a segment, so that the first video waits for no further compilation.
    Raises `InputError` where they differ by more than `LARGEST_DIFFERENCE`.
    """
    device = sampler.model.device
    part = conditions.to(device)
    batch, channels, height, width = part.reference_latents.shape
    shape = (batch, channels, part.audio.shape[1], height, width)
    noise = torch.randn(shape, generator=torch.Generator().manual_seed(0)).to(device)
    timestep = sampler.timesteps[0]
    guidance = factory(part, slice(0, batch), False) if factory else None

    def results() -> dict[str, torch.Tensor]:
        encoded, dropped = sampler.encode(part)
        found = {"univdm": sampler.predict_noise(noise, timestep, encoded, dropped, None)}
        for name, logit in (guidance.logits if guidance else {}).items():
            found[f"{name}_classifier"] = energy_gradient(logit, noise, timestep)[0]
        return found

    compiled = results()
    with torch.compiler.set_stance("force_eager"):
        eager = results()
    for name, value in compiled.items():
        difference = relative_difference(value, eager[name])
        log.info("torch.compile: %s differs by %.2g from the eager one", name, difference)
        if not difference <= LARGEST_DIFFERENCE[sampler.precision]:
            raise InputError(
                f"torch.compile changes {name} by {difference:.0%} here: set generation.compile "
                "and negatives.compile to false"
            )
