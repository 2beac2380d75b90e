"""An autoencoder that starts as the principal components of patches and learns what they leave out.

A linear map of patches to latents and back, fitted before the training and fixed from then on, plus
convolutions for the residual. Drawn pictures in 48 channels of 16 x 16 patches have 32 dB from the
linear map alone, where an AutoencoderKL begins at 15. Neither norms nor attention: on a CPU those
took longer than the convolutions.
"""

from __future__ import annotations

import torch
from diffusers import ConfigMixin, ModelMixin
from diffusers.configuration_utils import register_to_config
from diffusers.models.autoencoders.vae import DecoderOutput, DiagonalGaussianDistribution
from diffusers.models.modeling_outputs import AutoencoderKLOutput
from torch import nn
from torch.nn import functional as F


class ResidualBlock(nn.Module):
    """Two 3x3 convolutions, small at first: deep stacks train without norms."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(channels, channels, 3, padding=1)
        self.conv2 = nn.Conv2d(channels, channels, 3, padding=1)
        with torch.no_grad():
            self.conv2.weight.mul_(0.1)

    def forward(self, hidden_states: torch.Tensor) -> torch.Tensor:
        # leaky: a ReLU without a norm before it can die for good
        return hidden_states + self.conv2(F.leaky_relu(self.conv1(hidden_states), 0.1))


class PatchAutoencoder(ModelMixin, ConfigMixin):
    """diffusers' interface of an AutoencoderKL, on folded pixels.

    Args:
        in_channels, out_channels: of folded pixels, 3 patch^2.
        block_out_channels: from the folded pixels' grid down to that of the latents, half at each.
        layers_per_block: residual blocks of each level of the decoder; the encoder has one.
        latent_noise: standard deviation of the latents' distribution, the same everywhere: what
            the decoder learns to bear.
        latents_mean, latents_std: per channel over the corpus, from training.
    """

    @register_to_config
    def __init__(
        self,
        in_channels: int = 48,
        out_channels: int = 48,
        block_out_channels: tuple[int, ...] = (64, 128, 192),
        layers_per_block: int = 2,
        latent_channels: int = 48,
        latent_noise: float = 0.0,
        sample_size: int = 256,
        scaling_factor: float = 1.0,
        latents_mean: list[float] | None = None,
        latents_std: list[float] | None = None,
    ) -> None:
        super().__init__()
        levels = block_out_channels
        self.cell = 2 ** (len(levels) - 1)  # a latent cell's side on the folded grid
        values = in_channels * self.cell**2
        self.register_buffer("linear_mean", torch.zeros(values))
        self.register_buffer("linear_encoder", torch.zeros(latent_channels, values, 1, 1))
        self.register_buffer("linear_decoder", torch.zeros(values, latent_channels, 1, 1))

        encoder: list[nn.Module] = [nn.Conv2d(in_channels, levels[0], 3, padding=1)]
        for i, channels in enumerate(levels):
            if i:
                encoder += [nn.PixelUnshuffle(2), nn.Conv2d(4 * levels[i - 1], channels, 1)]
            encoder.append(ResidualBlock(channels))
        self.encoder = nn.Sequential(*encoder, _zero(nn.Conv2d(levels[-1], latent_channels, 1)))

        decoder: list[nn.Module] = [nn.Conv2d(latent_channels, levels[-1], 3, padding=1)]
        for i in reversed(range(len(levels))):
            decoder += [ResidualBlock(levels[i]) for _ in range(layers_per_block)]
            if i:
                up = nn.Conv2d(levels[i], 4 * levels[i - 1], 3, padding=1)
                decoder += [up, nn.PixelShuffle(2)]
        self.decoder = nn.Sequential(
            *decoder, _zero(nn.Conv2d(levels[0], out_channels, 3, padding=1))
        )

    @torch.no_grad()
    def fit_linear(self, pixels: torch.Tensor) -> None:
        """Set the linear maps to the principal components of the patches of folded pixels
        [n, c, h, w], scaled to latents of unit variance."""
        patches = F.pixel_unshuffle(pixels, self.cell).permute(0, 2, 3, 1).flatten(0, 2).double()
        mean = patches.mean(0)
        variances, vectors = torch.linalg.eigh((patches - mean).T @ (patches - mean) / len(patches))
        count = len(self.linear_encoder)
        vectors = vectors[:, -count:].flip(1)
        deviations = variances[-count:].flip(0).clamp(min=1e-12).sqrt()
        self.linear_mean.copy_(mean)
        self.linear_encoder.copy_((vectors / deviations).T[..., None, None])
        self.linear_decoder.copy_((vectors * deviations)[..., None, None])

    def encode(self, pixels: torch.Tensor) -> AutoencoderKLOutput:
        """[n, in_channels, h, w] to a distribution of latents on a grid `cell` times coarser."""
        pixels = pixels.contiguous(memory_format=torch.channels_last)  # twice as fast on a CPU
        patches = F.pixel_unshuffle(pixels, self.cell) - self.linear_mean[:, None, None]
        mean = F.conv2d(patches, self.linear_encoder) + self.encoder(pixels)
        deviation = torch.full_like(mean, max(self.config.latent_noise, 1e-6))
        moments = torch.cat([mean, 2 * deviation.log()], dim=1)
        return AutoencoderKLOutput(latent_dist=DiagonalGaussianDistribution(moments))

    def decode(self, latents: torch.Tensor) -> DecoderOutput:
        """[n, latent_channels, h, w] to folded pixels in about -1..1."""
        latents = latents.contiguous(memory_format=torch.channels_last)
        patches = F.conv2d(latents, self.linear_decoder) + self.linear_mean[:, None, None]
        return DecoderOutput(sample=F.pixel_shuffle(patches, self.cell) + self.decoder(latents))


def _zero(layer: nn.Conv2d) -> nn.Conv2d:
    """A last layer that adds nothing at first."""
    nn.init.zeros_(layer.weight)
    if layer.bias is not None:
        nn.init.zeros_(layer.bias)
    return layer
