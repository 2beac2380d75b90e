"""What the classifiers are shown: real samples beside their negatives (paper 4.1.3, B.3; DESIGN 8).

A batch holds n real samples, then their n negatives, and both of a pair get the same mask, timestep
and noise.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import torch
from diffusers import DDPMScheduler
from torch.nn import functional as F

from paha_core.shards.windows import Batch
from paha_core.trained import Part


def paired(real: Batch, fake: Batch, mismatched: torch.Tensor) -> Batch:
    """Real samples (label 1), then their negatives (label 0), n each.

    Where `mismatched` [n] the negative is the real sample with the sound of another moment of its
    clip, else it is the generated sample. The plain task can be solved by traces of the network
    alone, and a voice of another clip by knowing whose it is; only this one has to be heard.
    """
    pick = {}
    for name, value in real.__dict__.items():
        if name != "keys":
            itself = real.mismatched_audio if name == "audio" else value
            where = mismatched.view(-1, *[1] * (value.ndim - 1))
            pick[name] = torch.cat([value, torch.where(where, itself, getattr(fake, name))])
    return Batch(**pick, keys=real.keys + fake.keys)


def region(part: Part, face_mask: torch.Tensor) -> torch.Tensor:
    """Where the classifier looks: M_face or its complement."""
    return face_mask if part == "face" else 1 - face_mask


def masked(pairs: Batch, part: Part, probability: float, draw: torch.Generator) -> Batch:
    """With `probability` a pair keeps only the classifier's own region, in all its frames, on
    clean latents."""
    keep = region(part, pairs.face_mask)
    hidden = (torch.rand(len(keep) // 2, generator=draw) < probability).repeat(2)
    keep = torch.where(hidden[:, None, None], keep, torch.ones_like(keep))
    return replace(pairs, latents=pairs.latents * keep[:, None, None])


def logits(
    model: Any,
    scheduler: DDPMScheduler,
    pairs: Batch,
    timestep: torch.Tensor,
    draw: torch.Generator,
) -> torch.Tensor:
    """[2n] for n pairs at `timestep` [n]. Both of a pair get the same noise, so that they differ
    in nothing but what is to be told."""
    noise = torch.randn(pairs.latents[: len(timestep)].shape, generator=draw).repeat(2, 1, 1, 1, 1)
    timestep = timestep.repeat(2)
    noised = scheduler.add_noise(pairs.latents, noise, timestep)
    device = next(model.parameters()).device
    given = pairs.reference_latents, pairs.reference_embedding, pairs.audio
    return model(*(x.to(device) for x in (noised, timestep, *given)))


def cross_entropy(logit: torch.Tensor) -> torch.Tensor:
    """Equation 7 for pairs."""
    real, negative = logit.float().chunk(2)
    return (F.softplus(-real).mean() + F.softplus(negative).mean()) / 2


def accuracy(logit: torch.Tensor) -> float:
    real, negative = logit.chunk(2)
    return float(torch.cat([real > 0, negative <= 0]).float().mean())
