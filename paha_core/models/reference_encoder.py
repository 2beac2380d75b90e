"""A picture to one embedding, the cross-attention context: CLIP, or a stand-in of pooled pixels."""

from __future__ import annotations

import numpy as np
import torch
import torch.nn.functional as F

from paha_core.config import ReferenceConfig
from paha_core.config.encoders import REFERENCE_ENCODERS
from paha_core.models.encoders import open_encoder
from paha_core.models.protocols import ReferenceEncoder
from paha_core.pretrained import load_frozen, weights_sha256
from paha_core.store import sha256_json


def open_reference_encoder(
    config: ReferenceConfig, device: str | torch.device = "cpu"
) -> ReferenceEncoder:
    """The preset's image encoder. `UserError` or `FileNotFoundError` if weights are absent."""
    name, pretrained = config.encoder, config.pretrained
    return open_encoder("reference", name, pretrained, REFERENCE_ENCODERS, device)


class PooledPixels:
    """Stand-in: mean colours on an 8 x 8 grid, as 192 values in -1 to 1 (rows, columns, RGB)."""

    name = "pooled-pixels"
    grid = 8
    width = 3 * grid * grid

    def __init__(self) -> None:
        self.sha256 = sha256_json({"name": self.name, "grid": self.grid, "scale": "x / 127.5 - 1"})

    def encode(self, frames: np.ndarray) -> np.ndarray:
        pooled = F.adaptive_avg_pool2d(_channels_first(frames), self.grid) / 127.5 - 1
        return pooled.permute(0, 2, 3, 1).reshape(len(frames), self.width).half().numpy()


class Clip:
    """CLIP's projected image embedding (ViT-H: 1024 values)."""

    name = "clip"
    mean = (0.48145466, 0.4578275, 0.40821073)
    deviation = (0.26862954, 0.26130258, 0.27577711)

    def __init__(
        self, pretrained: str, device: str | torch.device = "cpu", batch: int = 16
    ) -> None:
        from transformers import CLIPVisionModelWithProjection

        self.device, self.batch = torch.device(device), batch
        self.model = load_frozen(CLIPVisionModelWithProjection, pretrained, "reference.pretrained")
        self.model.to(self.device)
        self.width, self.side = self.model.config.projection_dim, self.model.config.image_size
        settings = [self.mean, self.deviation, "bicubic, shorter side, centre crop"]
        self.sha256 = sha256_json([weights_sha256(self.model), settings])

    @torch.no_grad()
    def encode(self, frames: np.ndarray) -> np.ndarray:
        pixels = self._preprocess(frames)
        embeddings = [
            self.model(pixel_values=part.to(self.device)).image_embeds
            for part in pixels.split(self.batch)
        ]
        return torch.cat(embeddings).half().cpu().numpy()

    def _preprocess(self, frames: np.ndarray) -> torch.Tensor:
        """CLIP's own: shorter side to the network's, centre crop, channel means and deviations."""
        height, width = frames.shape[1:3]
        scale = self.side / min(height, width)
        size = (max(self.side, round(height * scale)), max(self.side, round(width * scale)))
        resized = F.interpolate(_channels_first(frames), size, mode="bicubic", antialias=True)
        top, left = (size[0] - self.side) // 2, (size[1] - self.side) // 2
        cropped = (
            resized[:, :, top : top + self.side, left : left + self.side].round().clamp(0, 255)
        )
        mean, deviation = (torch.tensor(v)[:, None, None] for v in (self.mean, self.deviation))
        return (cropped / 255 - mean) / deviation


def _channels_first(frames: np.ndarray) -> torch.Tensor:
    if frames.dtype != np.uint8 or frames.ndim != 4 or frames.shape[-1] != 3:
        raise ValueError(
            f"frames must be uint8 RGB [N, H, W, 3], not {frames.dtype} {frames.shape}"
        )
    return torch.from_numpy(np.ascontiguousarray(frames)).permute(0, 3, 1, 2).float()
