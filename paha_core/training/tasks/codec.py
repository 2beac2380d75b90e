"""Training of the small latent codec, for runs without pretrained weights."""

from __future__ import annotations

import random
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn
from torch.nn import functional as F

from paha_core.config import CodecConfig, Preset
from paha_core.engine.manifest_stage import kept_rows
from paha_core.errors import UserError
from paha_core.media.video import read_frames
from paha_core.models.codec import fold, new_autoencoder, to_pixels, unfold
from paha_core.models.patch_autoencoder import PatchAutoencoder
from paha_core.store import Store
from paha_core.trained import CODEC
from paha_core.training.loop import fit
from paha_core.training.run import Metrics, Run, Scalars, step_generator

CODE_VERSION = "1"
CONTRAST_WINDOW = 4  # pixels a side
CONTRAST_FLOOR = 25.0  # squared grey levels: noise of flat areas has no contrast to keep
LINEAR_FRAMES = 500  # of the corpus, that the linear part of a PatchAutoencoder is fitted to


@dataclass(frozen=True)
class WeightedFrames:
    """Frames of the corpus with their loss weights on the latent grid."""

    pixels: np.ndarray  # uint8 [N, size, size, 3]
    weights: np.ndarray  # float32 [N, grid, grid], powers of PAR's M

    def crops(self, count: int, side: int, generator: torch.Generator) -> WeightedFrames:
        """`count` crops of `side` pixels. Their centres are drawn by the frames' weights, and all
        their cells weigh the same: face and hands are seen as often as they count."""
        frames: np.ndarray = torch.randint(len(self.pixels), (count,), generator=generator).numpy()
        grid, size = self.weights.shape[-1], self.pixels.shape[1]
        weights = torch.from_numpy(self.weights[frames]).flatten(1)
        cells = torch.multinomial(weights, 1, generator=generator)[:, 0].numpy()
        inside = torch.rand(count, 2, generator=generator).numpy()  # of the cell
        centre = (np.stack([cells // grid, cells % grid], axis=1) + inside) * size / grid
        corners = np.clip(np.round(centre - side / 2), 0, size - side).astype(int)
        cut = [
            self.pixels[frame, top : top + side, left : left + side]
            for frame, (top, left) in zip(frames, corners, strict=True)
        ]
        return WeightedFrames(np.stack(cut), np.ones((count, 1, 1), np.float32))

    def batch(
        self, index: np.ndarray, patch: int, device: torch.device
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Folded pixels [b, c, h, w] and weights [b, 1, h, w] of mean 1, made on `device` of the
        frames' bytes."""
        pixels = fold(to_pixels(_to(device, self.pixels[index])), patch)
        weights = _to(device, self.weights[index])[:, None]
        weights = F.interpolate(weights, size=pixels.shape[-2:], mode="nearest")
        return pixels, weights / weights.mean()


class CodecTask:
    """Reconstruction of frames, weighted by a power of PAR's mask; a KL term keeps it smooth."""

    def __init__(
        self, config: CodecConfig, train: WeightedFrames, held_out: WeightedFrames
    ) -> None:
        torch.manual_seed(config.train.seed)
        self.config, self.train, self.held_out = config, train, held_out
        self.count, _ = config.train.shares()
        model = new_autoencoder(config)
        if isinstance(model, PatchAutoencoder):
            some = train.pixels[:: max(len(train.pixels) // LINEAR_FRAMES, 1)]
            model.fit_linear(fold(to_pixels(some), config.patch))
        self.model: nn.Module = model

    def loss(self, model: Any, number: int) -> tuple[torch.Tensor, Metrics]:
        generator = step_generator(self.config.train.seed, number)
        if self.config.crop is None:
            indices = torch.randint(len(self.train.pixels), (self.count,), generator=generator)
            frames, index = self.train, indices.numpy()
        else:
            frames = self.train.crops(self.count, self.config.crop, generator)
            index = np.arange(self.count)
        device = next(model.parameters()).device
        pixels, weights = frames.batch(index, self.config.patch, device)
        posterior = model.encode(pixels).latent_dist
        decoded = model.decode(posterior.sample(generator=generator)).sample.float()
        loss = reconstruction_loss(decoded, pixels, weights)
        patch = self.config.patch
        pictures = unfold(decoded, patch), unfold(pixels, patch)
        if self.config.edge_weight:
            loss = loss + self.config.edge_weight * edge_loss(*pictures)
        if self.config.contrast_weight:
            loss = loss + self.config.contrast_weight * contrast_loss(*pictures)
        loss = loss + self.config.kl_weight * posterior.kl().mean() / pixels[0].numel()
        return loss, {"psnr": psnr(decoded.detach(), pixels)}

    @torch.no_grad()
    def validate(self, model: Any) -> Scalars:
        device = next(model.parameters()).device
        every = np.arange(len(self.held_out.pixels))
        pixels, weights = self.held_out.batch(every, self.config.patch, device)
        decoded = torch.cat(
            [
                model.decode(model.encode(part).latent_dist.mode()).sample.float()
                for part in pixels.split(32)
            ]
        )
        pictures = (unfold(each, self.config.patch) for each in (decoded, pixels))
        made, real = (sharpness(each).mean() for each in pictures)
        return {
            "validation_loss": float(reconstruction_loss(decoded, pixels, weights)),
            "validation_psnr": float(psnr(decoded, pixels)),
            "validation_sharpness": float(made / real),
        }

    @torch.no_grad()
    def export(self, model: Any, folder: Path) -> None:
        """Save the codec with the mean and scale of each latent channel over the corpus."""
        parts = np.array_split(self.train.pixels, max(len(self.train.pixels) // 64, 1))
        device, encoded = next(model.parameters()).device, []
        for part in parts:
            pixels = fold(to_pixels(_to(device, part)), self.config.patch)
            encoded.append(model.encode(pixels).latent_dist.mode())
        latents = torch.cat(encoded)
        model.register_to_config(
            latents_mean=latents.mean((0, 2, 3)).tolist(),
            latents_std=self._scale(model, latents.std((0, 2, 3))).tolist(),
        )
        model.save_pretrained(folder)

    def _scale(self, model: Any, std: torch.Tensor) -> torch.Tensor:
        """What latents are divided by, [C]: by their deviation all channels weigh the same in
        UniVDM's loss, though of principal components few make the picture. With `scale_power` a
        channel's weight follows its part in pixels; the mean variance stays one."""
        if not self.config.scale_power:
            return std
        weight = (model.linear_decoder[:, :, 0, 0].norm(dim=0) * std) ** self.config.scale_power
        return std * weight.square().mean().sqrt() / weight


def reconstruction_loss(
    decoded: torch.Tensor, pixels: torch.Tensor, weights: torch.Tensor
) -> torch.Tensor:
    """Weighted L1 plus squared error of pixels in -1..1."""
    error = decoded - pixels
    return ((error.abs() + error.square()) * weights).mean()


def edge_loss(decoded: torch.Tensor, pixels: torch.Tensor) -> torch.Tensor:
    """Mean absolute error of the differences between neighbouring pixels, [n, 3, h, w]."""
    error = decoded - pixels
    return error.diff(dim=2).abs().mean() + error.diff(dim=3).abs().mean()


def contrast_loss(decoded: torch.Tensor, pixels: torch.Tensor) -> torch.Tensor:
    """Mean absolute log ratio of local contrast, the mean squared Laplacian of a small window,
    [n, 3, h, w] in -1..1. An edge whose place is uncertain is blurred by errors of pixels alone;
    this asks for one as strong as the real one."""
    made, real = (
        F.avg_pool2d(laplacian(each)[:, None].square(), CONTRAST_WINDOW) + CONTRAST_FLOOR
        for each in (decoded, pixels)
    )
    return (made / real).log().abs().mean()


def sharpness(pixels: torch.Tensor) -> torch.Tensor:
    """Variance of the Laplacian of each picture, [n, 3, h, w] in -1..1 to [n]."""
    return laplacian(pixels).var((1, 2))


def laplacian(pixels: torch.Tensor) -> torch.Tensor:
    """Of the grey levels 0..255 of pictures [n, 3, h, w] in -1..1: [n, h - 2, w - 2]."""
    grey = (pixels.float().mean(1) + 1) * 127.5
    inside = grey[:, 1:-1, 1:-1]
    across = grey[:, 1:-1, :-2] + grey[:, 1:-1, 2:]
    return across + grey[:, :-2, 1:-1] + grey[:, 2:, 1:-1] - 4 * inside


def psnr(decoded: torch.Tensor, pixels: torch.Tensor) -> torch.Tensor:
    """Peak signal-to-noise ratio in dB of pixels in -1..1, a scalar on their device."""
    return 10 * torch.log10(4 / F.mse_loss(decoded, pixels))


def _to(device: torch.device, values: np.ndarray) -> torch.Tensor:
    """A copy on `device`; to a GPU through page-locked memory, without waiting for it."""
    tensor = torch.from_numpy(values)
    if device.type == "cuda":
        tensor = tensor.pin_memory()
    return tensor.to(device, non_blocking=True)


def train_codec(store: Store, preset: Preset, run: Run | None = None) -> bool:
    """Train the corpus' own codec, unless the preset names a pretrained one; returns whether
    anything had to be done."""
    if preset.codec.pretrained:
        return False
    run = run or codec_run(store, preset)
    if run.is_done():
        return False
    config = preset.codec
    train = read_split(store, preset, "train", config.max_frames)
    held_out = read_split(store, preset, "test", 64)
    return fit(CodecTask(config, train, held_out), config.train, run)


def codec_run(store: Store, preset: Preset, device: str = "cpu") -> Run:
    """The run of the preset's settings on the store's frames."""
    masks = kept_rows(store, "par_masks", preset.corpora.datasets)
    clips = [(row["clip_id"], row["fingerprint"], row["split"]) for row in masks]
    content = [CODE_VERSION, preset.codec.identity("train"), clips]
    run = Run.of(store, CODEC, preset.codec.train, preset.trainer, content)
    return replace(run, device=device)


def read_split(store: Store, preset: Preset, split: str, limit: int) -> WeightedFrames:
    """About `limit` frames spread evenly over the clips of a split."""
    datasets = preset.corpora.datasets
    masks = {row["clip_id"]: row["path"] for row in kept_rows(store, "par_masks", datasets)}
    rows = [r for r in kept_rows(store, "clips", datasets) if r["split"] == split]
    rows = [row for row in rows if row["clip_id"] in masks]
    if not rows:
        raise UserError(f"no kept {split} clips: look at manifests/clips for the reasons")
    random.Random(0).shuffle(rows)
    stride = max(1, round(sum(row["frames"] for row in rows) / limit))
    pixels, weights = [], []
    for row in rows:
        with store.reading(row["path"]) as path:
            pixels.append(read_frames(path, size=preset.codec.size)[::stride])
        with (
            store.reading(masks[row["clip_id"]]) as path,
            np.load(path, allow_pickle=False) as arrays,
        ):
            weights.append(arrays["weights"][::stride].astype(np.float32) ** preset.codec.par_power)
    return WeightedFrames(np.concatenate(pixels)[:limit], np.concatenate(weights)[:limit])
