"""Training of UniVDM with the Parts-Aware Re-weighting loss (paper 4.1.1, 4.1.2, B.1)."""

from __future__ import annotations

import time
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import nn

from paha_core.config import Preset, UniVDMConfig
from paha_core.engine.manifest_stage import kept_rows
from paha_core.models.build import Widths, new_univdm
from paha_core.models.load import load_codec
from paha_core.models.noise import training_scheduler
from paha_core.models.univdm import UniVDM, network_input
from paha_core.models.weight_files import find_weights
from paha_core.par import BODY_BIT, FACE_BIT, HANDS_BIT
from paha_core.shards.prefetch import Prefetched
from paha_core.shards.reader import ShardReader
from paha_core.shards.sample import ClipSample
from paha_core.shards.windows import Batch, Batches, WindowBatches
from paha_core.shards.writer import encoders_of
from paha_core.store import Store, sha256_file
from paha_core.trained import UNIVDM
from paha_core.training.distributed import SINGLE_PROCESS, Distributed, init_distributed
from paha_core.training.logger import as_numbers
from paha_core.training.loop import fit
from paha_core.training.run import Metrics, Run, Scalars, step_generator
from paha_core.training.tasks.strips import Strips

CODE_VERSION = "1"


def par_loss(squared: torch.Tensor, weights: torch.Tensor) -> torch.Tensor:
    """The PAR-weighted loss: sum(M * err^2) / sum(M) per sample, then the mean over samples.

    Args:
        squared: squared error of the prediction, mean over channels, [b, f, h, w].
        weights: M(x) of equation 3 on the latent grid, [b, f, h, w].
    """
    per_sample = (squared * weights).sum(dim=(1, 2, 3)) / weights.sum(dim=(1, 2, 3))
    return per_sample.mean()


@dataclass(frozen=True)
class StepRandom:
    """The random numbers of a step for this process' samples.

    Every process draws those of all samples and takes its part, so that W processes of B clips use
    the numbers that one process of W*B would.
    """

    generator: torch.Generator
    dist: Distributed = SINGLE_PROCESS

    def part(self, batch: int) -> slice:
        return slice(self.dist.rank * batch, (self.dist.rank + 1) * batch)

    def integers(self, high: int, batch: int) -> torch.Tensor:
        """[batch], uniform below `high`."""
        values = torch.randint(high, (self.dist.world_size * batch,), generator=self.generator)
        return values[self.part(batch)]

    def uniform(self, rows: int, batch: int) -> torch.Tensor:
        """[rows, batch], in 0..1."""
        values = torch.rand((rows, self.dist.world_size * batch), generator=self.generator)
        return values[:, self.part(batch)]

    def normal(self, shape: torch.Size) -> torch.Tensor:
        """Standard normal; the first of `shape` is the batch."""
        whole = (self.dist.world_size * shape[0], *shape[1:])
        return torch.randn(whole, generator=self.generator)[self.part(shape[0])]


class UniVDMTask:
    """Denoising of windows of latents, DDPM with 1000 steps (equation 1 with M of equation 3).

    With several processes `batches` holds this process' part of every batch.
    """

    def __init__(
        self,
        model: UniVDM,
        config: UniVDMConfig,
        batches: Batches,
        held_out: list[Batch],
        dist: Distributed = SINGLE_PROCESS,
    ) -> None:
        self.model: nn.Module = model
        if config.gradient_checkpointing:
            model.enable_gradient_checkpointing()
        self.config, self.batches, self.held_out = config, batches, held_out
        self.dist, self.scheduler = dist, training_scheduler(config)

    def loss(self, model: Any, number: int) -> tuple[torch.Tensor, Metrics]:
        started = time.monotonic()
        batch = self.batches.batch_at(number)
        waited = time.monotonic() - started
        random = StepRandom(step_generator(self.config.train.seed, number), self.dist)
        timestep = random.integers(1000, len(batch.keys))
        squared = self._squared_error(model, self._dropped(batch, random), timestep, random)
        weights = batch.par.to(squared.device)
        plain = squared.mean()
        weighted = par_loss(squared, weights)
        metrics: Metrics = {
            "loss_plain": plain.detach(),
            "loss_par": weighted.detach(),
            "data_wait_seconds": waited,
        }
        loss = weighted if self.config.par else plain
        return loss, metrics | region_errors(squared.detach(), batch.regions.to(squared.device))

    @torch.no_grad()
    def validate(self, model: Any) -> Scalars:
        """Fixed held-out windows at fixed timesteps with fixed noise: comparable within a run and
        between runs."""
        sums: dict[str, list[float]] = {}
        for i, batch in enumerate(self.held_out):
            for level in (100, 300, 500, 700, 900):
                random = StepRandom(step_generator(0, 1_000_000 + 1000 * i + level))
                timestep = torch.full((len(batch.keys),), level)
                squared = self._squared_error(model, batch, timestep, random)
                metrics = {
                    "validation_loss": float(squared.mean()),
                    "validation_loss_par": float(par_loss(squared, batch.par.to(squared.device))),
                }
                regions = as_numbers(region_errors(squared, batch.regions.to(squared.device)))
                metrics |= {f"validation_{name}": value for name, value in regions.items()}
                for name, value in metrics.items():
                    sums.setdefault(name, []).append(value)
        return {name: sum(values) / len(values) for name, values in sums.items()}

    def export(self, model: Any, folder: Path) -> None:
        model.save_pretrained(folder)

    def _squared_error(
        self, model: Any, batch: Batch, timestep: torch.Tensor, random: StepRandom
    ) -> torch.Tensor:
        """Squared error of the prediction, mean over channels, [b, f, h, w]."""
        device = next(model.parameters()).device
        batch, timestep = batch.to(device), timestep.to(device)
        noise = random.normal(batch.latents.shape).to(device)
        is_given = random.uniform(1, len(timestep))[0] < self.config.first_frame_probability
        noisy = self.scheduler.add_noise(batch.latents, noise, timestep)
        model_output = model(
            network_input(noisy, batch.first_frame, is_given.to(device)),
            timestep,
            batch.reference_latents,
            batch.reference_embedding,
            batch.audio,
        )
        if self.config.prediction == "epsilon":
            target = noise
        else:
            target = self.scheduler.get_velocity(batch.latents, noise, timestep)
        return (model_output.float() - target).square().mean(dim=1)

    def _dropped(self, batch: Batch, random: StepRandom) -> Batch:
        """Drop each condition with the configured probability, for classifier-free guidance."""
        keep = random.uniform(2, len(batch.keys)) >= self.config.condition_dropout
        audio, reference = keep.float()
        return replace(
            batch,
            audio=batch.audio * audio[:, None, None, None, None],
            reference_latents=batch.reference_latents * reference[:, None, None, None],
            reference_embedding=batch.reference_embedding * reference[:, None],
        )


def region_errors(squared: torch.Tensor, regions: torch.Tensor) -> Metrics:
    """Mean squared error in face, hands, body (without those) and background, as tensors on
    their device; NaN where a region is absent."""
    masks = {
        "face": regions & FACE_BIT > 0,
        "hands": regions & HANDS_BIT > 0,
        "body": (regions & BODY_BIT > 0) & (regions & (FACE_BIT | HANDS_BIT) == 0),
        "background": regions == 0,
    }
    return {
        f"loss_{name}": torch.where(mask, squared, 0).sum() / mask.sum()
        for name, mask in masks.items()
    }


def univdm_run(store: Store, preset: Preset, device: str = "cpu") -> Run:
    """The run of these settings on these shards; the weights of `negatives.at` are exported too."""
    config, shards = preset.univdm, kept_rows(store, "training_shards", preset.corpora.datasets)
    base = config.network.pretrained
    weights = {"base_sha256": sha256_file(find_weights(base))} if base else {}
    clips = [(row["clip_id"], row["fingerprint"], row["split"]) for row in shards]
    content = [CODE_VERSION, config.identity("train"), weights, preset.audio.margin, clips]
    run = Run.of(store, UNIVDM, config.train, preset.trainer, content)
    milestones = {preset.negatives_step: "for_negatives"}
    return replace(run, device=device, milestones=milestones, sources=weights | encoders_of(shards))


def train_univdm(store: Store, preset: Preset, run: Run | None = None) -> bool:
    """Train G in every launched process; returns whether anything had to be done."""
    run = run or univdm_run(store, preset)
    if run.is_done():
        return False
    config, dist = preset.univdm.train, init_distributed(run.device)
    train, test = (
        ShardReader(store, preset.corpora.datasets, split, on_bad_shard=preset.shards.on_bad_shard)
        for split in ("train", "test")
    )
    micro, _ = config.shares(dist.world_size)
    window = config.frames, preset.audio.margin
    windows = WindowBatches(train, micro, *window, config.seed, dist.rank, dist.world_size)
    # In batches of one: metrics must not depend on the micro-batch.
    held_out = WindowBatches(test, 1, *window, seed=1)
    fixed = [held_out.batch_at(i) for i in range(preset.trainer.validation_windows)]
    if dist.is_main_process and (count := preset.trainer.strips):
        strips = WindowBatches(test, count, *window, seed=1).batch_at(0)
        run.on_validation = Strips(run, preset, load_codec(store, preset, run.device), strips)
    model = new_univdm(preset, widths_of(train.read(0)))
    with Prefetched(windows) as batches:
        return fit(UniVDMTask(model, preset.univdm, batches, fixed, dist), config, run, dist)


def widths_of(sample: ClipSample) -> Widths:
    """The sizes of UniVDM that follow from the encoders of the shards."""
    _, layers, width = sample.audio.shape
    return Widths(sample.latents.shape[1], layers, width, sample.reference.shape[1])
