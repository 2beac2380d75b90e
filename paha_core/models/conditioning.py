"""Conditioning of UniVDM on voice and reference picture: their tokens, and the attention to audio
(paper section 4.1.1)."""

from __future__ import annotations

import torch
from einops import rearrange
from torch import nn

from paha_core.models.attention import attention


class AudioAttention(nn.Module):
    """Cross-attention of every frame's cells to that frame's audio tokens, added to the hidden
    states.

    The output projection starts at zero, so a fresh module changes nothing. The reference's slot
    gets no audio.
    """

    def __init__(self, channels: int, head_dim: int, audio_dim: int) -> None:
        super().__init__()
        self.heads = max(channels // head_dim, 1)
        self.norm = nn.LayerNorm(channels)
        self.to_q = nn.Linear(channels, channels, bias=False)
        self.to_k = nn.Linear(audio_dim, channels, bias=False)
        self.to_v = nn.Linear(audio_dim, channels, bias=False)
        self.to_out = nn.Linear(channels, channels)
        nn.init.zeros_(self.to_out.weight)
        nn.init.zeros_(self.to_out.bias)

    def forward(self, hidden_states: torch.Tensor, audio: torch.Tensor, slots: int) -> torch.Tensor:
        """`hidden_states` [b (f+1), c, h, w], `audio` [b f, tokens, audio_dim]; z =
        CrossAttention(z, A(f))."""
        height, width = hidden_states.shape[-2:]
        video = rearrange(hidden_states, "(b s) c h w -> b s c h w", s=slots)
        cells = rearrange(video[:, 1:], "b f c h w -> (b f) (h w) c")
        query, key, value = (
            rearrange(x, "n l (d c) -> n d l c", d=self.heads)
            for x in (self.to_q(self.norm(cells)), self.to_k(audio), self.to_v(audio))
        )
        attended = attention(query, key, value)
        attended = self.to_out(rearrange(attended, "n d l c -> n l (d c)"))
        attended = rearrange(
            attended, "(b f) (h w) c -> b f c h w", b=video.shape[0], h=height, w=width
        )
        attended = torch.cat([torch.zeros_like(attended[:, :1]), attended], dim=1)  # slot 0
        return hidden_states + rearrange(attended, "b s c h w -> (b s) c h w")


class AudioTokens(nn.Module):
    """A(f), the window of audio features around a frame, to the tokens that audio attention
    reads."""

    def __init__(self, features: int, tokens: int, dim: int, hidden: int) -> None:
        super().__init__()
        self.tokens, self.dim = tokens, dim
        self.proj = nn.Sequential(
            nn.Linear(features, hidden),
            nn.ReLU(),
            nn.Linear(hidden, hidden),
            nn.ReLU(),
            nn.Linear(hidden, tokens * dim),
        )
        self.norm = nn.LayerNorm(dim)

    def forward(self, windows: torch.Tensor) -> torch.Tensor:
        """[b, f, 2m+1, layers, width] to [b, f, tokens, dim]."""
        tokens = self.proj(rearrange(windows, "b f m l w -> b f (m l w)"))
        return self.norm(rearrange(tokens, "b f (t d) -> b f t d", t=self.tokens))


class ReferenceTokens(nn.Module):
    """The reference picture's embedding to the tokens in the base network's text slot."""

    def __init__(self, width: int, tokens: int, dim: int) -> None:
        super().__init__()
        self.tokens = tokens
        self.proj = nn.Linear(width, tokens * dim)
        self.norm = nn.LayerNorm(dim)

    def forward(self, embedding: torch.Tensor) -> torch.Tensor:
        """[b, width] to [b, tokens, dim]."""
        return self.norm(rearrange(self.proj(embedding), "b (t d) -> b t d", t=self.tokens))
