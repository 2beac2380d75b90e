"""Which square of the picture a clip is cut from (appendix C: a region around the anchor)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

CENTRED = 0.1  # of the side: a smaller offset of the anchor does not move the region
EYE_LEVEL = 0.35  # of the side: how far below the region's top a face is placed if it is moved
BODY = 2.5  # heights of a face: the smallest square that still shows an upper body

Box = tuple[float, float, float, float]


@dataclass(frozen=True)
class Crop:
    """A square of the source, in pixels of the picture as displayed."""

    left: int
    top: int
    side: int


def centre_crop(width: int, height: int, region: tuple[int, int]) -> Crop:
    """The centre square of the region: the picture's full height, cut at the sides to its shape.

    `region` is (height, width). A picture that is narrower than it is taken whole, and its centre
    square with it.
    """
    region_height, region_width = region
    side = min(width, height, round(min(region) * height / region_height))
    if width / region_width < height / region_height:
        side = min(width, height)
    return Crop(left=(width - side) // 2, top=(height - side) // 2, side=side)


def around(faces: Sequence[Box], crop: Crop, width: int, height: int) -> Crop:
    """`crop` moved to the median of `faces` (boxes as fractions), and not out of the picture.

    Sideways it moves when the anchor sits off its middle, up or down when the face leaves its upper
    two thirds. Without faces it stays.
    """
    if not faces:
        return crop
    boxes = np.asarray(faces)
    x = float(np.median(boxes[:, [0, 2]].mean(axis=1))) * width
    y = float(np.median(boxes[:, [1, 3]].mean(axis=1))) * height
    left, top, side = crop.left, crop.top, crop.side
    if abs(x - (left + side / 2)) > CENTRED * side:
        left = int(np.clip(round(x - side / 2), 0, width - side))
    if not top + side / 10 <= y <= top + side * 2 / 3:
        top = int(np.clip(round(y - EYE_LEVEL * side), 0, height - side))
    return replace(crop, left=left, top=top)


def alone(face: Box, others: Sequence[Box], crop: Crop, width: int, height: int) -> Crop:
    """`crop` moved sideways, or made smaller, so that it shows `face` and none of the `others`
    (boxes as fractions); as it is where that would leave less than `BODY` heights of the face."""
    middle = (face[0] + face[2]) / 2
    low = max((box[2] for box in others if (box[0] + box[2]) / 2 < middle), default=0.0) * width
    high = min((box[0] for box in others if (box[0] + box[2]) / 2 > middle), default=1.0) * width
    low, high = max(0, int(np.ceil(low))), min(width, int(high))
    side = min(crop.side, high - low)
    if side < BODY * (face[3] - face[1]) * height or not low <= middle * width <= high:
        return crop
    left = int(np.clip(round(middle * width - side / 2), low, high - side))
    if low <= crop.left and crop.left + crop.side <= high:
        left = crop.left
    top = crop.top
    if side < crop.side:
        y = (face[1] + face[3]) / 2 * height
        top = int(np.clip(round(y - EYE_LEVEL * side), 0, height - side))
    return Crop(left, top, side)
