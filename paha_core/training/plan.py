"""What training UniVDM by a preset needs: known before anybody queues for it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path

import torch

from paha_core.config import Preset
from paha_core.config.encoders import AUDIO_ENCODERS, REFERENCE_ENCODERS
from paha_core.inference.negatives import count_of
from paha_core.media import FPS
from paha_core.models.audio_encoder import open_audio_encoder
from paha_core.models.build import Widths, univdm_of
from paha_core.models.reference_encoder import open_reference_encoder
from paha_core.models.univdm import network_input
from paha_core.training.memory import StepCost, cost_of_step
from paha_core.training.tasks.univdm import par_loss

GIB = 2**30
FLOAT32 = 4
CONTEXT_GIB = 1.0  # a GPU's libraries and cuDNN's workspace
FRAGMENTED = 0.05  # of the memory: what the allocator can't use
PATS_SECONDS, CNAS_SECONDS = 4 * 1200 * 15, 36_825  # section 5.1 and appendix C


@dataclass(frozen=True)
class Machine:
    """`tflops`: peak of one GPU at the preset's precision; `utilisation`: the share reached."""

    gpus: int = 1
    memory_gib: float = 80.0
    tflops: float = 312.0
    utilisation: float = 0.35


@dataclass(frozen=True)
class Plan:
    """Bytes are those of one GPU. Weights, average and optimizer are exact; `step` is the traced
    peak of one forward and backward pass.
    """

    parameters: int
    weights: int
    average: int
    optimizer: int
    buckets: int  # DistributedDataParallel's gradients, which stay; an upper bound
    step: int
    reserve: int
    memory: int
    flops: int  # of a step on one GPU
    steps_per_second: float
    days: float
    checkpoint: int
    checkpoints: int  # that many at once, exports included
    shard_bytes_per_hour: int  # of video at 25 fps
    shard_bytes: int  # of the paper's corpora, where every PATS clip has 15 s
    negative_bytes: int

    @property
    def total(self) -> int:
        parts = (self.weights, self.average, self.optimizer, self.buckets, self.step)
        return sum(parts) + self.reserve

    @property
    def fits(self) -> bool:
        return self.total <= self.memory

    def as_dict(self) -> dict[str, float]:
        return asdict(self) | {"total": self.total, "fits": self.fits}


def plan_univdm(preset: Preset, machine: Machine) -> Plan:
    """Without weights, data or a GPU: networks are only traced."""
    train = preset.univdm.train
    widths = planned_widths(preset)
    with torch.device("meta"):
        sizes = [p.numel() for p in univdm_of(preset, widths).parameters()]
    parameters = sum(sizes)
    weights = FLOAT32 * parameters
    optimizer = 2 * weights + FLOAT32 * len(sizes)  # AdamW: two moments, and a step for each tensor
    micro, times = train.shares(machine.gpus)
    cost = traced_step(preset, widths, micro)
    flops = cost.flops * times
    rate = machine.tflops * 1e12 * machine.utilisation / flops
    every = preset.trainer.keep_every
    return Plan(
        parameters=parameters,
        weights=weights,
        average=weights,
        optimizer=optimizer,
        buckets=weights if machine.gpus > 1 else 0,
        step=cost.peak_bytes,
        reserve=round(CONTEXT_GIB * GIB + FRAGMENTED * machine.memory_gib * GIB),
        memory=round(machine.memory_gib * GIB),
        flops=flops,
        steps_per_second=rate,
        days=train.steps / rate / 86400,
        checkpoint=2 * weights + optimizer,
        checkpoints=train.keep + (train.steps // every if every else 0) + 1,
        shard_bytes_per_hour=3600 * bytes_per_second(preset, widths),
        shard_bytes=(PATS_SECONDS + CNAS_SECONDS) * bytes_per_second(preset, widths),
        negative_bytes=round(negative_seconds(preset) * bytes_per_second(preset, widths)),
    )


def planned_widths(preset: Preset) -> Widths:
    """The sizes of encoders that are at hand; of others those of the published weights."""
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


def traced_step(preset: Preset, widths: Widths, micro: int) -> StepCost:
    """Of a micro-batch of that many clips, as `fit` runs it."""
    train, side, margin = preset.univdm.train, preset.codec.latent_size, preset.audio.margin
    half = preset.trainer.precision == "bf16"

    def make() -> Callable[[], object]:
        model = univdm_of(preset, widths).train()
        if preset.univdm.gradient_checkpointing:
            model.enable_gradient_checkpointing()
        video = torch.randn(micro, widths.latent_channels, train.frames, side, side)
        sample = network_input(video, None)
        timestep = torch.zeros(micro, dtype=torch.int64)
        embedding = torch.randn(micro, widths.reference_width)
        heard = (2 * margin + 1, widths.audio_layers, widths.audio_width)
        audio = torch.randn(micro, train.frames, *heard)
        weights = torch.randn(micro, train.frames, side, side)

        def step() -> None:
            with torch.autocast("cpu", torch.bfloat16, enabled=half):
                said = model(sample, timestep, video[:, :, 0], embedding, audio)
                squared = (said.float() - video).square().mean(dim=1)
                loss = par_loss(squared, weights)
            loss.backward()
            model.zero_grad(set_to_none=True)

        return step

    return cost_of_step(make)


def bytes_per_second(preset: Preset, widths: Widths) -> int:
    """Of video, in the shards: latents, PAR weights and audio features in float16, regions in a
    byte a cell, and the wave at 16 kHz."""
    cells = preset.codec.latent_size**2
    a_frame = 2 * widths.latent_channels * cells + 2 * cells + cells
    a_frame += 2 * widths.audio_layers * widths.audio_width
    return FPS * a_frame + 2 * 16_000


def negative_seconds(preset: Preset) -> float:
    """Of the negatives, those for validation included."""
    config = preset.negatives
    frames = sum(config.lengths) / len(config.lengths) if config.augment else config.lengths[-1]
    count = sum(count_of(preset, split) for split in ("train", "test"))
    return count * len(preset.classifier_datasets) * frames / FPS
