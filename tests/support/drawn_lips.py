"""Lips that move as in speech, and the voice that belongs to them."""

from __future__ import annotations

import numpy as np
from scipy.ndimage import gaussian_filter1d

SAMPLES = 640  # of a frame


def mouth(seed: int, frames: int = 125) -> np.ndarray:
    """A mouth's opening [frames] that moves as in speech."""
    curve = gaussian_filter1d(np.random.default_rng(seed).normal(size=frames + 60), 1.5)[30:-30]
    return np.clip(0.08 + 0.05 * curve / curve.std(), 0, None)


def voice(opening: np.ndarray, seed: int = 0) -> np.ndarray:
    """Noise as loud as the mouth is open [N] at 16 kHz."""
    at = np.arange(len(opening) * SAMPLES) / SAMPLES - 0.5
    loudness = np.interp(at, np.arange(len(opening)), opening)
    noise = np.random.default_rng(100 + seed).normal(0, 1, len(loudness))
    return (noise * loudness**2).astype(np.float32)
