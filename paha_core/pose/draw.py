"""Visualisation of the training data: skeleton, face box and PAR mask drawn over a frame."""

from __future__ import annotations

import cv2
import numpy as np

from paha_core.pose import layout
from paha_core.pose.keypoints import RELIABLE

_COLOURS = {  # RGB
    "body": (255, 190, 60),
    "face": (240, 240, 240),
    "left_hand": (90, 220, 120),
    "right_hand": (90, 160, 255),
}
_BOX = (255, 70, 70)
_MASK_STRENGTH = 0.6


def draw_pose(
    frame: np.ndarray,
    points: np.ndarray,
    scores: np.ndarray,
    threshold: float = RELIABLE,
    face_box: np.ndarray | None = None,
    weights: np.ndarray | None = None,
) -> np.ndarray:
    """A copy of the frame, uint8 RGB [H, W, 3], with skeleton, face box and PAR mask drawn on it.

    points [133, 2] in pixels and scores [133]: bones and dots of points above the threshold.
    face_box: xyxy [4]; an empty box is not drawn. weights: PAR weights [rows, columns], at least 1;
    drawn as a heat map on a logarithmic scale up to the frame's largest weight. Pixels at the
    right and bottom edges that belong to no whole cell are left unchanged.
    """
    picture = np.array(frame, dtype=np.uint8)  # a copy
    if weights is not None:
        rows, columns = weights.shape
        height, width = picture.shape[0] // rows * rows, picture.shape[1] // columns * columns
        picture[:height, :width] = _heat_map(picture[:height, :width], weights)
    thickness = max(1, round(min(picture.shape[:2]) / 256))
    reliable = scores > threshold
    for part, edges in layout.EDGES.items():
        colour = _COLOURS[part]
        for start, stop in edges:
            if reliable[start] and reliable[stop]:
                cv2.line(
                    picture,
                    _pixel(points[start]),
                    _pixel(points[stop]),
                    colour,
                    thickness,
                    cv2.LINE_AA,
                )
        for index in range(*layout.PARTS[part].indices(layout.POINTS)):
            if reliable[index]:
                cv2.circle(picture, _pixel(points[index]), thickness, colour, -1, cv2.LINE_AA)
    if face_box is not None and face_box[2] > face_box[0] and face_box[3] > face_box[1]:
        corners = _pixel(face_box[:2]), _pixel(face_box[2:])
        cv2.rectangle(picture, *corners, _BOX, thickness, cv2.LINE_AA)
    return picture


def _heat_map(picture: np.ndarray, weights: np.ndarray) -> np.ndarray:
    height, width = picture.shape[:2]
    largest = max(float(weights.max()), 1.0 + 1e-6)
    strength = (np.log(np.maximum(weights, 1)) / np.log(largest)).astype(np.float32)
    levels = (strength * 255).round().astype(np.uint8)
    colours = cv2.applyColorMap(levels, cv2.COLORMAP_INFERNO)[..., ::-1]
    share = strength[..., None].repeat(3, axis=2) * _MASK_STRENGTH
    # nearest: each latent cell is drawn with the one weight that the loss applies to it
    kept, added = (
        cv2.resize(cells, (width, height), interpolation=cv2.INTER_NEAREST)
        for cells in (1 - share, colours * share)
    )
    blended = cv2.multiply(picture, kept, dtype=cv2.CV_32F)
    return np.asarray(cv2.add(blended, added, dtype=cv2.CV_8U), np.uint8)


def _pixel(point: np.ndarray) -> tuple[int, int]:
    # OpenCV overflows on large coordinates; any point far outside the frame is drawn the same
    x, y = np.floor(np.clip(point, -10_000, 10_000))
    return int(x), int(y)
