"""MediaPipe's faces and body in a frame, each frame on its own."""

from __future__ import annotations

from functools import cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from paha_core.media.video import Frames

NO_FACE = np.full((8, 2), np.nan)


def find_faces(frame: Frames) -> list[tuple[float, float, float, float]]:
    """Boxes `xyxy` of the faces in an RGB frame [H, W, 3], as fractions of width and height."""
    return [_box(found) for found in _faces().process(frame).detections or []]


def find_face_points(frame: Frames) -> NDArray[np.float64]:
    """The corners and the six points of the largest face [8, 2], as fractions; or `NO_FACE`."""
    faces = _faces().process(frame).detections or []
    if not faces:
        return NO_FACE
    face = max(faces, key=lambda found: found.location_data.relative_bounding_box.width)
    left, top, right, bottom = _box(face)
    points = [(p.x, p.y) for p in face.location_data.relative_keypoints]
    return np.array([(left, top), (right, bottom), *points])


def _box(found: Any) -> tuple[float, float, float, float]:
    box = found.location_data.relative_bounding_box
    return box.xmin, box.ymin, box.xmin + box.width, box.ymin + box.height


def find_body(frame: Frames) -> NDArray[np.float32] | None:
    """Keypoints [33, 3] in an RGB frame [H, W, 3]: x, y as fractions, visibility; None: nobody."""
    found = _body().process(frame).pose_landmarks
    if found is None:
        return None
    return np.array([(p.x, p.y, p.visibility) for p in found.landmark], dtype=np.float32)


@cache
def _faces() -> Any:
    # The full-range model: the short-range one sees second faces in hands (tried on the studio
    # corpus).
    from mediapipe.python.solutions import face_detection  # slow to import

    return face_detection.FaceDetection(model_selection=1, min_detection_confidence=0.5)


@cache
def _body() -> Any:
    # Complexity 1: the one whose weights are in MediaPipe's wheel.
    from mediapipe.python.solutions import pose

    return pose.Pose(static_image_mode=True, model_complexity=1)
