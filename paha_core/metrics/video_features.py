"""The feature spaces of video distances: I3D from a local file, and a named stand-in.

Both turn windows of 16 frames into vectors; FVD is the Fréchet distance between them (Unterthiner
et al. 2018). The stand-in is a small 3D residual network that is trained on the corpus itself
(`paha_core.training.tasks.video_encoder`); its distances are always called fvd[studio-r3d], or
fvd[corpus-r3d] where the corpus is not the drawn one.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from paha_core.metrics.protocol import PROTOCOL


class VideoFeatures(Protocol):
    """A space: its name, its weights' hash, its picture size, and the network."""

    name: str
    sha256: str
    side: int

    def encode(self, windows: Tensor) -> Tensor:
        """`[B, 3, T, side, side]` in -1..1 to `[B, D]`."""
        ...


def preprocess(frames: np.ndarray, side: int) -> Tensor:
    """uint8 RGB `[T, H, W, 3]` to float `[3, T, side, side]` in -1..1.

    The shorter side is scaled to `side` (bilinear, pixel centres as in `align_corners=False`, no
    antialiasing: the published recipe), then the middle is cut out.
    """
    video = torch.from_numpy(np.ascontiguousarray(frames)).permute(0, 3, 1, 2).float() / 255
    height, width = video.shape[-2:]
    scale = side / min(height, width)
    tall, wide = (math.ceil(n * scale) for n in (height, width))
    size = (side, wide) if height < width else (tall, side)
    video = F.interpolate(video, size=size, mode="bilinear", align_corners=False)
    top, left = (size[0] - side) // 2, (size[1] - side) // 2
    video = video[:, :, top : top + side, left : left + side]
    return video.permute(1, 0, 2, 3) * 2 - 1


def windows_of(
    video: Tensor, window: int = PROTOCOL.video_window, stride: int = PROTOCOL.video_stride
) -> Tensor:
    """`[3, T, s, s]` to its windows `[N, 3, window, s, s]`; N is 0 when the video is shorter."""
    starts = range(0, video.shape[1] - window + 1, stride)
    if not starts:
        return video.new_zeros((0, 3, window, *video.shape[-2:]))
    return torch.stack([video[:, s : s + window] for s in starts])


@torch.no_grad()
def video_features(space: VideoFeatures, frames: np.ndarray, batch: int = 8) -> np.ndarray:
    """Features float32 `[N, D]` of a video's windows, uint8 `[T, H, W, 3]`; N may be 0."""
    windows = windows_of(preprocess(frames, space.side))
    encoded = [space.encode(part) for part in windows.split(batch) if len(part)]
    return torch.cat(encoded).float().cpu().numpy() if encoded else np.zeros((0, 1), np.float32)


def load_torchscript(path: str | Path, name: str, device: str) -> tuple[Any, str]:
    """The network in a TorchScript file, and the file's sha256. Raises `FileNotFoundError`, or
    `ValueError` for a file of another kind."""
    from paha_core.store import sha256_file

    if not Path(path).is_file():
        raise FileNotFoundError(f"no {name} weights at {path}")
    try:
        network = torch.jit.load(str(path), map_location=device).eval()
    except RuntimeError as error:
        first = str(error).splitlines()[0]
        raise ValueError(f"{path} is not a TorchScript file: {first}") from error
    return network, sha256_file(path)


class I3D:
    """I3D, Kinetics-400, as the TorchScript file that published FVD code shares (400 logits)."""

    side = 224
    name = "I3D Kinetics-400 logits, 224 px, 16 frames"

    def __init__(self, path: str | Path, device: str = "cpu") -> None:
        """Raises `FileNotFoundError`, or `ValueError` for a file of another kind."""
        self.network, self.sha256 = load_torchscript(path, "I3D", device)
        self.device = device
        shortest = torch.zeros(1, 3, 10, self.side, self.side)  # frames: I3D's own limit
        try:
            made = list(self.encode(shortest).shape)
        except RuntimeError as error:
            last = str(error).strip().splitlines()[-1]
            raise ValueError(f"{path} can't be called as I3D is: {last}") from error
        if made != [1, 400]:
            raise ValueError(f"{path} makes {made} of a window, not [1, 400]: it is not I3D")

    @torch.no_grad()
    def encode(self, windows: Tensor) -> Tensor:
        given = windows.to(self.device)
        return self.network(given, rescale=False, resize=False, return_features=True)


class _Block(nn.Module):
    """Two 3D convolutions and a shortcut, stride 2 in space."""

    def __init__(self, inputs: int, outputs: int, stride: int) -> None:
        super().__init__()
        steps = (stride, 2, 2)
        self.first = nn.Conv3d(inputs, outputs, 3, steps, 1)
        self.second = nn.Conv3d(outputs, outputs, 3, 1, 1)
        self.shortcut = nn.Conv3d(inputs, outputs, 1, steps)

    def forward(self, x: Tensor) -> Tensor:
        inner = self.second(F.relu(self.first(x)))
        return F.relu(inner + self.shortcut(x)) / 2**0.5


class SmallR3D(nn.Module):
    """A small 3D residual network: means of 24 channels, and their change over time. Its input is
    each frame and its difference to the one before: motion is small compared with appearance, and
    without the difference a short training does not pick it up.
    """

    side = 64
    channels = (6, 12, 16, 24)
    features = 2 * channels[-1]
    gain = 4.0  # of differences, which are small

    def __init__(self, name: str = "", sha256: str = "") -> None:
        super().__init__()
        self.name, self.sha256 = name, sha256
        pairs = zip(self.channels[:-1], self.channels[1:], (1, 2, 2), strict=True)
        self.blocks = nn.Sequential(*(_Block(a, b, stride) for a, b, stride in pairs))
        for parameter in self.parameters():
            fan_in = parameter[0].numel()
            deviation = (2 / fan_in) ** 0.5 if parameter.ndim > 1 else 0.05
            nn.init.normal_(parameter, 0, deviation)

    def encode(self, windows: Tensor) -> Tensor:
        """`[B, 3, T, 64, 64]` to `[B, 48]`."""
        windows = windows.to(next(self.parameters()).device)
        moved = windows.diff(dim=2, prepend=windows[:, :, :1])
        seen = self.blocks(torch.cat([windows, self.gain * moved], 1))
        pooled = seen.mean((-1, -2))  # [B, C, t]
        motion = pooled.diff(dim=-1).abs().mean(-1)
        return torch.cat([pooled.mean(-1), self.gain * motion], 1)

    @classmethod
    def load(cls, data: bytes, name: str, device: str = "cpu") -> SmallR3D:
        """The network of a safetensors file that `paha_core.training.tasks.video_encoder` wrote."""
        from safetensors.torch import load

        model = cls(name, hashlib.sha256(data).hexdigest())
        model.load_state_dict(load(data))
        return model.eval().requires_grad_(False).to(device)


def concatenated(groups: Sequence[np.ndarray]) -> np.ndarray:
    """The windows of all clips `[N, D]`; clips without one are skipped."""
    filled = [group for group in groups if len(group)]
    return np.concatenate(filled) if filled else np.zeros((0, 1), np.float32)
