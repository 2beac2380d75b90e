"""Networks of single pictures, from local files: FID's features and LPIPS.

Both are the TorchScript files that NVIDIA's StyleGAN code loads, called as it calls them.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from paha_core.metrics.video_features import load_torchscript

FRAMES_PER_CLIP = 4  # of FID: 480 clips have about as many pictures as features
SIDE = 256  # LPIPS' pictures are reduced to it


class Inception:
    """FID's features (Heusel et al. 2017): pool3 of Inception v3 as trained in 2015, 2048 a
    picture."""

    name = f"Inception v3 (2015) pool3, {FRAMES_PER_CLIP} frames a clip"

    def __init__(self, path: str | Path, device: str = "cpu") -> None:
        """Raises `FileNotFoundError`, or `ValueError` for a file of another kind."""
        self.network, self.sha256 = load_torchscript(path, "Inception", device)
        self.device = device
        try:
            made = list(self.features(np.zeros((1, SIDE, SIDE, 3), np.uint8)).shape)
        except RuntimeError as error:
            last = str(error).strip().splitlines()[-1]
            raise ValueError(f"{path} can't be called as FID's Inception is: {last}") from error
        if made != [1, 2048]:
            raise ValueError(f"{path} makes {made} of a picture, not [1, 2048]: it is not FID's")

    @torch.no_grad()
    def features(self, frames: np.ndarray) -> np.ndarray:
        """Of evenly spaced frames, the middles of as many parts of the video. uint8 RGB
        `[T, H, W, 3]` to float32 `[n, 2048]`."""
        count = min(FRAMES_PER_CLIP, len(frames))
        if not count:
            return np.zeros((0, 2048), np.float32)
        shown = frames[((np.arange(count) + 0.5) * len(frames) / count).astype(int)]
        pictures = torch.from_numpy(shown).permute(0, 3, 1, 2).to(self.device)
        found: Tensor = self.network(pictures, return_features=True)
        return found.float().cpu().numpy()


class LPIPS:
    """Learned perceptual distance of two pictures (Zhang et al. 2018), VGG16."""

    name = "LPIPS VGG16, 256 px"

    def __init__(self, path: str | Path, device: str = "cpu") -> None:
        """Raises `FileNotFoundError`, or `ValueError` for a file of another kind."""
        self.network, self.sha256 = load_torchscript(path, "LPIPS", device)
        self.device = device
        try:
            self.distances(*np.zeros((2, 1, 64, 64, 3), np.uint8))
        except RuntimeError as error:
            last = str(error).strip().splitlines()[-1]
            raise ValueError(f"{path} can't be called as LPIPS is: {last}") from error

    @torch.no_grad()
    def distances(self, made: np.ndarray, real: np.ndarray) -> np.ndarray:
        """Of pairs of pictures, each uint8 RGB `[n, H, W, 3]`: float32 `[n]`, 0 for equal ones."""
        gap = self._encoded(made) - self._encoded(real)
        return gap.square().sum(1).float().cpu().numpy()

    def _encoded(self, pictures: np.ndarray) -> Tensor:
        """Vectors `[n, D]` whose squared distance is LPIPS."""
        values = torch.from_numpy(np.ascontiguousarray(pictures)).permute(0, 3, 1, 2)
        values = values.to(self.device).float()
        if values.shape[2] > SIDE:
            values = F.interpolate(values, size=(SIDE, SIDE), mode="area")
        found: Tensor = self.network(values, resize_images=False, return_lpips=True)
        return found
