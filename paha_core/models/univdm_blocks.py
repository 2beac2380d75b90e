"""The blocks of UniVDM: diffusers' own layers under its names, with audio attention among them.

The order inside a layer is resnet, temporal convolution, spatial attention (self, then the
reference's tokens), audio attention, temporal attention.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from diffusers.models.resnet import Downsample2D, ResnetBlock2D, TemporalConvLayer, Upsample2D
from diffusers.models.transformers.transformer_2d import Transformer2DModel
from diffusers.models.transformers.transformer_temporal import TransformerTemporalModel
from einops import rearrange
from torch import nn
from torch.nn import functional as F
from torch.utils.checkpoint import checkpoint

from paha_core.models.conditioning import AudioAttention


@dataclass(frozen=True)
class Conditions:
    """What one forward pass is conditioned on, ready for the layers (`b` samples of `f` frames + 1
    slot)."""

    time: torch.Tensor  # [b (f+1), time_dim]
    reference: torch.Tensor  # [b (f+1), tokens, cross_attention_dim]
    audio: torch.Tensor | None  # [b f, audio_tokens, audio_dim]
    slots: int  # f + 1


class TemporalConvolution(TemporalConvLayer):
    """diffusers' layer with the same weights; its 3x1x1 convolutions run as 3x1 ones over [frame,
    cell].

    The same sums, measured twice as fast on a CPU, where PyTorch has no good kernel for the 3D
    form.
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


class Layers(nn.Module):
    """The lists a block is made of, named as diffusers names them, and one pass through layer
    `i`."""

    gradient_checkpointing = False

    def __init__(self) -> None:
        super().__init__()
        self.resnets = nn.ModuleList()
        self.temp_convs = nn.ModuleList()

    def add_convolutions(self, make: LayerFactory, in_channels: int, out_channels: int) -> None:
        self.resnets.append(make.resnet(in_channels, out_channels))
        self.temp_convs.append(make.temporal_convolution(out_channels))

    def add_attentions(self, make: LayerFactory, channels: int) -> None:
        if not hasattr(self, "attentions"):
            self.attentions = nn.ModuleList()
            self.audio_attentions = nn.ModuleList()
            self.temp_attentions = nn.ModuleList()
        self.attentions.append(make.spatial_attention(channels))
        self.audio_attentions.append(make.audio_attention(channels))
        self.temp_attentions.append(make.temporal_attention(channels))

    @property
    def skips(self) -> int:
        """How many skip connections the block takes: one a layer."""
        return len(self.resnets)

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


class DownBlock(Layers):
    """Layers, then halving; returns the skip connections as well."""

    def __init__(
        self,
        make: LayerFactory,
        channels: tuple[int, int],
        attention: bool,
        layers: int,
        last: bool,
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


class MidBlock(Layers):
    """Convolutions, attentions, convolutions."""

    def __init__(self, make: LayerFactory, channels: int):
        super().__init__()
        self.add_convolutions(make, channels, channels)
        self.add_attentions(make, channels)
        self.add_convolutions(make, channels, channels)

    def forward(self, hidden_states: torch.Tensor, given: Conditions) -> torch.Tensor:
        hidden_states = self.run(self.convolve, 0, hidden_states, given)
        hidden_states = self.run(self.attend, 0, hidden_states, given)
        return self.run(self.convolve, 1, hidden_states, given)


class UpBlock(Layers):
    """Layers that each take one skip connection, then doubling."""

    def __init__(
        self,
        make: LayerFactory,
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
class LayerFactory:
    """Makes the layers of one network, so that their common sizes are said once."""

    time_dim: int
    head_dim: int
    cross_attention_dim: int
    audio_dim: int
    groups: int

    def resnet(self, in_channels: int, out_channels: int) -> nn.Module:
        return ResnetBlock2D(
            in_channels=in_channels,
            out_channels=out_channels,
            temb_channels=self.time_dim,
            eps=1e-5,
            groups=self.groups,
        )

    def temporal_convolution(self, channels: int) -> nn.Module:
        return TemporalConvolution(channels, channels, norm_num_groups=self.groups)

    def spatial_attention(self, channels: int) -> nn.Module:
        return Transformer2DModel(
            channels // self.head_dim,
            self.head_dim,
            in_channels=channels,
            num_layers=1,
            cross_attention_dim=self.cross_attention_dim,
            norm_num_groups=self.groups,
            use_linear_projection=True,
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
