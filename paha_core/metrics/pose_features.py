"""The pose autoencoder: windows of gesture to features, the space of FGD and Diversity.

A convolutional autoencoder as in HA2G, trained on the corpus' own real poses: windows of 34 frames
at 15 fps of the upper body and both hands, normalised by shoulder centre and width. `window` is a
setting, since a generated clip can be shorter than 34 frames at 15 fps (56 frames at 25 fps).

    windows = pose_windows(gesture_points(keypoints), window=34)
    model, sha256 = load_autoencoder(data)  # trained by paha_core.training.tasks.pose_autoencoder
    features = pose_features(model, windows)
"""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor, nn

from paha_core.metrics.protocol import PROTOCOL
from paha_core.pose import layout

if TYPE_CHECKING:
    from paha_core.pose.keypoints import Keypoints

FEATURES = 32

_SHOULDERS = [5, 6]
_BODY = [0, 5, 6, 7, 8, 9, 10]  # nose, shoulders, elbows, wrists: what a half-body shot shows
_HANDS = [*range(layout.LEFT_HAND.start, layout.RIGHT_HAND.stop)]
POINTS = [*_BODY, *_HANDS]


# --- points ---------------------------------------------------------------------------------------


def gesture_points(
    keypoints: Keypoints, *, min_score: float = PROTOCOL.min_score
) -> np.ndarray | None:
    """Upper body and hands in shoulder widths around the shoulder centre: float32 `[T, 49, 2]`, 25
    fps.

    Points scored below `min_score` are interpolated over time; a hand that is never seen lies at
    its wrist, any other point that is never seen at the centre. None when the shoulders are never
    seen: there is no pose then.
    """
    points = keypoints.points.astype(np.float64)
    good = keypoints.scores >= min_score
    if len(points) == 0 or not good[:, _SHOULDERS].any(0).all():
        return None
    for joint in POINTS:
        if good[:, joint].any():
            points[:, joint] = _bridge(points[:, joint], good[:, joint])
    left, right = points[:, 5], points[:, 6]
    centre = (left + right) / 2
    # One width a clip: a frame's own would turn the detector's jitter into motion of every joint.
    width = float(np.median(np.linalg.norm(left - right, axis=-1)))
    if width < 1e-6:
        return None
    wrists = ((layout.LEFT_HAND, 9), (layout.RIGHT_HAND, 10))
    for joint in POINTS:
        if not good[:, joint].any():
            hand = next((w for part, w in wrists if part.start <= joint < part.stop), None)
            seen = hand is not None and good[:, hand].any()
            points[:, joint] = points[:, hand] if seen else centre
    return ((points[:, POINTS] - centre[:, None]) / width).astype(np.float32)


def _bridge(points: np.ndarray, good: np.ndarray) -> np.ndarray:
    """Points `[T, 2]` of one joint with the frames that aren't `good` interpolated from those that
    are.
    """
    frames = np.arange(len(points))
    return np.stack(
        [np.interp(frames, frames[good], points[good, axis]) for axis in (0, 1)], axis=1
    )


def resample(
    points: np.ndarray, fps_from: float = PROTOCOL.fps, fps_to: float = PROTOCOL.pose_fps
) -> np.ndarray:
    """Linear resampling along time: `[T, ...]` to `[T', ...]`, frame 0 on frame 0, nothing
    extrapolated.
    """
    count = int(np.floor((len(points) - 1) * fps_to / fps_from + 1e-9)) + 1
    position = np.arange(count) * fps_from / fps_to
    below = np.minimum(position.astype(int), len(points) - 1)
    above = np.minimum(below + 1, len(points) - 1)
    share = (position - below).reshape(-1, *[1] * (points.ndim - 1))
    return np.asarray(points[below] * (1 - share) + points[above] * share, dtype=points.dtype)


def pose_windows(
    points: np.ndarray,
    *,
    window: int = PROTOCOL.pose_window,
    stride: int = PROTOCOL.pose_stride,
) -> np.ndarray:
    """Windows of `gesture_points` `[T, 49, 2]` at 25 fps: float32 `[N, window, 98]` at 15 fps; N
    may be 0.
    """
    slow = resample(points).reshape(-1, points.shape[1] * 2)
    starts = range(0, len(slow) - window + 1, stride)
    empty = np.zeros((0, window, slow.shape[1]), np.float32)
    return np.stack([slow[s : s + window] for s in starts]).astype(np.float32) if starts else empty


def longest_window(frames: int, *, at_most: int = PROTOCOL.pose_window) -> int:
    """The longest even window that `frames` frames at 25 fps can fill, at most `at_most`."""
    fitting = int(np.floor((frames - 1) * PROTOCOL.pose_fps / PROTOCOL.fps + 1e-9)) + 1
    return min(at_most, fitting // 2 * 2)


# --- network --------------------------------------------------------------------------------------


class PoseAutoencoder(nn.Module):
    """Windows `[B, window, dim]` to features `[B, 32]` and back.

    Inputs are standardised by the training set's mean and deviation, which are part of the weights.
    Group instead of batch norm: a feature then depends on its own window only.
    """

    mean: Tensor
    deviation: Tensor

    def __init__(
        self,
        window: int = PROTOCOL.pose_window,
        dim: int = 2 * len(POINTS),
        features: int = FEATURES,
    ) -> None:
        super().__init__()
        if window < 8 or window % 2:
            raise ValueError(
                f"a pose window has at least 8 frames and an even number, not {window}"
            )
        self.window, self.dim = window, dim
        self.register_buffer("mean", torch.zeros(dim))
        self.register_buffer("deviation", torch.ones(dim))
        self.encoder = nn.Sequential(
            *_conv(dim, 32),
            *_conv(32, 64),
            *_conv(64, 64, kernel=4, stride=2),
            nn.Conv1d(64, 32, 3, padding=1),
        )
        self.to_features = nn.Sequential(
            nn.Flatten(), nn.Linear(16 * window, 128), nn.LeakyReLU(0.2), nn.Linear(128, features)
        )
        self.from_features = nn.Sequential(
            nn.Linear(features, 128), nn.LeakyReLU(0.2), nn.Linear(128, 16 * window)
        )
        self.decoder = nn.Sequential(
            nn.ConvTranspose1d(32, 64, 4, stride=2, padding=1),
            nn.LeakyReLU(0.2),
            *_conv(64, 32),
            nn.Conv1d(32, dim, 3, padding=1),
        )

    def standardise(self, windows: Tensor) -> Tensor:
        return (windows - self.mean) / self.deviation

    def encode(self, windows: Tensor) -> Tensor:
        """`[B, window, dim]` in shoulder widths to `[B, features]`."""
        return self.to_features(self.encoder(self.standardise(windows).transpose(1, 2)))

    def decode(self, features: Tensor) -> Tensor:
        """`[B, features]` to standardised windows `[B, window, dim]`."""
        hidden = self.from_features(features).reshape(-1, 32, self.window // 2)
        return self.decoder(hidden).transpose(1, 2)


def _conv(channels_in: int, channels_out: int, kernel: int = 3, stride: int = 1) -> list[nn.Module]:
    conv = nn.Conv1d(channels_in, channels_out, kernel, stride=stride, padding=1)
    return [conv, nn.GroupNorm(8, channels_out), nn.LeakyReLU(0.2)]


# --- use -----------------------------------------------------------------------------


@torch.no_grad()
def pose_features(model: PoseAutoencoder, windows: np.ndarray) -> np.ndarray:
    """Windows `[N, window, dim]` to features float32 `[N, 32]`; N may be 0."""
    pieces = torch.from_numpy(np.ascontiguousarray(windows, np.float32)).split(512)
    encoded = [model.encode(piece) for piece in pieces if len(piece)]
    return torch.cat(encoded).numpy() if encoded else np.zeros((0, FEATURES), np.float32)


def load_autoencoder(data: bytes) -> tuple[PoseAutoencoder, str]:
    """The model of a safetensors file, in eval mode, and the file's sha256."""
    from safetensors.torch import load

    state = load(data)
    dim = state["mean"].shape[0]
    window = state["to_features.1.weight"].shape[1] // 16
    model = PoseAutoencoder(window=window, dim=dim)
    model.load_state_dict(state)
    return model.eval(), hashlib.sha256(data).hexdigest()
