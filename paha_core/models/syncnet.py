"""Sync-C and Sync-D: SyncNet's protocol (Chung & Zisserman 2016), frame by frame.

A face track is cropped to 224 x 224; each window of 5 frames and of the 20 MFCC vectors of the same
time becomes a point in one space. The mean distance is taken at every shift of -15 to 15 frames:
Sync-D is the smallest of those means, Sync-C the median minus the smallest.

    model, sha256 = load_syncnet("syncnet_v2.model")
    score = sync_score(model, frames, wave, boxes, min_frames=50, min_size=48)

Weights come from a local file. Without them there is no Sync-C, and no stand-in under its name.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from paha_core.media import FPS
from paha_core.media.mfcc import mfcc
from paha_core.models.sync_rules import (
    CROP_SCALE,
    SAMPLE_RATE,
    SHIFT,
    TRACK_GAP,
    TRACK_MEDIAN,
    TRACK_OVERLAP,
)
from paha_core.weight_formats import check_weights

WINDOW = 5  # frames that the network takes, and 4 MFCC vectors a frame
SIDE = 224
FRAME_SAMPLES = SAMPLE_RATE // FPS


class SyncNet(nn.Module):
    """The two towers under the published names, so that `syncnet_v2.model` loads strictly.

    `width` scales the channels (1 is the published network); `features` is the output's length.
    """

    def __init__(self, width: float = 1.0, features: int = 1024) -> None:
        super().__init__()
        a, b, c, d, e, f = (max(1, round(n * width)) for n in (64, 192, 384, 256, 512, 96))
        self.netcnnaud = nn.Sequential(
            *_conv2d(1, a, 3, padding=1),
            nn.MaxPool2d(1, 1),
            *_conv2d(a, b, 3, padding=1),
            nn.MaxPool2d(3, (1, 2)),
            *_conv2d(b, c, 3, padding=1),
            *_conv2d(c, d, 3, padding=1),
            *_conv2d(d, d, 3, padding=1),
            nn.MaxPool2d(3, 2),
            *_conv2d(d, e, (5, 4)),
        )
        self.netfcaud = _head(e, features)
        self.netfclip = _head(e, features)
        self.netcnnlip = nn.Sequential(
            *_conv3d(3, f, (5, 7, 7), stride=(1, 2, 2)),
            nn.MaxPool3d((1, 3, 3), (1, 2, 2)),
            *_conv3d(f, d, (1, 5, 5), stride=(1, 2, 2), padding=(0, 1, 1)),
            nn.MaxPool3d((1, 3, 3), (1, 2, 2), (0, 1, 1)),
            *_conv3d(d, d, (1, 3, 3), padding=(0, 1, 1)),
            *_conv3d(d, d, (1, 3, 3), padding=(0, 1, 1)),
            *_conv3d(d, d, (1, 3, 3), padding=(0, 1, 1)),
            nn.MaxPool3d((1, 3, 3), (1, 2, 2)),
            *_conv3d(d, e, (1, 6, 6)),
        )

    def forward_aud(self, mfccs: Tensor) -> Tensor:
        """`[B, 1, 13, 20]` to `[B, features]`."""
        return self.netfcaud(self.netcnnaud(mfccs).flatten(1))

    def forward_lip(self, faces: Tensor) -> Tensor:
        """`[B, 3, 5, 224, 224]`, BGR, 0 to 255, to `[B, features]`."""
        return self.netfclip(self.netcnnlip(faces).flatten(1))


def _conv2d(
    inputs: int, outputs: int, kernel: int | tuple[int, int], padding: int = 0
) -> list[nn.Module]:
    return [nn.Conv2d(inputs, outputs, kernel, 1, padding), nn.BatchNorm2d(outputs), nn.ReLU()]


def _conv3d(
    inputs: int,
    outputs: int,
    kernel: tuple[int, int, int],
    stride: tuple[int, int, int] = (1, 1, 1),
    padding: tuple[int, int, int] = (0, 0, 0),
) -> list[nn.Module]:
    conv = nn.Conv3d(inputs, outputs, kernel, stride, padding)
    return [conv, nn.BatchNorm3d(outputs), nn.ReLU()]


def _head(inputs: int, features: int) -> nn.Sequential:
    middle = nn.Linear(inputs, inputs)
    return nn.Sequential(middle, nn.BatchNorm1d(inputs), nn.ReLU(), nn.Linear(inputs, features))


def load_syncnet(
    path: str | Path, device: str = "cpu", model: SyncNet | None = None
) -> tuple[SyncNet, str]:
    """The network of a local weight file (`syncnet_v2.model`, or safetensors) and its sha256.

    `model`: to be filled in place of the published network; for tests, since a narrow one's score
    is no Sync-C. Raises `FileNotFoundError`, or `ValueError` when the file holds another network.
    """
    from paha_core.store import sha256_file

    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"no SyncNet weights at {path}")
    check_weights(path)
    if path.suffix == ".safetensors":
        from safetensors.torch import load_file

        state = load_file(path)
    else:
        state = torch.load(path, map_location="cpu", weights_only=True)
    model = model or SyncNet()
    try:
        model.load_state_dict(state)
    except (TypeError, RuntimeError) as error:
        lines = [line.strip() for line in str(error).splitlines()]
        raise ValueError(f"{path} does not hold SyncNet: {' '.join(lines[:2])}") from error
    return model.eval().to(device), sha256_file(path)


# --- the face track -------------------------------------------------------------------------------


@dataclass(frozen=True)
class FaceTrack:
    """One face over consecutive frames: `boxes` float `[n, 4]` xyxy in pixels, from `start`."""

    start: int
    boxes: np.ndarray

    def __len__(self) -> int:
        return len(self.boxes)


def face_tracks(boxes: np.ndarray, *, min_frames: int, min_size: float) -> list[FaceTrack]:
    """Tracks through one box a frame, `[T, 4]` with NaN where no face was found; longest first.

    Boxes that overlap the last one by more than half (intersection over union) continue its track,
    gaps of up to 25 frames are interpolated. Too short or too small a track is dropped.
    """
    left = [int(f) for f in np.flatnonzero(~np.isnan(boxes).any(1))]
    tracks = []
    while left:
        members, rest = [left[0]], []
        for frame in left[1:]:
            near = frame - members[-1] <= TRACK_GAP
            if near and _overlap(boxes[frame], boxes[members[-1]]) > TRACK_OVERLAP:
                members.append(frame)
            else:
                rest.append(frame)
        left = rest
        frames = np.arange(members[0], members[-1] + 1)
        filled = np.stack([np.interp(frames, members, boxes[members, k]) for k in range(4)], 1)
        size = (filled[:, 2:] - filled[:, :2]).mean(0).max()
        if len(frames) >= min_frames and size >= min_size:
            tracks.append(FaceTrack(int(frames[0]), filled))
    return sorted(tracks, key=len, reverse=True)


def _overlap(a: np.ndarray, b: np.ndarray) -> float:
    sides = np.clip(np.minimum(a[2:], b[2:]) - np.maximum(a[:2], b[:2]), 0, None)
    both = float(sides.prod())
    areas = float((a[2:] - a[:2]).prod() + (b[2:] - b[:2]).prod())
    return both / max(areas - both, 1e-9)


def crop_faces(frames: Iterable[np.ndarray], track: FaceTrack) -> np.ndarray:
    """The track's faces as SyncNet expects them: uint8 `[n, 224, 224, 3]` of RGB frames
    `[H, W, 3]`, which may be decoded while they are iterated.

    From the box's top to 0.8 box halves below it, 1.4 halves to each side, over smoothed centres;
    what lies outside the picture is grey (110).
    """
    import cv2
    from scipy.signal import medfilt

    room = CROP_SCALE
    boxes = track.boxes
    odd = len(boxes) - 1 + len(boxes) % 2  # the longest filter that the track holds
    width = min(TRACK_MEDIAN, odd)
    half = medfilt((boxes[:, 2:] - boxes[:, :2]).max(1) / 2, width)
    x, y = (medfilt((boxes[:, k] + boxes[:, k + 2]) / 2, width) for k in (0, 1))
    faces = []
    for i, frame in enumerate(islice(frames, track.start, track.start + len(track))):
        bs, pad = half[i], int(half[i] * (1 + 2 * room))
        grey = cv2.copyMakeBorder(
            frame, pad, pad, pad, pad, cv2.BORDER_CONSTANT, value=(110, 110, 110)
        )
        my, mx = y[i] + pad, x[i] + pad
        top, bottom = int(my - bs), int(my + bs * (1 + 2 * room))
        left, right = int(mx - bs * (1 + room)), int(mx + bs * (1 + room))
        faces.append(cv2.resize(grey[max(top, 0) : bottom, max(left, 0) : right], (SIDE, SIDE)))
    return np.stack(faces)


# --- the score ------------------------------------------------------------------------------------


@dataclass(frozen=True)
class SyncScore:
    """`confidence` is Sync-C, `distance` Sync-D; `offset` in frames is positive when what a frame
    shows was heard that many frames earlier. `frames`: the track's length.
    """

    confidence: float
    distance: float
    offset: int
    frames: int


def shift_distances(video: np.ndarray, audio: np.ndarray, shift: int = SHIFT) -> np.ndarray:
    """Mean Euclidean distance of features `[N, D]` and `[N, D]` at each shift: `[2 shift + 1]`.

    Entry k compares window i of the video with window i + k - shift of the audio; beyond its ends
    the audio is zero, as in the published code.
    """
    padded = np.pad(audio, ((shift, shift), (0, 0)))
    windows = range(2 * shift + 1)
    # 1e-6 is torch's `pairwise_distance`, which the published code calls.
    moved = (video - padded[k : k + len(video)] + 1e-6 for k in windows)
    return np.array([np.linalg.norm(difference, axis=1).mean() for difference in moved])


def score_of(distances: np.ndarray, frames: int = 0) -> SyncScore:
    """Median minus minimum of the mean distances `[2 shift + 1]`, and where the minimum is."""
    at = int(np.argmin(distances))
    best = float(distances[at])
    confidence = float(np.median(distances)) - best
    return SyncScore(confidence, best, len(distances) // 2 - at, frames)


@torch.no_grad()
def sync_score(
    model: SyncNet,
    frames: Iterable[np.ndarray],
    wave: np.ndarray,
    boxes: np.ndarray,
    *,
    min_frames: int,
    min_size: float,
    batch: int = 20,
) -> SyncScore | None:
    """The longest face track's score; None without a track that is long and large enough.

    `frames` uint8 RGB `[H, W, 3]` each, at 25 fps, `wave` float `[N]` at 16 kHz, `boxes` as in
    `face_tracks`.
    """
    tracks = face_tracks(boxes, min_frames=max(min_frames, WINDOW + 2), min_size=min_size)
    if not tracks:
        return None
    track = tracks[0]
    device = next(model.parameters()).device
    faces = torch.from_numpy(crop_faces(frames, track)[..., ::-1].copy()).permute(3, 0, 1, 2)
    speech = wave[track.start * FRAME_SAMPLES : (track.start + len(track)) * FRAME_SAMPLES]
    count = min(len(track), len(speech) // FRAME_SAMPLES) - WINDOW
    if count < 2:
        return None
    sixteen_bits = np.round(np.clip(speech, -1, 1) * 32767)  # decoded AAC overshoots
    sound = torch.from_numpy(mfcc(sixteen_bits).T.astype(np.float32))
    lips, voices = [], []
    for first in range(0, count, batch):
        starts = range(first, min(first + batch, count))
        clips = torch.stack([faces[:, i : i + WINDOW] for i in starts]).float()
        sounds = torch.stack([sound[None, :, 4 * i : 4 * i + 20] for i in starts])
        lips.append(model.forward_lip(clips.to(device)).cpu())
        voices.append(model.forward_aud(sounds.to(device)).cpu())
    video, audio = torch.cat(lips).double().numpy(), torch.cat(voices).double().numpy()
    return score_of(shift_distances(video, audio), len(track))
