"""The lips of a clip, frame by frame: how far they are open, and where the head turns."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from functools import cache
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from paha_core.corpora.filters.detectors import find_faces
from paha_core.media.video import Frames

SIDE = 256  # pixels of the face that the mesh sees
MARGIN = 1.8  # of the face's box around it
EVERY = 5  # frames from one detection of the face's box to the next
# Vertices of MediaPipe's face mesh.
UPPER, LOWER = [13, 81, 82, 311, 312], [14, 178, 87, 402, 317]  # inner lips, each above its partner
FOREHEAD, CHIN, RIGHT_EYE, LEFT_EYE = 10, 152, 33, 263


@dataclass(frozen=True)
class FaceMesh:
    """Values computed from the face mesh of each frame; NaN where there is no face."""

    opening: NDArray[np.float64]  # [T]: gap between the inner lips over the height of the face
    angles: NDArray[np.float64]  # [T, 3]: pitch, yaw, roll in degrees, 0 facing the camera


def track_face(frames: Iterable[Frames]) -> FaceMesh:
    """The largest face's mesh in RGB frames [H, W, 3] of one clip."""
    lips = Lips()
    for number, frame in enumerate(frames):
        if number % EVERY == 0 or lips.square is None:
            boxes = find_faces(frame)
            if boxes:
                lips.follow(max(boxes, key=lambda box: box[2] - box[0]), frame)
        lips.read(frame)
    return lips.mesh


class Lips:
    """One person's mesh, read frame by frame inside a square that follows the detected boxes.

    `number`: of the person; each has a network of its own, which tracks its face over the frames.
    """

    def __init__(self, number: int = 0) -> None:
        self.square: NDArray[np.float64] | None = None  # centre and half a side, in pixels
        self._network = _mesh(number)
        self._network.reset()  # it must not continue the previous clip's track
        self._opening: list[float] = []
        self._angles: list[tuple[float, float, float]] = []

    def follow(self, box: tuple[float, float, float, float], frame: Frames) -> None:
        """The face is at `box` of this frame, as fractions."""
        left, top, right, bottom = box
        height, width = frame.shape[:2]
        half = MARGIN / 2 * max((right - left) * width, (bottom - top) * height)
        found = np.array([(left + right) / 2 * width, (top + bottom) / 2 * height, half])
        self.square = found if self.square is None else (self.square + found) / 2

    def read(self, frame: Frames) -> None:
        """Read the next frame; one before the first box has no face."""
        points = None if self.square is None else _points(self._network, frame, self.square)
        self._opening.append(np.nan if points is None else _opening(points))
        self._angles.append((np.nan,) * 3 if points is None else _angles(points))

    @property
    def mesh(self) -> FaceMesh:
        """Of all frames that were read."""
        return FaceMesh(np.array(self._opening), np.array(self._angles).reshape(-1, 3))


def _points(mesh: Any, frame: Frames, box: NDArray[np.float64]) -> NDArray[np.float64] | None:
    x, y, half = box
    scale = SIDE / 2 / half
    matrix = np.array([[scale, 0, SIDE / 2 - x * scale], [0, scale, SIDE / 2 - y * scale]])
    method = cv2.INTER_AREA if scale < 1 else cv2.INTER_CUBIC
    face = cv2.warpAffine(
        frame, matrix, (SIDE, SIDE), flags=method, borderMode=cv2.BORDER_REPLICATE
    )
    found = mesh.process(face).multi_face_landmarks
    if not found:
        return None
    return np.array([(p.x, p.y, p.z) for p in found[0].landmark])


def _opening(points: NDArray[np.float64]) -> float:
    plane = points[:, :2]
    gap = np.linalg.norm(plane[UPPER] - plane[LOWER], axis=1).mean()
    return float(gap / np.linalg.norm(plane[FOREHEAD] - plane[CHIN]))


def _angles(points: NDArray[np.float64]) -> tuple[float, float, float]:
    across, down = points[LEFT_EYE] - points[RIGHT_EYE], points[CHIN] - points[FOREHEAD]
    radians = (
        np.arctan2(down[2], np.hypot(down[0], down[1])),
        np.arctan2(across[2], np.hypot(across[0], across[1])),
        np.arctan2(across[1], across[0]),
    )
    pitch, yaw, roll = np.degrees(radians)
    return float(pitch), float(yaw), float(roll)


@cache
def _mesh(number: int) -> Any:
    from mediapipe.python.solutions import face_mesh  # slow to import

    return face_mesh.FaceMesh(static_image_mode=False, max_num_faces=1)
