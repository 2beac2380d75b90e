"""UniVDM: one 3D U-Net that denoises video and reads the reference picture in the same feature space.

Paper section 4.1.1, Fig. 2; DESIGN 7. Built from diffusers' own layers under the attribute names of its
`UNet3DConditionModel`, so that a ModelScope text-to-video checkpoint loads with only the new modules missing:
`reference_stem`, `reference_projection`, `audio_projection` and every `audio_attentions`. The order inside a layer is
resnet, temporal convolution, spatial attention (self, then the reference's tokens), audio attention, temporal
attention.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from diffusers.configuration_utils import ConfigMixin, register_to_config
from diffusers.models.embeddings import TimestepEmbedding, Timesteps
from diffusers.models.modeling_utils import ModelMixin
from diffusers.models.resnet import Downsample2D, ResnetBlock2D, TemporalConvLayer, Upsample2D
from diffusers.models.transformers.transformer_2d import Transformer2DModel
from diffusers.models.transformers.transformer_temporal import TransformerTemporalModel
from einops import rearrange
from torch import nn
from torch.nn import functional as F
from torch.utils.checkpoint import checkpoint

from paha_core.models.conditioning import AudioAttention, AudioTokens, ReferenceTokens


@dataclass(frozen=True)
class Conditions:
    """What one forward pass is conditioned on, ready for the layers (`b` samples of `f` frames + 1 slot)."""

    time: torch.Tensor  # [b (f+1), time_dim]
    reference: torch.Tensor  # [b (f+1), tokens, cross_attention_dim]
    audio: torch.Tensor | None  # [b f, audio_tokens, audio_dim]
    slots: int  # f + 1


@dataclass(frozen=True)
class Encoded:
    """The state between `encode` and `decode`: the middle block's output and the skip connections."""

    hidden_states: torch.Tensor  # [b (f+1), c, h, w]
    residuals: tuple[torch.Tensor, ...]
    conditions: Conditions


class TemporalConvolution(TemporalConvLayer):
    """diffusers' layer with the same weights; its 3x1x1 convolutions run as 3x1 ones over [frame, cell].

    The same sums, measured twice as fast on a CPU, where PyTorch has no good kernel for the 3D form.
    """

    def forward(self, hidden_states: torch.Tensor, num_frames: int = 1) -> torch.Tensor:
        height, width = hidden_states.shape[-2:]
        video = rearrange(hidden_states, "(b f) c h w -> b c f (h w)", f=num_frames)
        change = video
        for norm, *between, conv in (self.conv1, self.conv2, self.conv3, self.conv4):
            change = norm(change)
            for layer in between:
                change = layer(change)
            change = F.conv2d(change, conv.weight[..., 0], conv.bias, padding=(1, 0))
        return rearrange(video + change, "b c f (h w) -> (b f) c h w", h=height, w=width)


class _Layers(nn.Module):
    """The lists a block is made of, named as diffusers names them, and one pass through layer `i`."""

    def __init__(self, gradient_checkpointing: bool = False) -> None:
        super().__init__()
        self.resnets = nn.ModuleList()
        self.temp_convs = nn.ModuleList()
        self.gradient_checkpointing = gradient_checkpointing

    def add_convolutions(self, make: _Factory, in_channels: int, out_channels: int) -> None:
        self.resnets.append(make.resnet(in_channels, out_channels))
        self.temp_convs.append(make.temporal_convolution(out_channels))

    def add_attentions(self, make: _Factory, channels: int) -> None:
        if not hasattr(self, "attentions"):
            self.attentions = nn.ModuleList()
            self.audio_attentions = nn.ModuleList()
            self.temp_attentions = nn.ModuleList()
        self.attentions.append(make.spatial_attention(channels))
        self.audio_attentions.append(make.audio_attention(channels))
        self.temp_attentions.append(make.temporal_attention(channels))

    def convolve(self, i: int, hidden_states: torch.Tensor, given: Conditions) -> torch.Tensor:
        hidden_states = self.resnets[i](hidden_states, given.time)
        return self.temp_convs[i](hidden_states, num_frames=given.slots)

    def attend(self, i: int, hidden_states: torch.Tensor, given: Conditions) -> torch.Tensor:
        hidden_states = self.attentions[i](
            hidden_states, encoder_hidden_states=given.reference, return_dict=False
        )[0]
        if given.audio is not None:
            hidden_states = self.audio_attentions[i](hidden_states, given.audio, given.slots)
        return self.temp_attentions[i](hidden_states, num_frames=given.slots, return_dict=False)[0]

    def layer(self, i: int, hidden_states: torch.Tensor, given: Conditions) -> torch.Tensor:
        hidden_states = self.convolve(i, hidden_states, given)
        return (
            self.attend(i, hidden_states, given) if hasattr(self, "attentions") else hidden_states
        )

    def run(
        self,
        step: Callable[..., torch.Tensor],
        i: int,
        hidden_states: torch.Tensor,
        given: Conditions,
    ) -> torch.Tensor:
        if self.gradient_checkpointing and self.training:
            return checkpoint(step, i, hidden_states, given, use_reentrant=False)
        return step(i, hidden_states, given)


class DownBlock(_Layers):
    """Layers, then halving; returns the skip connections as well."""

    def __init__(
        self, make: _Factory, channels: tuple[int, int], attention: bool, layers: int, last: bool
    ):
        super().__init__()
        for i in range(layers):
            self.add_convolutions(make, channels[0] if i == 0 else channels[1], channels[1])
            if attention:
                self.add_attentions(make, channels[1])
        if not last:
            down = Downsample2D(
                channels[1], use_conv=True, out_channels=channels[1], padding=1, name="op"
            )
            self.downsamplers = nn.ModuleList([down])

    def forward(
        self, hidden_states: torch.Tensor, given: Conditions
    ) -> tuple[torch.Tensor, tuple[torch.Tensor, ...]]:
        residuals: tuple[torch.Tensor, ...] = ()
        for i in range(len(self.resnets)):
            hidden_states = self.run(self.layer, i, hidden_states, given)
            residuals += (hidden_states,)
        if hasattr(self, "downsamplers"):
            hidden_states = self.downsamplers[0](hidden_states)
            residuals += (hidden_states,)
        return hidden_states, residuals


class MidBlock(_Layers):
    """Convolutions, attentions, convolutions."""

    def __init__(self, make: _Factory, channels: int):
        super().__init__()
        self.add_convolutions(make, channels, channels)
        self.add_attentions(make, channels)
        self.add_convolutions(make, channels, channels)

    def forward(self, hidden_states: torch.Tensor, given: Conditions) -> torch.Tensor:
        hidden_states = self.run(self.convolve, 0, hidden_states, given)
        hidden_states = self.run(self.attend, 0, hidden_states, given)
        return self.run(self.convolve, 1, hidden_states, given)


class UpBlock(_Layers):
    """Layers that each take one skip connection, then doubling."""

    def __init__(
        self,
        make: _Factory,
        channels: int,
        before: int,
        after: int,
        attention: bool,
        layers: int,
        last: bool,
    ):
        super().__init__()
        for i in range(layers):
            skip = after if i == layers - 1 else channels
            self.add_convolutions(make, (before if i == 0 else channels) + skip, channels)
            if attention:
                self.add_attentions(make, channels)
        if not last:
            up = Upsample2D(channels, use_conv=True, out_channels=channels)
            self.upsamplers = nn.ModuleList([up])

    def forward(
        self,
        hidden_states: torch.Tensor,
        residuals: tuple[torch.Tensor, ...],
        given: Conditions,
        size: tuple[int, int] | None,
    ) -> torch.Tensor:
        for i, skip in enumerate(reversed(residuals)):
            hidden_states = torch.cat([hidden_states, skip], dim=1)
            hidden_states = self.run(self.layer, i, hidden_states, given)
        if hasattr(self, "upsamplers"):
            hidden_states = self.upsamplers[0](hidden_states, size)
        return hidden_states


@dataclass(frozen=True)
class _Factory:
    """Makes the layers of one network, so that their common sizes are said once."""

    time_dim: int
    head_dim: int
    cross_attention_dim: int
    audio_dim: int
    groups: int
    dropout: float

    def resnet(self, in_channels: int, out_channels: int) -> nn.Module:
        return ResnetBlock2D(
            in_channels=in_channels,
            out_channels=out_channels,
            temb_channels=self.time_dim,
            eps=1e-5,
            groups=self.groups,
        )

    def temporal_convolution(self, channels: int) -> nn.Module:
        return TemporalConvolution(
            channels, channels, dropout=self.dropout, norm_num_groups=self.groups
        )

    def spatial_attention(self, channels: int) -> nn.Module:
        return Transformer2DModel(
            channels // self.head_dim,
            self.head_dim,
            in_channels=channels,
            num_layers=1,
            cross_attention_dim=self.cross_attention_dim,
            norm_num_groups=self.groups,
        )

    def audio_attention(self, channels: int) -> nn.Module:
        return AudioAttention(channels, self.head_dim, self.audio_dim)

    def temporal_attention(self, channels: int, heads: int | None = None) -> nn.Module:
        return TransformerTemporalModel(
            heads or channels // self.head_dim,
            self.head_dim,
            in_channels=channels,
            num_layers=1,
            norm_num_groups=self.groups,
        )


class UniVDM(ModelMixin, ConfigMixin):
    """The unified video diffusion model G.

    Parameters:
        latent_channels (`int`, defaults to 4): channels C of the codec's latents.
        block_out_channels (`tuple[int]`): channels per level.
        attention_levels (`tuple[bool]`): which levels attend (the base network's last one does not).
        layers_per_block (`int`, defaults to 2): layers per level on the way down; one more on the way up.
        attention_head_dim (`int`, defaults to 64): width of an attention head.
        cross_attention_dim (`int`, defaults to 1024): width of the reference tokens.
        norm_num_groups (`int`, defaults to 32): groups of every GroupNorm.
        reference_width (`int`, defaults to 1024): width of the reference embedding (CLIP ViT-H: 1024).
        reference_tokens (`int`, defaults to 4): tokens made of it.
        audio_layers, audio_width (`int`, default to 12 and 768): audio features per frame.
        audio_margin (`int`, defaults to 2): m, frames of audio on each side.
        audio_tokens, audio_dim (`int`, default to 32 and 768): audio tokens per frame and their width.
        audio_hidden (`int`, defaults to 512): width inside the audio projection.
        dropout (`float`, defaults to 0): dropout of the temporal convolutions (the base trains with 0.1).
    """

    _supports_gradient_checkpointing = True

    @register_to_config
    def __init__(
        self,
        latent_channels: int = 4,
        block_out_channels: tuple[int, ...] = (320, 640, 1280, 1280),
        attention_levels: tuple[bool, ...] = (True, True, True, False),
        layers_per_block: int = 2,
        attention_head_dim: int = 64,
        cross_attention_dim: int = 1024,
        norm_num_groups: int = 32,
        reference_width: int = 1024,
        reference_tokens: int = 4,
        audio_layers: int = 12,
        audio_width: int = 768,
        audio_margin: int = 2,
        audio_tokens: int = 32,
        audio_dim: int = 768,
        audio_hidden: int = 512,
        dropout: float = 0.0,
    ) -> None:
        super().__init__()
        channels = tuple(block_out_channels)
        time_dim = 4 * channels[0]
        make = _Factory(
            time_dim, attention_head_dim, cross_attention_dim, audio_dim, norm_num_groups, dropout
        )
        # input: noisy latents, first-frame latents, first-frame mask
        self.conv_in = nn.Conv2d(2 * latent_channels + 1, channels[0], 3, padding=1)
        self.reference_stem = nn.Sequential(
            nn.Conv2d(latent_channels, channels[0], 3, padding=1),
            nn.SiLU(),
            nn.Conv2d(channels[0], channels[0], 3, padding=1),
        )
        self.transformer_in = make.temporal_attention(channels[0], heads=8)

        # conditions
        self.time_proj = Timesteps(channels[0], True, 0)
        self.time_embedding = TimestepEmbedding(channels[0], time_dim)
        self.reference_projection = ReferenceTokens(
            reference_width, reference_tokens, cross_attention_dim
        )
        features = (2 * audio_margin + 1) * audio_layers * audio_width
        self.audio_projection = AudioTokens(features, audio_tokens, audio_dim, audio_hidden)

        # down, mid, up
        ends = range(len(channels))
        self.down_blocks = nn.ModuleList(
            DownBlock(
                make,
                (channels[max(i - 1, 0)], channels[i]),
                attention_levels[i],
                layers_per_block,
                last=i == ends[-1],
            )
            for i in ends
        )
        self.mid_block = MidBlock(make, channels[-1])
        self.up_blocks = nn.ModuleList(
            UpBlock(
                make,
                channels[i],
                before=channels[min(i + 1, ends[-1])],
                after=channels[max(i - 1, 0)],
                attention=attention_levels[i],
                layers=layers_per_block + 1,
                last=i == 0,
            )
            for i in reversed(ends)
        )

        # output
        self.conv_norm_out = nn.GroupNorm(norm_num_groups, channels[0], eps=1e-5)
        self.conv_out = nn.Conv2d(channels[0], latent_channels, 3, padding=1)

    def enable_gradient_checkpointing(self, *_: object) -> None:
        """Recompute each layer in the backward pass instead of keeping its activations."""
        for block in [*self.down_blocks, self.mid_block, *self.up_blocks]:
            block.gradient_checkpointing = True

    def forward(
        self,
        sample: torch.Tensor,
        timestep: torch.Tensor,
        reference_latents: torch.Tensor,
        reference_embedding: torch.Tensor,
        audio: torch.Tensor | None,
    ) -> torch.Tensor:
        """Predict the noise in `sample`.

        Args:
            sample: [b, 2C+1, f, h, w], see `network_input`.
            timestep: int64 [b].
            reference_latents: [b, C, h, w].
            reference_embedding: [b, reference_width].
            audio: windows A(f) [b, f, 2m+1, layers, width], or None to leave audio out.

        Returns:
            [b, C, f, h, w].
        """
        return self.decode(
            self.encode(sample, timestep, reference_latents, reference_embedding, audio)
        )

    def encode(
        self,
        sample: torch.Tensor,
        timestep: torch.Tensor,
        reference_latents: torch.Tensor,
        reference_embedding: torch.Tensor,
        audio: torch.Tensor | None,
    ) -> Encoded:
        """The first half, down to the middle block; arguments as for `forward`. The classifiers use it."""
        # 1. conditions
        given = self._conditions(sample, timestep, reference_embedding, audio)

        # 2. pre-process: stack the reference as slot 0 along time (f_merge)
        batch = sample.shape[0]
        video = self.conv_in(rearrange(sample, "b c f h w -> (b f) c h w"))
        video = rearrange(video, "(b f) c h w -> b f c h w", b=batch)
        merged = torch.cat([self.reference_stem(reference_latents)[:, None], video], dim=1)
        hidden_states = rearrange(merged, "b s c h w -> (b s) c h w")
        hidden_states = self.transformer_in(
            hidden_states, num_frames=given.slots, return_dict=False
        )[0]

        # 3. down
        residuals: tuple[torch.Tensor, ...] = (hidden_states,)
        for block in self.down_blocks:
            hidden_states, skips = block(hidden_states, given)
            residuals += skips

        # 4. mid
        hidden_states = self.mid_block(hidden_states, given)
        return Encoded(hidden_states, residuals, given)

    def decode(self, encoded: Encoded) -> torch.Tensor:
        """The second half: from the middle block's output to the noise, [b, C, f, h, w]."""
        hidden_states, residuals = encoded.hidden_states, encoded.residuals

        # 5. up
        for block in self.up_blocks:
            count = len(block.resnets)
            skips, residuals = residuals[-count:], residuals[:-count]
            size = residuals[-1].shape[-2:] if residuals else None
            hidden_states = block(hidden_states, skips, encoded.conditions, size)

        # 6. post-process: drop slot 0
        slots = encoded.conditions.slots
        video = rearrange(hidden_states, "(b s) c h w -> b s c h w", s=slots)[:, 1:]
        batch = video.shape[0]
        video = rearrange(video, "b f c h w -> (b f) c h w")
        video = self.conv_out(F.silu(self.conv_norm_out(video)))
        return rearrange(video, "(b f) c h w -> b c f h w", b=batch)

    def _conditions(
        self,
        sample: torch.Tensor,
        timestep: torch.Tensor,
        reference_embedding: torch.Tensor,
        audio: torch.Tensor | None,
    ) -> Conditions:
        slots = sample.shape[2] + 1
        time = self.time_embedding(self.time_proj(timestep).to(sample.dtype))
        reference = self.reference_projection(reference_embedding)
        return Conditions(
            time=time.repeat_interleave(slots, dim=0),
            reference=reference.repeat_interleave(slots, dim=0),
            audio=None if audio is None else self.audio_projection(audio),
            slots=slots,
        )


def network_input(noisy: torch.Tensor, first_frame: torch.Tensor | None) -> torch.Tensor:
    """The 2C+1 channels of `conv_in`: noisy latents, first-frame latents at frame 0, and where they are.

    Args:
        noisy: [b, C, f, h, w].
        first_frame: [b, C, h, w], with zeros for samples that start from pure noise (their mask is zero
            too), or None when no sample has one.

    Returns:
        [b, 2C+1, f, h, w].
    """
    given = torch.zeros_like(noisy)
    mask = torch.zeros_like(noisy[:, :1])
    if first_frame is not None:
        given[:, :, 0] = first_frame
        mask[:, :, 0] = first_frame.flatten(1).ne(0).any(dim=1)[:, None, None, None]
    return torch.cat([noisy, given, mask], dim=1)
