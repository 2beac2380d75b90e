"""The latent codec: Stable Diffusion's AutoencoderKL from given weights, or a small one trained on
the corpus, of that class or a `PatchAutoencoder`.

Latents leave here normalised to about zero mean and unit variance per channel, whatever the
autoencoder: the diffusion noise has unit variance, and cells of very different scale would never be
learned together. The small one can fold patches of pixels into channels first: full-resolution
convolutions are most of the cost on a CPU.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
import torch
from diffusers import AutoencoderKL
from torch.nn import functional as F

from paha_core.config import CodecConfig
from paha_core.errors import run_first
from paha_core.models.patch_autoencoder import PatchAutoencoder
from paha_core.pretrained import load_frozen, weights_sha256

Autoencoder: TypeAlias = AutoencoderKL | PatchAutoencoder


def new_autoencoder(config: CodecConfig) -> Autoencoder:
    """A fresh autoencoder of the configured class and size."""
    if config.architecture == "patch":
        return PatchAutoencoder(
            in_channels=3 * config.patch**2,
            out_channels=3 * config.patch**2,
            block_out_channels=config.block_out_channels,
            layers_per_block=config.layers_per_block,
            latent_channels=config.latent_channels,
            latent_noise=config.latent_noise,
            sample_size=config.size,
        )
    levels = len(config.block_out_channels)
    return AutoencoderKL(
        in_channels=3 * config.patch**2,
        out_channels=3 * config.patch**2,
        down_block_types=("DownEncoderBlock2D",) * levels,
        up_block_types=("UpDecoderBlock2D",) * levels,
        block_out_channels=config.block_out_channels,
        layers_per_block=config.layers_per_block,
        latent_channels=config.latent_channels,
        norm_num_groups=config.norm_groups,
        sample_size=config.size,
    )


def autoencoder_class(place: str | Path) -> Any:
    """The class whose weights lie in a folder; AutoencoderKL for any other place, such as a hub
    id."""
    config = Path(place).expanduser() / "config.json"
    named = json.loads(config.read_text()).get("_class_name") if config.is_file() else None
    return PatchAutoencoder if named == PatchAutoencoder.__name__ else AutoencoderKL


class Codec:
    """An autoencoder with its normalisation, on whole clips (protocol `LatentCodec`)."""

    def __init__(self, autoencoder: Autoencoder, name: str, sha256: str, batch: int = 32) -> None:
        self.autoencoder = autoencoder.eval().requires_grad_(False)
        self.name, self.sha256, self.batch = name, sha256, batch
        settings = autoencoder.config
        self.channels = int(settings.latent_channels)
        self.patch = round((settings.in_channels / 3) ** 0.5)
        self.factor = int(self.patch * 2 ** (len(settings.block_out_channels) - 1))
        mean, std = settings.latents_mean, settings.latents_std
        if mean is None:  # Stable Diffusion's codec has one factor for all channels
            mean, std = [0.0] * self.channels, [1 / settings.scaling_factor] * self.channels
        self.mean = torch.tensor(mean).view(1, -1, 1, 1)
        self.std = torch.tensor(std).view(1, -1, 1, 1)

    @property
    def device(self) -> torch.device:
        return self.autoencoder.device

    @torch.no_grad()
    def encode(self, frames: np.ndarray) -> torch.Tensor:
        """uint8 RGB [T, H, W, 3] to float32 [T, C, H/factor, W/factor] on the CPU."""
        pieces = []
        for piece in torch.from_numpy(frames).split(self.batch):
            # Copied as bytes, a quarter of the size of floats, and converted on the device.
            pixels = fold(to_pixels(piece.to(self.device)), self.patch)
            posterior = self.autoencoder.encode(pixels.to(self.autoencoder.dtype)).latent_dist
            pieces.append(posterior.mode().float())
        return (torch.cat(pieces).cpu() - self.mean) / self.std

    @torch.no_grad()
    def decode(self, latents: torch.Tensor) -> np.ndarray:
        """float [T, C, h, w] to uint8 RGB [T, h*factor, w*factor, 3]."""
        pieces = []
        for piece in latents.float().cpu().split(self.batch):
            raw = piece * self.std + self.mean
            pixels = self.autoencoder.decode(raw.to(self.device, self.autoencoder.dtype)).sample
            pieces.append(to_frames(unfold(pixels, self.patch)))
        return np.concatenate(pieces)


def to_pixels(frames: np.ndarray | torch.Tensor) -> torch.Tensor:
    """uint8 [T, H, W, 3] to float32 [T, 3, H, W] in -1..1, on the device of `frames`."""
    return torch.as_tensor(frames).permute(0, 3, 1, 2).float() / 127.5 - 1


def fold(pixels: torch.Tensor, patch: int) -> torch.Tensor:
    """Each patch of pixels into channels: [T, 3, H, W] to [T, 3 patch^2, H/patch, W/patch]."""
    return F.pixel_unshuffle(pixels, patch) if patch > 1 else pixels


def unfold(folded: torch.Tensor, patch: int) -> torch.Tensor:
    """The inverse of `fold`."""
    return F.pixel_shuffle(folded, patch) if patch > 1 else folded


def to_frames(pixels: torch.Tensor) -> np.ndarray:
    """float [T, 3, H, W] in -1..1 to uint8 [T, H, W, 3]."""
    levels = ((pixels.float() + 1) * 127.5).round().clamp(0, 255).to(torch.uint8)
    return levels.permute(0, 2, 3, 1).cpu().numpy()


def open_codec(config: CodecConfig, trained: Path | None, device: str = "cpu") -> Codec:
    """The codec a preset names: `config.pretrained`, else the one trained on the corpus at
    `trained`.

    Raises `FileNotFoundError` when neither is there.
    """
    if config.pretrained:
        place = config.pretrained
        kind = "patch" if autoencoder_class(place) is PatchAutoencoder else "autoencoder-kl"
        name = f"{kind}:{Path(place).name}"
    elif trained is not None and (trained / "config.json").is_file():
        kind = "kl" if autoencoder_class(trained) is AutoencoderKL else "patch"
        place, name = str(trained), f"small-{kind}-f{config.factor}"
    else:
        raise FileNotFoundError(
            f"no codec weights: {run_first('latent_codec')}, or set codec.pretrained"
        )
    autoencoder = load_frozen(
        autoencoder_class(place), place, "codec.pretrained", safetensors_only=True
    )
    return Codec(autoencoder.to(device), name, weights_sha256(autoencoder), config.batch)
