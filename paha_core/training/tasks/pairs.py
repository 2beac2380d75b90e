"""Pairs that the classifiers learn from: real samples and their negatives (paper 4.1.3, B.3).

A batch holds n real samples, then their n negatives; both of a pair get the same mask, timestep and
noise.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import torch
from diffusers import DDPMScheduler
from torch.nn import functional as F

from paha_core.shards.windows import Batch
from paha_core.trained import Part


def paired(real: Batch, generated: Batch, mismatched: torch.Tensor) -> Batch:
    """Real samples (label 1), then their negatives (label 0), n each.

    Where `mismatched` [n] the negative is the real sample with the sound of another moment of its
    clip, else it is the generated sample. Generated samples can be recognised by traces of the
    network alone, and a voice of another clip by the speaker's identity; only the sound of another
    moment forces the classifier to use the audio.
    """
    values = {}
    for name, value in real.__dict__.items():
        if name != "keys":
            own = real.mismatched_audio if name == "audio" else value
            where = mismatched.view(-1, *[1] * (value.ndim - 1))
            values[name] = torch.cat([value, torch.where(where, own, getattr(generated, name))])
    return Batch(**values, keys=real.keys + generated.keys)


def region(part: Part, face_mask: torch.Tensor) -> torch.Tensor:
    """The region that the classifier sees when masked: M_face or its complement."""
    return face_mask if part == "face" else 1 - face_mask


def masked(pairs: Batch, part: Part, probability: float, generator: torch.Generator) -> Batch:
    """With `probability` a pair shows only the classifier's own region, in all its frames, on
    clean latents."""
    mask = region(part, pairs.face_mask)
    hidden = (torch.rand(len(mask) // 2, generator=generator) < probability).repeat(2)
    mask = torch.where(hidden[:, None, None], mask, torch.ones_like(mask))
    return replace(pairs, latents=pairs.latents * mask[:, None, None])


def logits(
    model: Any,
    scheduler: DDPMScheduler,
    pairs: Batch,
    timestep: torch.Tensor,
    generator: torch.Generator,
) -> torch.Tensor:
    """Logits [2n] of n pairs at `timestep` [n]. Both of a pair get the same noise, so that they
    differ only in what is to be classified."""
    noise = torch.randn(pairs.latents[: len(timestep)].shape, generator=generator).repeat(
        2, 1, 1, 1, 1
    )
    timestep = timestep.repeat(2)
    noised = scheduler.add_noise(pairs.latents, noise, timestep)
    device = next(model.parameters()).device
    conditions = pairs.reference_latents, pairs.reference_embedding, pairs.audio
    return model(*(x.to(device) for x in (noised, timestep, *conditions)))


def cross_entropy(logit: torch.Tensor) -> torch.Tensor:
    """Equation 7 for pairs."""
    real, negative = logit.float().chunk(2)
    return (F.softplus(-real).mean() + F.softplus(negative).mean()) / 2


def accuracy(logit: torch.Tensor) -> float:
    real, negative = logit.chunk(2)
    return float(torch.cat([real > 0, negative <= 0]).float().mean())
