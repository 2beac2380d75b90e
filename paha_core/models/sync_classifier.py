"""The regional audio-visual classifiers of Parts Consistency Enhancement (paper 4.1.3, equations
4-7; docs/design.md 8).

One network, trained twice: on the face and on all but the face. From noised video latents and clean
audio it predicts whether they are a real pair. Its gradient with respect to the latents guides
generation.
"""

from __future__ import annotations

from typing import Any

import torch
from diffusers.configuration_utils import ConfigMixin, register_to_config
from diffusers.models.modeling_utils import ModelMixin
from einops import rearrange
from torch import nn

from paha_core.models.univdm import EncodedConditions, UniVDM, network_input


class SyncClassifier(ModelMixin, ConfigMixin):
    """UniVDM's encoder, one token a frame for video and audio each, a transformer, and a logit
    (label 1 = real).

    Parameters:
        univdm (`dict`): the configuration of the UniVDM whose first half this starts from.
        width (`int`, defaults to 512): width of the transformer's tokens.
        layers (`int`, defaults to 4): transformer layers.
        heads (`int`, defaults to 8): attention heads.
        max_frames (`int`, defaults to 128): longest clip, the length of the temporal encoding.
    """

    @register_to_config
    def __init__(
        self,
        univdm: dict[str, Any],
        width: int = 512,
        layers: int = 4,
        heads: int = 8,
        max_frames: int = 128,
    ) -> None:
        super().__init__()
        self.encoder = UniVDM.from_config(univdm)
        del self.encoder.up_blocks, self.encoder.conv_norm_out, self.encoder.conv_out
        settings = self.encoder.config
        self.video_in = nn.Linear(settings.block_out_channels[-1], width)
        self.audio_in = nn.Linear(settings.audio_tokens * settings.audio_dim, width)
        self.cls = nn.Parameter(torch.zeros(1, 1, width))
        self.modal = nn.Parameter(0.02 * torch.randn(2, width))  # E_m
        self.temporal = nn.Parameter(0.02 * torch.randn(max_frames, width))  # E_t, shared
        layer = nn.TransformerEncoderLayer(
            width,
            heads,
            4 * width,
            dropout=0.0,
            activation="gelu",
            batch_first=True,
            norm_first=True,
        )
        self.transformer = nn.TransformerEncoder(
            layer, layers, norm=nn.LayerNorm(width), enable_nested_tensor=False
        )
        self.head = nn.Sequential(nn.Linear(width, width), nn.GELU(), nn.Linear(width, 1))  # h

    @classmethod
    def from_univdm(cls, univdm: UniVDM, **sizes: int) -> SyncClassifier:
        """A new classifier whose encoder carries the weights of `univdm`."""
        settings = {k: v for k, v in univdm.config.items() if not k.startswith("_")}
        classifier = cls(settings, **sizes)
        kept = classifier.encoder.state_dict().keys()
        classifier.encoder.load_state_dict(
            {k: v for k, v in univdm.state_dict().items() if k in kept}
        )
        return classifier

    def forward(
        self,
        noised: torch.Tensor,
        timestep: torch.Tensor,
        reference_latents: torch.Tensor,
        reference_embedding: torch.Tensor,
        audio: torch.Tensor,
    ) -> torch.Tensor:
        """The logit of "a real pair".

        Args:
            noised: video latents at `timestep`, [b, C, f, h, w], f at most `max_frames`.
            timestep: int64 [b].
            reference_latents: [b, C, h, w].
            reference_embedding: [b, reference_width].
            audio: windows A(f), [b, f, 2m+1, layers, width]; features from outside the f frames are
                not used (`within`).

        Returns:
            [b].
        """
        conditions = self.encode_conditions(reference_latents, reference_embedding, audio)
        return self.score(noised, timestep, conditions)

    def encode_conditions(
        self,
        reference_latents: torch.Tensor,
        reference_embedding: torch.Tensor,
        audio: torch.Tensor,
    ) -> EncodedConditions:
        """What `score` reads of the conditions; arguments as for `forward`. Guidance computes it
        once for all its steps."""
        return self.encoder.encode_conditions(reference_latents, reference_embedding, within(audio))

    def score(
        self, noised: torch.Tensor, timestep: torch.Tensor, conditions: EncodedConditions
    ) -> torch.Tensor:
        """`forward` with conditions that are encoded already."""
        batch, frames = noised.shape[0], noised.shape[2]
        # 1. the diffusion encoder; the reference's slot is dropped after it
        encoded = self.encoder.encode(network_input(noised, None), timestep, conditions)
        slots = encoded.conditions.slots
        video = rearrange(encoded.hidden_states, "(b s) c h w -> b s c h w", s=slots)[:, 1:]

        # 2. one video token a frame: V = GMP(V) + E_m + E_t + E_s (equation 4)
        pooled = rotate_by_position(video).amax(dim=(-2, -1))
        video_tokens = self.video_in(pooled) + self.modal[0] + self.temporal[:frames]

        # 3. one audio token a frame: A = A + E_m + E_t (equation 5)
        assert conditions.audio_tokens is not None
        audio = rearrange(conditions.audio_tokens, "b f n d -> b f (n d)")
        audio_tokens = self.audio_in(audio) + self.modal[1] + self.temporal[:frames]

        # 4. Z = [CLS] + V + A (equation 6): t_v + t_a + 1 tokens instead of h w t_v + t_a
        tokens = torch.cat([self.cls.expand(batch, -1, -1), video_tokens, audio_tokens], dim=1)
        assert tokens.shape[1] == frames + frames + 1

        # 5. s = h(Y^1), as a logit for equation 7
        return self.head(self.transformer(tokens)[:, 0])[:, 0]


def rotate_by_position(video: torch.Tensor, base: float = 100.0) -> torch.Tensor:
    """E_s: the (y, x) part of 3D rotary encoding on [b, f, c, h, w], before pooling removes
    positions.

    The first half of the channels rotates with y, the second with x; pairs of channels rotate at
    falling rates.
    """
    channels, height, width = video.shape[-3:]
    pairs = channels // 4
    rates = base ** (-torch.arange(pairs, device=video.device) / pairs)
    y = torch.arange(height, device=video.device)[:, None].expand(height, width)
    x = torch.arange(width, device=video.device)[None, :].expand(height, width)
    # In float32 whatever the network computes in: bfloat16 angles of far cells would be wrong.
    angle = torch.cat([rates[:, None, None] * y, rates[:, None, None] * x])
    even, odd = video[..., 0::2, :, :], video[..., 1::2, :, :]
    rotated = (even * angle.cos() - odd * angle.sin(), even * angle.sin() + odd * angle.cos())
    return torch.stack(rotated, dim=-3).flatten(-4, -3).to(video.dtype)


def within(audio: torch.Tensor) -> torch.Tensor:
    """Audio windows [n, F, 2m+1, layers, width] clamped to their own F frames.

    A generated clip has no sound before its first frame and after its last, so its windows are
    clamped there. Windows of a real clip, or of a segment of a longer video, reach beyond and would
    give the label away.
    """
    frames, size = audio.shape[1:3]
    index = torch.arange(max(frames, size), device=audio.device)
    neighbours = index[:frames, None] + index[:size] - size // 2
    return audio[:, :, size // 2][:, neighbours.clamp(0, frames - 1)]
