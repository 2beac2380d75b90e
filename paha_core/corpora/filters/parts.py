"""The optional filter of body parts: DINOv2's features at the places of the keypoints.

Appendix C lets "DINO v2 assist with body part detection" without further detail. Here its features
verify the keypoints: they separate hands, faces and clothes in any picture of one person. A
keypoint counts as right when its patch resembles the same part in the clip's other frames, and as
wrong when it resembles another part or the background more.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from typing import Any, ClassVar

import cv2
import numpy as np
from numpy.typing import NDArray

from paha_core.corpora.filters.body import VISIBLE
from paha_core.corpora.filters.clip_data import ClipData, FilterFailed

# Of MediaPipe Pose's 33 keypoints; a part is where the mean of its visible points is.
HEAD, CHEST = list(range(11)), [11, 12]
ARMS, HANDS = ([13], [14]), ([15, 17, 19, 21], [16, 18, 20, 22])
PLACES = (HEAD, CHEST, *ARMS, *HANDS)
PARTS = np.array([0, 1, 2, 2, 3, 3])  # of each place: head, chest, arm, hand
GROUND = 4  # the patches of the picture's upper corners
PATCHES = 32  # along a side of what the network sees
MEAN, DEVIATION = np.array([0.485, 0.456, 0.406]), np.array([0.229, 0.224, 0.225])


@dataclass(frozen=True)
class BodyParts:
    """The share of visible parts whose features are their own part's must reach `min_share`.

    NaN without weights: the filter is in every clip's row, marked as not used.
    """

    name: ClassVar[str] = "part_share"
    min_share: float = 0.7
    weights: str | None = None  # folder or hub id of a `Dinov2Model`
    sha256: str = ""  # of the weights, so that others mean another clip

    def check(self, clip: ClipData) -> float:
        if self.weights is None:
            return float("nan")
        places = np.stack([part_places(body) for body in clip.bodies])
        share = part_share(patch_features(clip.probes, self.weights), places)
        if share < self.min_share:
            reason = f"DINOv2 confirms {share:.0%} of the body parts, {self.min_share:.0%} needed"
            raise FilterFailed(reason, share)
        return share


def part_places(body: NDArray[np.float32] | None) -> NDArray[np.float64]:
    """Where a body's parts are [6, 2], as fractions; not a number: out of sight."""
    places = np.full((len(PLACES), 2), np.nan)
    if body is None:
        return places
    inside = ((body[:, :2] >= 0) & (body[:, :2] < 1)).all(axis=1) & (body[:, 2] >= VISIBLE)
    for row, points in enumerate(PLACES):
        seen = [point for point in points if inside[point]]
        if seen:
            places[row] = body[seen, :2].mean(axis=0)
    return places


def part_share(features: NDArray[np.float32], places: NDArray[np.float64]) -> float:
    """The share of parts whose feature is nearest to the mean of their own kind, from unit features
    [T, h, w, C] and places [T, 6, 2].

    The mean is over the other frames, by cosine; 0 when no part is seen in two frames.
    """
    frames, rows, columns, _ = features.shape
    seen = ~np.isnan(places).any(axis=-1)
    at = np.nan_to_num(places)
    y = np.minimum((at[..., 1] * rows).astype(int), rows - 1)
    x = np.minimum((at[..., 0] * columns).astype(int), columns - 1)
    found = features[np.arange(frames)[:, None], y, x]  # [T, 6, C]
    corner = max(1, rows // 8)
    ground = np.concatenate([features[:, :corner, :corner], features[:, :corner, -corner:]], axis=2)

    sums = np.zeros((frames, GROUND + 1, features.shape[-1]))
    for part in range(GROUND):
        sums[:, part] = (found * (seen & (part == PARTS))[..., None]).sum(axis=1)
    sums[:, GROUND] = ground.mean(axis=(1, 2))
    others = sums.sum(axis=0) - sums  # leave the frame itself out of its mean
    length = np.linalg.norm(others, axis=-1, keepdims=True)
    kinds = np.where(length > 1e-6, others / np.maximum(length, 1e-6), 0.0)
    likeness = np.einsum("tpc,tkc->tpk", found, kinds)
    likeness[np.broadcast_to(length[..., 0][:, None] <= 1e-6, likeness.shape)] = -np.inf
    own = np.take_along_axis(likeness, np.broadcast_to(PARTS, seen.shape)[..., None], axis=-1)
    counted = seen & np.isfinite(own[..., 0])
    if not counted.any():
        return 0.0
    return float((likeness.argmax(axis=-1) == PARTS)[counted].mean())


def patch_features(frames: list[NDArray[np.uint8]], weights: str) -> NDArray[np.float32]:
    """DINOv2's last features of RGB frames [H, W, 3], of length 1 each: [T, 32, 32, C]."""
    import torch

    model = dinov2(weights)
    side = PATCHES * model.config.patch_size
    small = [cv2.resize(frame, (side, side), interpolation=cv2.INTER_AREA) for frame in frames]
    pixels = ((np.stack(small) / 255 - MEAN) / DEVIATION).transpose(0, 3, 1, 2).astype(np.float32)
    with torch.no_grad():
        tokens = model(pixel_values=torch.from_numpy(pixels)).last_hidden_state[:, 1:]
    unit = torch.nn.functional.normalize(tokens, dim=-1)
    return np.asarray(unit.reshape(len(frames), PATCHES, PATCHES, -1).numpy())


@cache
def dinov2(weights: str) -> Any:
    """The network, once a process. Raises `FileNotFoundError` naming the preset's key."""
    from transformers import Dinov2Model

    from paha_core.pretrained import load_frozen

    return load_frozen(Dinov2Model, weights, "corpora.cnas.dinov2")
