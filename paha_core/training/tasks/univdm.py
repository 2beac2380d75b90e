"""Training of UniVDM with the Parts-Aware Re-weighting loss (paper 4.1.1, 4.1.2, B.1)."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any, Protocol

import torch
from torch import nn

from paha_core.config import Preset, UniVDMConfig, WindowTrainConfig
from paha_core.models.build import Widths, new_univdm
from paha_core.models.load import load_codec
from paha_core.models.noise import prediction_target, training_scheduler
from paha_core.models.univdm import UniVDM, network_input
from paha_core.models.weight_files import find_weights
from paha_core.par import BODY_BIT, FACE_BIT, HANDS_BIT
from paha_core.shards.prefetch import Prefetched
from paha_core.shards.reader import ShardReader
from paha_core.shards.sample import ClipSample
from paha_core.shards.windows import Batch, Batches, WindowBatches
from paha_core.shards.writer import encoders_of, index_rows
from paha_core.store import Store, sha256_file
from paha_core.trained import UNIVDM
from paha_core.training.distributed import SINGLE_PROCESS, Distributed, init_distributed
from paha_core.training.logger import as_numbers
from paha_core.training.loop import fit
from paha_core.training.run import Metrics, Run, Scalars, step_generator
from paha_core.training.tasks.strips import Strips

CODE_VERSION = "2"
MAX_SAMPLE_WEIGHT = 5.0


def par_loss(squared: torch.Tensor, weights: torch.Tensor) -> torch.Tensor:
    """The PAR-weighted loss: sum(M * err^2) / sum(M) per sample, then the mean over samples.

    Args:
        squared: squared error of the prediction, mean over channels, [b, f, h, w].
        weights: M(x) of equation 3 on the latent grid, [b, f, h, w].
    """
    per_sample = (squared * weights).sum(dim=(1, 2, 3)) / weights.sum(dim=(1, 2, 3))
    return per_sample.mean()


def sample_weights(alphas: torch.Tensor) -> torch.Tensor:
    """What turns squared errors of the clean sample into those of v, by alpha_bar [b]; cut where
    little noise is left, as in Min-SNR (Hang et al. 2023)."""
    return (1 / (1 - alphas)).clamp(max=MAX_SAMPLE_WEIGHT)


@dataclass(frozen=True, eq=False)
class Examples:
    """Windows with the random numbers of their step: `timestep` [b], `noise` [b, C, F, h, w],
    `has_first_frame` bool [b], `has_audio` and `has_reference` float [b] (condition dropout)."""

    batch: Batch
    timestep: torch.Tensor
    noise: torch.Tensor
    has_first_frame: torch.Tensor
    has_audio: torch.Tensor
    has_reference: torch.Tensor

    def to(self, device: str | torch.device) -> Examples:
        """On `device`; from pinned memory without waiting for the copy."""
        return self._each(lambda x: x.to(device, non_blocking=True))

    def pin_memory(self) -> Examples:
        return self._each(lambda x: x.pin_memory())

    def _each(self, change: Callable[[torch.Tensor], torch.Tensor]) -> Examples:
        names = [field.name for field in fields(self) if field.name != "batch"]
        return Examples(self.batch.each(change), *(change(getattr(self, name)) for name in names))


class ExampleBatches:
    """Micro-batches of windows with random numbers that belong to the sample: those of W processes
    with B windows are those of one process with W*B. With several processes `windows` has this
    process' part."""

    def __init__(
        self, windows: Batches, config: UniVDMConfig, dist: Distributed = SINGLE_PROCESS
    ) -> None:
        self.windows, self.config, self.dist = windows, config, dist

    def batch_at(self, number: int) -> Examples:
        batch = self.windows.batch_at(number)
        count, config = len(batch.keys), self.config
        first = (number * self.dist.world_size + self.dist.rank) * count
        timesteps, noises, uniforms = [], [], []
        for sample in range(first, first + count):
            generator = step_generator(config.train.seed, sample)
            timesteps.append(torch.randint(1000, (), generator=generator))
            uniforms.append(torch.rand(3, generator=generator))
            noises.append(torch.randn(batch.latents.shape[1:], generator=generator))
        first_frame, audio, reference = torch.stack(uniforms, dim=1)
        return Examples(
            batch,
            torch.stack(timesteps),
            torch.stack(noises),
            first_frame < config.first_frame_probability,
            (audio >= config.condition_dropout).float(),
            (reference >= config.condition_dropout).float(),
        )


class ExampleSource(Protocol):
    def batch_at(self, number: int) -> Examples: ...


class UniVDMTask:
    """Denoising of windows of latents, DDPM with 1000 steps (equation 1 with M of equation 3)."""

    def __init__(
        self,
        model: UniVDM,
        config: UniVDMConfig,
        examples: ExampleSource,
        held_out: Sequence[Batch],
    ) -> None:
        self.model: nn.Module = model
        if config.gradient_checkpointing:
            model.enable_gradient_checkpointing()
        self.config, self.examples, self.held_out = config, examples, held_out
        self.scheduler = training_scheduler(config)

    def loss(self, model: Any, number: int) -> tuple[torch.Tensor, Metrics]:
        started = time.monotonic()
        examples = self.examples.batch_at(number)
        waited = time.monotonic() - started
        examples = examples.to(next(model.parameters()).device)
        squared = self._squared_error(model, examples)
        plain = squared.mean()
        weighted = par_loss(squared, examples.batch.par)
        metrics: Metrics = {
            "loss_plain": plain.detach(),
            "loss_par": weighted.detach(),
            "data_wait_seconds": waited,
        }
        loss = weighted if self.config.par else plain
        return loss, metrics | region_errors(squared.detach(), examples.batch.regions)

    @torch.no_grad()
    def validate(self, model: Any) -> Scalars:
        """Fixed held-out windows at fixed timesteps with fixed noise: comparable within a run and
        between runs."""
        return self._metrics_on(model, self.held_out)

    def _metrics_on(self, model: Any, windows: Sequence[Batch]) -> Scalars:
        sums: dict[str, list[float]] = {}
        for i, batch in enumerate(windows):
            for level in (100, 300, 500, 700, 900):
                generator = step_generator(0, 1_000_000 + 1000 * i + level)
                count = len(batch.keys)
                noise = torch.randn(batch.latents.shape, generator=generator)
                uniform = torch.rand(count, generator=generator)
                examples = Examples(
                    batch,
                    torch.full((count,), level),
                    noise,
                    uniform < self.config.first_frame_probability,
                    torch.ones(count),
                    torch.ones(count),
                ).to(next(model.parameters()).device)
                squared = self._squared_error(model, examples)
                metrics = {
                    "validation_loss": float(squared.mean()),
                    "validation_loss_par": float(par_loss(squared, examples.batch.par)),
                }
                regions = as_numbers(region_errors(squared, examples.batch.regions))
                metrics |= {f"validation_{name}": value for name, value in regions.items()}
                for name, value in metrics.items():
                    sums.setdefault(name, []).append(value)
        return {name: sum(values) / len(values) for name, values in sums.items()}

    def export(self, model: Any, folder: Path) -> None:
        model.save_pretrained(folder)

    def _squared_error(self, model: Any, examples: Examples) -> torch.Tensor:
        """Squared error of the prediction, mean over channels, [b, f, h, w]."""
        batch, noise, timestep = examples.batch, examples.noise, examples.timestep
        noisy = self.scheduler.add_noise(batch.latents, noise, timestep)
        inputs = (
            network_input(noisy, batch.first_frame, examples.has_first_frame),
            timestep,
            batch.reference_latents * examples.has_reference[:, None, None, None],
            batch.reference_embedding * examples.has_reference[:, None],
            batch.audio * examples.has_audio[:, None, None, None, None],
        )
        target = self._target(model, examples, inputs)
        squared = (model(*inputs).float() - target).square().mean(dim=1)
        if self.config.prediction == "sample":
            alphas = self.scheduler.alphas_cumprod.to(timestep.device)[timestep]
            squared = squared * sample_weights(alphas)[:, None, None, None]
        return squared

    def _target(
        self, model: Any, examples: Examples, inputs: tuple[torch.Tensor, ...]
    ) -> torch.Tensor:
        """What the network is to predict."""
        batch = examples.batch
        return prediction_target(self.scheduler, batch.latents, examples.noise, examples.timestep)


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
    config, shards = preset.univdm, index_rows(store, "training_shards", preset.corpora.datasets)
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
    train, test = readers(store, preset)
    windows, fixed = training_windows(preset, config, train, test, dist)
    if dist.is_main_process and (count := preset.trainer.strips):
        window = config.frames, preset.audio.margin
        strips = WindowBatches(test, count, *window, seed=1).batch_at(0)
        run.on_validation = Strips(run, preset, load_codec(store, preset, run.device), strips)
    model = new_univdm(preset, widths_of(train.read(0)))
    examples = ExampleBatches(windows, preset.univdm, dist)
    with Prefetched(examples, pin=run.device == "cuda") as prefetched:
        return fit(UniVDMTask(model, preset.univdm, prefetched, fixed), config, run, dist)


def readers(store: Store, preset: Preset) -> tuple[ShardReader, ShardReader]:
    """The training side of all datasets' shards, and the held-out side."""
    datasets, on_bad_shard = preset.corpora.datasets, preset.shards.on_bad_shard
    train, test = (
        ShardReader(store, datasets, split, on_bad_shard=on_bad_shard)
        for split in ("train", "test")
    )
    return train, test


def training_windows(
    preset: Preset,
    config: WindowTrainConfig,
    train: ShardReader,
    test: ShardReader,
    dist: Distributed,
) -> tuple[WindowBatches, list[Batch]]:
    """This process' batches of windows, and the held-out windows that validation uses."""
    micro, _ = config.shares(dist.world_size)
    window = config.frames, preset.audio.margin
    windows = WindowBatches(train, micro, *window, config.seed, dist.rank, dist.world_size)
    # In batches of one: metrics must not depend on the micro-batch.
    held_out = WindowBatches(test, 1, *window, seed=1)
    return windows, [held_out.batch_at(i) for i in range(preset.trainer.validation_windows)]


def widths_of(sample: ClipSample) -> Widths:
    """The sizes of UniVDM that follow from the encoders of the shards."""
    _, layers, width = sample.audio.shape
    return Widths(sample.latents.shape[1], layers, width, sample.reference.shape[1])
