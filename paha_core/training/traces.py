"""The pipeline's work on a GPU at a preset's sizes, traced by `paha_core.training.memory`.

Each function gives the cost of one piece: a micro-batch of UniVDM's training, a sample of a
classifier's, a solver's forward pass, a guidance gradient, the codec on a batch of frames.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import torch
from torch import nn
from torch.nn import functional as F

from paha_core.config import CodecConfig, Preset
from paha_core.config.encoders import AUDIO_ENCODERS, REFERENCE_ENCODERS
from paha_core.models.audio_encoder import open_audio_encoder
from paha_core.models.build import Widths, new_classifier, univdm_of
from paha_core.models.codec import new_autoencoder
from paha_core.models.int8 import to_int8
from paha_core.models.reference_encoder import open_reference_encoder
from paha_core.models.sync_classifier import SyncClassifier
from paha_core.models.univdm import network_input
from paha_core.training.memory import StepCost, cost_of_step
from paha_core.training.tasks.univdm import par_loss

Network = TypeVar("Network", bound=nn.Module)


def planned_widths(preset: Preset) -> Widths:
    """The feature sizes of encoders that are on this machine; for others those of the published
    weights."""
    codec, audio, reference = preset.codec, preset.audio, preset.reference
    channels = 4 if codec.pretrained else codec.latent_channels  # Stable Diffusion's has 4
    audio_shape = AUDIO_ENCODERS[audio.encoder].published_shape
    reference_shape = REFERENCE_ENCODERS[reference.encoder].published_shape
    if _is_here(audio.pretrained):
        encoder = open_audio_encoder(audio)
        audio_shape = (encoder.layers, encoder.width)
    if _is_here(reference.pretrained):
        reference_shape = (open_reference_encoder(reference).width,)
    return Widths(channels, *audio_shape, *reference_shape)


def _is_here(pretrained: str | None) -> bool:
    return pretrained is not None and Path(pretrained).is_dir()


def conditions_like(
    preset: Preset, widths: Widths, batch: int, frames: int, side: int
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Reference latents, reference embedding and audio windows of `batch` samples, random."""
    window = (2 * preset.audio.margin + 1, widths.audio_layers, widths.audio_width)
    return (
        torch.randn(batch, widths.latent_channels, side, side),
        torch.randn(batch, widths.reference_width),
        torch.randn(batch, frames, *window),
    )


def univdm_step(preset: Preset, widths: Widths, batch: int) -> StepCost:
    """Forward and backward pass of a micro-batch of `batch` clips, as UniVDM is trained."""
    train, side = preset.univdm.train, preset.codec.latent_size

    def make() -> Callable[[], object]:
        model = univdm_of(preset, widths).train()
        if preset.univdm.gradient_checkpointing:
            model.enable_gradient_checkpointing()
        video = torch.randn(batch, widths.latent_channels, train.frames, side, side)
        sample, timestep = network_input(video, None), torch.zeros(batch, dtype=torch.int64)
        conditions = conditions_like(preset, widths, batch, train.frames, side)
        weights = torch.randn(batch, train.frames, side, side)

        def step() -> None:
            with autocast(preset.trainer.precision):
                noise_pred = model(sample, timestep, *conditions)
                squared = (noise_pred.float() - video).square().mean(dim=1)
                loss = par_loss(squared, weights)
            loss.backward()
            model.zero_grad(set_to_none=True)

        return step

    return cost_of_step(make)


def classifier_step(preset: Preset, widths: Widths, batch: int, frames: int) -> StepCost:
    """Forward and backward pass of `batch` samples (halves of pairs) of a classifier."""
    side = preset.codec.latent_size

    def make() -> Callable[[], object]:
        model = new_classifier_of(preset, widths, preset.univdm.gradient_checkpointing).train()
        video = torch.randn(batch, widths.latent_channels, frames, side, side)
        timestep = torch.zeros(batch, dtype=torch.int64)
        conditions = conditions_like(preset, widths, batch, frames, side)

        def step() -> None:
            with autocast(preset.trainer.precision):
                loss = F.softplus(-model(video, timestep, *conditions)).mean()
            loss.backward()
            model.zero_grad(set_to_none=True)

        return step

    return cost_of_step(make)


def guidance_gradient(preset: Preset, widths: Widths, batch: int, side: int) -> StepCost:
    """One classifier's gradient at the latents of `batch` segments of `side` x `side` cells."""
    settings = preset.generation

    def make() -> Callable[[], object]:
        model = held(preset, new_classifier_of(preset, widths, settings.recomputes))
        shape = (batch, widths.latent_channels, settings.segment_frames, side, side)
        video, timestep = torch.randn(shape), torch.zeros(batch, dtype=torch.int64)
        conditions = conditions_like(preset, widths, batch, settings.segment_frames, side)

        def gradient() -> object:
            noised = video.clone().requires_grad_(True)
            with autocast(settings.precision):
                energy = F.softplus(-model(noised, timestep, *conditions).float()).sum()
            return torch.autograd.grad(energy, noised)

        return gradient

    return cost_of_step(make)


def solver_pass(preset: Preset, widths: Widths, batch: int, side: int) -> StepCost:
    """One forward pass of UniVDM on `batch` states of `side` x `side` cells, as it is sampled."""
    settings = preset.generation

    def make() -> Callable[[], object]:
        model = held(preset, univdm_of(preset, widths))
        shape = (batch, widths.latent_channels, settings.segment_frames, side, side)
        sample = network_input(torch.randn(shape), None)
        timestep = torch.zeros(batch, dtype=torch.int64)
        conditions = conditions_like(preset, widths, batch, settings.segment_frames, side)

        def forward() -> object:
            with torch.no_grad(), autocast(settings.precision):
                return model(sample, timestep, *conditions)

        return forward

    return cost_of_step(make)


def codec_passes(config: CodecConfig, frames: int, size: int) -> tuple[StepCost, StepCost]:
    """The codec's encoder and decoder on `frames` pictures of `size` pixels at once, in float32."""
    folded = size // config.patch

    def make(decode: bool) -> Callable[[], object]:
        model = new_autoencoder(config).eval().requires_grad_(False)
        cells = size // config.factor
        latents = torch.randn(frames, config.latent_channels, cells, cells)
        pixels = torch.randn(frames, 3 * config.patch**2, folded, folded)

        def run() -> object:
            with torch.no_grad():
                return model.decode(latents) if decode else model.encode(pixels)

        return run

    return cost_of_step(lambda: make(False)), cost_of_step(lambda: make(True))


def autocast(precision: str) -> torch.autocast:
    """Traced work runs under CPU autocast where the real work runs under the GPU's."""
    return torch.autocast("cpu", torch.bfloat16, enabled=precision == "bf16")


def new_classifier_of(
    preset: Preset, widths: Widths, checkpointing: bool = False
) -> SyncClassifier:
    """A classifier of the preset's size, with default initialisation."""
    model = new_classifier(preset.classifiers, univdm_of(preset, widths))
    if checkpointing:
        model.encoder.enable_gradient_checkpointing()
    return model


def held(preset: Preset, network: Network) -> Network:
    """The network as it is held while videos are generated."""
    if preset.generation.weights == "int8":
        to_int8(network)
    return network.eval().requires_grad_(False)


def parameters_of(make: Callable[[], Any]) -> list[int]:
    """The sizes of a network's parameters, without making them."""
    with torch.device("meta"):
        return [p.numel() for p in make().parameters()]
