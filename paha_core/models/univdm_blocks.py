"""The blocks of UniVDM: diffusers' own layers under its names, with audio attention among them.

The order inside a layer is resnet, temporal convolution, spatial attention (self, then the
reference's tokens), audio attention, temporal attention. With gradient checkpointing each of these
keeps only its input and is recomputed in the backward pass.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from diffusers.models.attention_processor import Attention
from diffusers.models.resnet import Downsample2D, ResnetBlock2D, TemporalConvLayer, Upsample2D
from diffusers.models.transformers.transformer_2d import Transformer2DModel
from diffusers.models.transformers.transformer_temporal import TransformerTemporalModel
from einops import rearrange
from torch import nn
from torch.nn import functional as F
from torch.utils.checkpoint import checkpoint

from paha_core.models.attention import attention
from paha_core.models.conditioning import AudioAttention


@dataclass(frozen=True)
class LayerConditions:
    """The conditions of one forward pass, repeated for each frame as the layers read them (`b`
    samples of `f` frames and the reference's slot)."""

    time: torch.Tensor  # [b (f+1), time_dim]
    reference: torch.Tensor  # [b (f+1), tokens, cross_attention_dim]
    audio: torch.Tensor | None  # [b f, audio_tokens, audio_dim]
    slots: int  # f + 1


class ResnetBlock(ResnetBlock2D):
    """diffusers' layer with the same weights but without its options, which saves kernels that
    divide by 1."""

    def forward(self, hidden_states: torch.Tensor, time: torch.Tensor) -> torch.Tensor:
        residual = self.conv1(F.silu(self.norm1(hidden_states)))
        residual = residual + self.time_emb_proj(F.silu(time))[:, :, None, None]
        residual = self.conv2(F.silu(self.norm2(residual)))
        if self.conv_shortcut is not None:
            hidden_states = self.conv_shortcut(hidden_states)
        return hidden_states + residual


class PlainAttention:
    """diffusers' attention processor, likewise without its options."""

    def __call__(
        self,
        attn: Attention,
        hidden_states: torch.Tensor,
        encoder_hidden_states: torch.Tensor | None = None,
        attention_mask: torch.Tensor | None = None,
    ) -> torch.Tensor:
        context = hidden_states if encoder_hidden_states is None else encoder_hidden_states
        query, key, value = (
            rearrange(x, "b l (d c) -> b d l c", d=attn.heads)
            for x in (attn.to_q(hidden_states), attn.to_k(context), attn.to_v(context))
        )
        attended = attention(query, key, value)
        output: torch.Tensor = attn.to_out[0](rearrange(attended, "b d l c -> b l (d c)"))
        return output


class TemporalConvolution(TemporalConvLayer):
    """diffusers' layer with the same weights; its 3x1x1 convolutions run as 3x1 ones over [frame,
    cell].

    The same sums, measured twice as fast on a CPU, where PyTorch has no good kernel for the 3D
    form.
    """

    def forward(self, hidden_states: torch.Tensor, num_frames: int = 1) -> torch.Tensor:
        height, width = hidden_states.shape[-2:]
        video = rearrange(hidden_states, "(b f) c h w -> b c f (h w)", f=num_frames)
        residual = video
        for norm, *between, conv in (self.conv1, self.conv2, self.conv3, self.conv4):
            residual = norm(residual)
            for layer in between:
                residual = layer(residual)
            residual = F.conv2d(residual, conv.weight.squeeze(-1), conv.bias, padding=(1, 0))
        return rearrange(video + residual, "b c f (h w) -> (b f) c h w", h=height, w=width)


class Checkpointed:
    """A module that can trade the activations of its layers for a second forward pass."""

    gradient_checkpointing = False

    def maybe_checkpoint(
        self, layer: Callable[..., torch.Tensor], *args: Any, **kwargs: Any
    ) -> torch.Tensor:
        """`layer(*args, **kwargs)`. With `gradient_checkpointing` only its input is kept for the
        backward pass, in evaluation mode too: guidance takes gradients of a classifier there."""
        if self.gradient_checkpointing and torch.is_grad_enabled():
            # Nothing in the network is random, so no random state has to be restored.
            return checkpoint(layer, *args, use_reentrant=False, preserve_rng_state=False, **kwargs)
        return layer(*args, **kwargs)


class Block(Checkpointed, nn.Module):
    """The layers of a block in lists, named as diffusers names them."""

    def __init__(self) -> None:
        super().__init__()
        self.resnets = nn.ModuleList()
        self.temp_convs = nn.ModuleList()

    def add_convolutions(self, layers: LayerFactory, in_channels: int, out_channels: int) -> None:
        self.resnets.append(layers.resnet(in_channels, out_channels))
        self.temp_convs.append(layers.temporal_convolution(out_channels))

    def add_attentions(self, layers: LayerFactory, channels: int) -> None:
        if not hasattr(self, "attentions"):
            self.attentions = nn.ModuleList()
            self.audio_attentions = nn.ModuleList()
            self.temp_attentions = nn.ModuleList()
        self.attentions.append(layers.spatial_attention(channels))
        self.audio_attentions.append(layers.audio_attention(channels))
        self.temp_attentions.append(layers.temporal_attention(channels))

    def layer(
        self, i: int, hidden_states: torch.Tensor, conditions: LayerConditions
    ) -> torch.Tensor:
        """Layer `i` of the block."""
        hidden_states = self.convolve(i, hidden_states, conditions)
        if hasattr(self, "attentions"):
            hidden_states = self.attend(i, hidden_states, conditions)
        return hidden_states

    def convolve(
        self, i: int, hidden_states: torch.Tensor, conditions: LayerConditions
    ) -> torch.Tensor:
        hidden_states = self.maybe_checkpoint(self.resnets[i], hidden_states, conditions.time)
        return self.maybe_checkpoint(self.temp_convs[i], hidden_states, conditions.slots)

    def attend(
        self, i: int, hidden_states: torch.Tensor, conditions: LayerConditions
    ) -> torch.Tensor:
        hidden_states = self.maybe_checkpoint(
            self.attentions[i], hidden_states, conditions.reference, return_dict=False
        )[0]
        if conditions.audio is not None:
            hidden_states = self.maybe_checkpoint(
                self.audio_attentions[i], hidden_states, conditions.audio, conditions.slots
            )
        return self.maybe_checkpoint(
            self.temp_attentions[i],
            hidden_states,
            num_frames=conditions.slots,
            return_dict=False,
        )[0]


class DownBlock(Block):
    """Layers, then downsampling by 2; returns the skip connections as well."""

    def __init__(
        self,
        layers: LayerFactory,
        in_channels: int,
        out_channels: int,
        attention: bool,
        num_layers: int,
        is_last: bool,
    ):
        super().__init__()
        for i in range(num_layers):
            self.add_convolutions(layers, in_channels if i == 0 else out_channels, out_channels)
            if attention:
                self.add_attentions(layers, out_channels)
        if not is_last:
            downsampler = Downsample2D(
                out_channels, use_conv=True, out_channels=out_channels, padding=1, name="op"
            )
            self.downsamplers = nn.ModuleList([downsampler])

    def forward(
        self, hidden_states: torch.Tensor, conditions: LayerConditions
    ) -> tuple[torch.Tensor, tuple[torch.Tensor, ...]]:
        residuals: tuple[torch.Tensor, ...] = ()
        for i in range(len(self.resnets)):
            hidden_states = self.layer(i, hidden_states, conditions)
            residuals += (hidden_states,)
        if hasattr(self, "downsamplers"):
            hidden_states = self.downsamplers[0](hidden_states)
            residuals += (hidden_states,)
        return hidden_states, residuals


class MidBlock(Block):
    """Convolutions, attentions, convolutions."""

    def __init__(self, layers: LayerFactory, channels: int):
        super().__init__()
        self.add_convolutions(layers, channels, channels)
        self.add_attentions(layers, channels)
        self.add_convolutions(layers, channels, channels)

    def forward(self, hidden_states: torch.Tensor, conditions: LayerConditions) -> torch.Tensor:
        hidden_states = self.convolve(0, hidden_states, conditions)
        hidden_states = self.attend(0, hidden_states, conditions)
        return self.convolve(1, hidden_states, conditions)


class UpBlock(Block):
    """Layers that take one skip connection each, then upsampling by 2."""

    def __init__(
        self,
        layers: LayerFactory,
        in_channels: int,
        out_channels: int,
        next_channels: int,
        attention: bool,
        num_layers: int,
        is_last: bool,
    ):
        super().__init__()
        for i in range(num_layers):
            skip_channels = next_channels if i == num_layers - 1 else out_channels
            before = in_channels if i == 0 else out_channels
            self.add_convolutions(layers, before + skip_channels, out_channels)
            if attention:
                self.add_attentions(layers, out_channels)
        if not is_last:
            upsampler = Upsample2D(out_channels, use_conv=True, out_channels=out_channels)
            self.upsamplers = nn.ModuleList([upsampler])

    def forward(
        self,
        hidden_states: torch.Tensor,
        residuals: tuple[torch.Tensor, ...],
        conditions: LayerConditions,
        upsample_size: tuple[int, int] | None,
    ) -> torch.Tensor:
        for i, residual in enumerate(reversed(residuals)):
            hidden_states = torch.cat([hidden_states, residual], dim=1)
            hidden_states = self.layer(i, hidden_states, conditions)
        if hasattr(self, "upsamplers"):
            hidden_states = self.upsamplers[0](hidden_states, upsample_size)
        return hidden_states


@dataclass(frozen=True)
class LayerFactory:
    """Makes the layers of one network, so that the sizes they share are given once."""

    time_dim: int
    head_dim: int
    cross_attention_dim: int
    audio_dim: int
    groups: int

    def resnet(self, in_channels: int, out_channels: int) -> nn.Module:
        return ResnetBlock(
            in_channels=in_channels,
            out_channels=out_channels,
            temb_channels=self.time_dim,
            eps=1e-5,
            groups=self.groups,
        )

    def temporal_convolution(self, channels: int) -> nn.Module:
        return TemporalConvolution(channels, channels, norm_num_groups=self.groups)

    def spatial_attention(self, channels: int) -> nn.Module:
        transformer = Transformer2DModel(
            channels // self.head_dim,
            self.head_dim,
            in_channels=channels,
            num_layers=1,
            cross_attention_dim=self.cross_attention_dim,
            norm_num_groups=self.groups,
            use_linear_projection=True,
        )
        return _with_plain_attention(transformer)

    def audio_attention(self, channels: int) -> nn.Module:
        return AudioAttention(channels, self.head_dim, self.audio_dim)

    def temporal_attention(self, channels: int, heads: int | None = None) -> nn.Module:
        transformer = TransformerTemporalModel(
            heads or channels // self.head_dim,
            self.head_dim,
            in_channels=channels,
            num_layers=1,
            norm_num_groups=self.groups,
        )
        return _with_plain_attention(transformer)


def _with_plain_attention(transformer: nn.Module) -> nn.Module:
    for module in transformer.modules():
        if isinstance(module, Attention):
            module.set_processor(PlainAttention())
    return transformer
