"""The interface of the frozen encoders, so that real weights and stand-ins are
exchangeable.

Each carries a `name` (a stand-in's own, never the real model's) and the sha256 of its weights or
settings; both go into every manifest that holds what it made.
"""

from __future__ import annotations

from typing import Protocol

import numpy as np
import torch


class LatentCodec(Protocol):
    """Frames to latents and back; latents are normalised to about unit variance per channel."""

    name: str
    sha256: str
    factor: int  # pixels per latent cell
    channels: int

    def encode(self, frames: np.ndarray) -> torch.Tensor:
        """uint8 RGB `[T, H, W, 3]`, H and W the codec's size, to float32 `[T, C, H/factor,
        W/factor]`."""
        ...

    def decode(self, latents: torch.Tensor) -> np.ndarray:
        """float `[T, C, h, w]` to uint8 RGB `[T, h*factor, w*factor, 3]`."""
        ...


class AudioEncoder(Protocol):
    """Speech to per-frame features."""

    name: str
    sha256: str
    layers: int
    width: int

    def encode(self, wave: np.ndarray, frames: int) -> np.ndarray:
        """float32 mono 16 kHz `[N]` to float16 `[frames, layers, width]` at 25 frames a second.

        Frame f covers seconds f/25 to (f+1)/25. Raises `ValueError` when the audio's length differs
        from `frames`/25 s by more than one frame.
        """
        ...


class ReferenceEncoder(Protocol):
    """A picture to one embedding (the cross-attention context)."""

    name: str
    sha256: str
    width: int

    def encode(self, frames: np.ndarray) -> np.ndarray:
        """uint8 RGB `[N, H, W, 3]` of any size to float16 `[N, width]`."""
        ...
