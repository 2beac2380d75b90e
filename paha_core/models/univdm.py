"""UniVDM: one 3D U-Net that denoises video and reads the reference picture in the same feature
space.

Paper section 4.1.1, Fig. 2; docs/design.md 7. Built from diffusers' own layers under the attribute
names of its `UNet3DConditionModel`, so that a ModelScope text-to-video checkpoint loads with only
the new modules missing: `reference_stem`, `reference_projection`, `audio_projection` and every
`audio_attentions`. The order inside a layer is resnet, temporal convolution, spatial attention
(self, then the reference's tokens), audio attention, temporal attention.

What holds at initial values, with the base network's weights loaded (tested): the first-frame
channels and the audio attentions are zero, so UniVDM on f frames is the base network on f + 1, with
`reference_stem`'s features in place of `conv_in`'s at slot 0 and the reference's tokens as context;
slot 0 of the output is dropped. Only temporal layers carry slot 0 to the frames: with it masked out
of them, the output is the base network's on the f frames alone.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from diffusers.configuration_utils import ConfigMixin, register_to_config
from diffusers.models.embeddings import TimestepEmbedding, Timesteps
from diffusers.models.modeling_utils import ModelMixin
from einops import rearrange
from torch import nn
from torch.nn import functional as F

from paha_core.models.conditioning import AudioTokens, ReferenceTokens
from paha_core.models.univdm_blocks import (
    Checkpointed,
    DownBlock,
    LayerConditions,
    LayerFactory,
    MidBlock,
    UpBlock,
)


@dataclass(frozen=True)
class EncodedConditions:
    """The conditions of `b` samples of `f` frames after their own encoders. They do not depend on
    the timestep, so a sampler computes them once for all its steps."""

    reference_latents: torch.Tensor  # [b, C, h, w]
    reference_features: torch.Tensor  # [b, c, h, w], slot 0 of the video
    reference_tokens: torch.Tensor  # [b, tokens, cross_attention_dim]
    audio_tokens: torch.Tensor | None  # [b, f, audio_tokens, audio_dim]

    def rows(self, rows: slice) -> EncodedConditions:
        """The conditions of a slice of the batch."""
        return self._each(lambda x: x[rows])

    def repeated(self, times: int) -> EncodedConditions:
        """The conditions of `times` states of every sample, batched one after another."""
        return self if times == 1 else self._each(lambda x: torch.cat([x] * times))

    def _each(self, change: Callable[[torch.Tensor], torch.Tensor]) -> EncodedConditions:
        audio = None if self.audio_tokens is None else change(self.audio_tokens)
        return EncodedConditions(
            change(self.reference_latents),
            change(self.reference_features),
            change(self.reference_tokens),
            audio,
        )


@dataclass(frozen=True)
class EncoderOutput:
    """The state between `encode` and `decode`: the middle block's output and the skip
    connections."""

    hidden_states: torch.Tensor  # [b (f+1), c, h, w]
    residuals: tuple[torch.Tensor, ...]
    conditions: LayerConditions


class UniVDM(Checkpointed, ModelMixin, ConfigMixin):
    """The unified video diffusion model G.

    Parameters:
        latent_channels (`int`, defaults to 4): channels C of the codec's latents.
        block_out_channels (`tuple[int]`): channels per level.
        attention_levels (`tuple[bool]`): which levels attend (the base network's last one does
            not).
        layers_per_block (`int`, defaults to 2): layers per level on the way down; one more on the
            way up.
        attention_head_dim (`int`, defaults to 64): width of an attention head.
        input_heads (`int`, defaults to 8): heads of the temporal attention on the input.
        cross_attention_dim (`int`, defaults to 1024): width of the reference tokens.
        norm_num_groups (`int`, defaults to 32): groups of every GroupNorm.
        reference_width (`int`, defaults to 1024): width of the reference embedding (CLIP ViT-H:
            1024).
        reference_tokens (`int`, defaults to 4): tokens made of it.
        audio_layers, audio_width (`int`, default to 12 and 768): audio features per frame.
        audio_margin (`int`, defaults to 2): m, frames of audio on each side.
        audio_tokens, audio_dim (`int`, default to 32 and 768): audio tokens per frame and their
        width.
        audio_hidden (`int`, defaults to 512): width inside the audio projection.
        reference_skip (`bool`, defaults to `False`): the output is the reference's latents, and
            new content where a mask says so, for each channel of a cell. For a network that
            predicts the clean sample.
    """

    _supports_gradient_checkpointing = True
    # What `models.compiled` compiles: small graphs that warm up in seconds.
    _repeated_blocks = (
        "ResnetBlock",
        "TemporalConvolution",
        "Transformer2DModel",
        "AudioAttention",
        "TransformerTemporalModel",
    )

    @register_to_config
    def __init__(
        self,
        latent_channels: int = 4,
        block_out_channels: tuple[int, ...] = (320, 640, 1280, 1280),
        attention_levels: tuple[bool, ...] = (True, True, True, False),
        layers_per_block: int = 2,
        attention_head_dim: int = 64,
        input_heads: int = 8,
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
        reference_skip: bool = False,
    ) -> None:
        super().__init__()
        channels = tuple(block_out_channels)
        time_dim = 4 * channels[0]
        layers = LayerFactory(
            time_dim, attention_head_dim, cross_attention_dim, audio_dim, norm_num_groups
        )
        # input: noisy latents, first-frame latents, first-frame mask
        self.conv_in = nn.Conv2d(2 * latent_channels + 1, channels[0], 3, padding=1)
        self.reference_stem = nn.Sequential(
            nn.Conv2d(latent_channels, channels[0], 3, padding=1),
            nn.SiLU(),
            nn.Conv2d(channels[0], channels[0], 3, padding=1),
        )
        self.transformer_in = layers.temporal_attention(channels[0], heads=input_heads)

        # conditions
        self.time_proj = Timesteps(channels[0], True, 0)
        self.time_embedding = TimestepEmbedding(channels[0], time_dim)
        self.reference_projection = ReferenceTokens(
            reference_width, reference_tokens, cross_attention_dim
        )
        features = (2 * audio_margin + 1) * audio_layers * audio_width
        self.audio_projection = AudioTokens(features, audio_tokens, audio_dim, audio_hidden)

        # down, mid, up
        last = len(channels) - 1
        self.down_blocks = nn.ModuleList(
            DownBlock(
                layers,
                in_channels=channels[max(i - 1, 0)],
                out_channels=channels[i],
                attention=attention_levels[i],
                num_layers=layers_per_block,
                is_last=i == last,
            )
            for i in range(len(channels))
        )
        self.mid_block = MidBlock(layers, channels[-1])
        self.up_blocks = nn.ModuleList(
            UpBlock(
                layers,
                in_channels=channels[min(i + 1, last)],
                out_channels=channels[i],
                next_channels=channels[max(i - 1, 0)],
                attention=attention_levels[i],
                num_layers=layers_per_block + 1,
                is_last=i == 0,
            )
            for i in reversed(range(len(channels)))
        )

        # output
        self.conv_norm_out = nn.GroupNorm(norm_num_groups, channels[0], eps=1e-5)
        outputs = (1 + reference_skip) * latent_channels  # content, and the mask's logits
        self.conv_out = nn.Conv2d(channels[0], outputs, 3, padding=1)
        if reference_skip:  # at first a mask of 0.12 of nothing: nearly the reference
            nn.init.zeros_(self.conv_out.weight)
            self.conv_out.bias = nn.Parameter(torch.arange(outputs) // latent_channels * -2.0)

    def enable_gradient_checkpointing(self, *_: object) -> None:
        """Recompute each layer in the backward pass instead of keeping its activations."""
        for module in self.modules():
            if isinstance(module, Checkpointed):
                module.gradient_checkpointing = True

    def forward(
        self,
        sample: torch.Tensor,
        timestep: torch.Tensor,
        reference_latents: torch.Tensor,
        reference_embedding: torch.Tensor,
        audio: torch.Tensor | None,
    ) -> torch.Tensor:
        """Predict the noise in `sample` (or v, as trained).

        Args:
            sample: [b, 2C+1, f, h, w], see `network_input`.
            timestep: int64 [b].
            reference_latents: [b, C, h, w].
            reference_embedding: [b, reference_width].
            audio: windows A(f) [b, f, 2m+1, layers, width], or None to leave audio out.

        Returns:
            [b, C, f, h, w].
        """
        conditions = self.encode_conditions(reference_latents, reference_embedding, audio)
        return self.denoise(sample, timestep, conditions)

    def encode_conditions(
        self,
        reference_latents: torch.Tensor,
        reference_embedding: torch.Tensor,
        audio: torch.Tensor | None,
    ) -> EncodedConditions:
        """What `denoise` reads of the conditions; arguments as for `forward`."""
        return EncodedConditions(
            reference_latents=reference_latents,
            reference_features=self.reference_stem(reference_latents),
            reference_tokens=self.reference_projection(reference_embedding),
            audio_tokens=None if audio is None else self.audio_projection(audio),
        )

    def denoise(
        self, sample: torch.Tensor, timestep: torch.Tensor, conditions: EncodedConditions
    ) -> torch.Tensor:
        """`forward` with conditions that are encoded already."""
        output = self.decode(self.encode(sample, timestep, conditions))
        if self.config.reference_skip:
            content, logits = output.float().chunk(2, dim=1)
            output = torch.lerp(
                conditions.reference_latents[:, :, None].float(), content, logits.sigmoid()
            ).to(output.dtype)
        return output

    def encode(
        self, sample: torch.Tensor, timestep: torch.Tensor, conditions: EncodedConditions
    ) -> EncoderOutput:
        """The first half, down to the middle block. The classifiers use it."""
        # 1. time, and the conditions of every frame
        layer_conditions = self._layer_conditions(sample, timestep, conditions)

        # 2. pre-process: stack the reference as slot 0 along time (f_merge)
        batch = sample.shape[0]
        video = self.conv_in(rearrange(sample, "b c f h w -> (b f) c h w"))
        video = rearrange(video, "(b f) c h w -> b f c h w", b=batch)
        merged = torch.cat([conditions.reference_features[:, None], video], dim=1)
        hidden_states = rearrange(merged, "b s c h w -> (b s) c h w")
        hidden_states = self.maybe_checkpoint(
            self.transformer_in,
            hidden_states,
            num_frames=layer_conditions.slots,
            return_dict=False,
        )[0]

        # 3. down
        residuals: tuple[torch.Tensor, ...] = (hidden_states,)
        for block in self.down_blocks:
            hidden_states, block_residuals = block(hidden_states, layer_conditions)
            residuals += block_residuals

        # 4. mid
        hidden_states = self.mid_block(hidden_states, layer_conditions)
        return EncoderOutput(hidden_states, residuals, layer_conditions)

    def decode(self, encoded: EncoderOutput) -> torch.Tensor:
        """The second half: from the middle block's output to `conv_out`'s, [b, C, f, h, w] (2C with
        `reference_skip`)."""
        hidden_states, residuals = encoded.hidden_states, encoded.residuals

        # 5. up
        for block in self.up_blocks:
            assert isinstance(block, UpBlock)
            count = len(block.resnets)  # one skip connection a layer
            block_residuals, residuals = residuals[-count:], residuals[:-count]
            upsample_size = residuals[-1].shape[-2:] if residuals else None
            hidden_states = block(hidden_states, block_residuals, encoded.conditions, upsample_size)

        # 6. post-process: drop slot 0
        slots = encoded.conditions.slots
        video = rearrange(hidden_states, "(b s) c h w -> b s c h w", s=slots)[:, 1:]
        batch = video.shape[0]
        video = rearrange(video, "b f c h w -> (b f) c h w")
        video = self.conv_out(F.silu(self.conv_norm_out(video)))
        return rearrange(video, "(b f) c h w -> b c f h w", b=batch)

    def _layer_conditions(
        self, sample: torch.Tensor, timestep: torch.Tensor, conditions: EncodedConditions
    ) -> LayerConditions:
        slots, audio = sample.shape[2] + 1, conditions.audio_tokens
        time = self.time_embedding(self.time_proj(timestep).to(sample.dtype))
        return LayerConditions(
            time=time.repeat_interleave(slots, dim=0),
            reference=conditions.reference_tokens.repeat_interleave(slots, dim=0),
            audio=None if audio is None else audio.flatten(0, 1),
            slots=slots,
        )


def network_input(
    noisy: torch.Tensor,
    first_frame: torch.Tensor | None,
    has_first_frame: torch.Tensor | None = None,
) -> torch.Tensor:
    """The 2C+1 channels of `conv_in`: noisy latents, first-frame latents at frame 0, and a mask of
    where there are any.

    Args:
        noisy: [b, C, f, h, w].
        first_frame: [b, C, h, w], or None when every sample starts from pure noise.
        has_first_frame: bool [b], which samples are conditioned on it; None for all.

    Returns:
        [b, 2C+1, f, h, w].
    """
    known = torch.zeros_like(noisy)
    mask = torch.zeros_like(noisy[:, :1])
    if first_frame is not None:
        if has_first_frame is None:
            has_first_frame = torch.ones(len(noisy), device=noisy.device)
        shown = has_first_frame.to(noisy.dtype)[:, None, None, None]
        known[:, :, 0] = first_frame * shown
        mask[:, :, 0] = shown
    return torch.cat([noisy, known, mask], dim=1)
