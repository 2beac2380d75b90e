"""MediaPipe's holistic tracker mapped to the 133 points; needs no downloaded weights.

The wheel of mediapipe 0.10.21 carries its networks, with one exception: of the three pose networks
only the one of complexity 1. This module never lets MediaPipe fetch the others.

The map (frames are not mirrored, so MediaPipe's left is the person's left):

| 133 points | source | score |
|---|---|---|
| body 0-16 | 17 of the 33 pose points | their visibility |
| feet 17-22 | toe and heel of the pose; it has no small toes | visibility; small toes 0 |
| face 23-90 | the nearest vertices of the face mesh, iBUG order | 1 where the mesh was found |
| hands 91-132 | 21 points a hand, in the same order | 1 where the hand was found |

MediaPipe gives no score to a single face or hand point, so a found part counts as a whole. Where
face or hands were found, they also place the body's nose, eyes, ears and wrists (about half the
pose network's distance from labels or less); their scores stay the pose's.
"""

from __future__ import annotations

from collections.abc import Iterable
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np

from paha_core.config import PoseConfig
from paha_core.engine.prefetch import in_background
from paha_core.pose import layout
from paha_core.pose.frames import size_and_frames
from paha_core.pose.keypoints import Keypoints
from paha_core.store import sha256_of_files

# 133-index -> index of the 33 pose points
POSE_MAP = dict(enumerate((0, 2, 5, 7, 8, 11, 12, 13, 14, 15, 16, 23, 24, 25, 26, 27, 28)))
POSE_MAP |= {17: 31, 19: 29, 20: 32, 22: 30}  # big toe and heel, left and right

# Body points that the face mesh locates better than the pose network: nose, eyes (the middle of six
# lid points), ears.
MESH_BODY = {
    0: (4,),
    1: (362, 385, 387, 263, 373, 380),
    2: (33, 160, 158, 133, 153, 144),
    3: (454,),
    4: (234,),
}

# The 68 iBUG points as vertices of the 468-point face mesh: the usual correspondence, except for
# the sides of the jaw and the inner lips, where neighbouring vertices lie nearer to the labels (of
# COCO-WholeBody faces and of the studio's ground truth alike).
FACE_MAP = (
    *(162, 234, 93, 132, 58, 136, 150, 176, 152, 400, 379, 365, 288, 361, 323, 454, 389),  # jaw
    *(70, 63, 105, 66, 107, 336, 296, 334, 293, 300),  # brows
    *(168, 197, 5, 4, 75, 97, 2, 326, 305),  # nose
    *(33, 160, 158, 133, 153, 144, 362, 385, 387, 263, 373, 380),  # eyes
    *(61, 39, 37, 0, 267, 269, 291, 405, 314, 17, 84, 181),  # outer lips
    *(78, 81, 13, 311, 308, 402, 14, 178),  # inner lips
)

_NETWORKS = (
    "pose_detection/pose_detection.tflite",
    "face_detection/face_detection_short_range.tflite",
    "face_landmark/face_landmark.tflite",
    "hand_landmark/hand_landmark_full.tflite",
    "holistic_landmark/hand_recrop.tflite",
)
_POSE_NETWORKS = ("lite", "full", "heavy")


class MediaPipe:
    """`mp.solutions.holistic` in tracking mode, reset before each clip.

    Raises `FileNotFoundError` for a `model_complexity` whose network the wheel does not carry.
    """

    name = "mediapipe"

    def __init__(self, config: PoseConfig) -> None:
        from mediapipe.python.solutions import holistic

        self.version = version("mediapipe")
        self.weights_sha256 = sha256_of_files(weight_files(config))
        self._graph = holistic.Holistic(
            static_image_mode=False,
            model_complexity=config.model_complexity,
            refine_face_landmarks=False,
        )
        self._fresh = True

    def detect(self, frames: Iterable[np.ndarray]) -> Keypoints:
        size, checked = size_and_frames(frames)
        if not self._fresh:
            self._graph.reset()  # otherwise tracking continues from the previous clip's person
        self._fresh = False
        results: list[tuple[np.ndarray, np.ndarray]] = []
        for frame in in_background(checked):
            xy = np.zeros((layout.POINTS, 2), np.float32)
            score = np.zeros(layout.POINTS, np.float32)
            _to_layout(self._graph.process(np.ascontiguousarray(frame)), xy, score)
            results.append((xy, score))
        points, scores = (np.stack(arrays) for arrays in zip(*results, strict=True))
        points *= np.array(size[::-1], np.float32)
        return Keypoints(points, scores, size, self.name, self.version, self.weights_sha256)


def _to_layout(landmarks: Any, points: np.ndarray, scores: np.ndarray) -> None:
    """Fill points [133, 2] (shares of width and height) and scores [133] of one frame."""
    if landmarks.pose_landmarks:
        pose = landmarks.pose_landmarks.landmark
        for target, source in POSE_MAP.items():
            points[target] = pose[source].x, pose[source].y
            scores[target] = min(max(pose[source].visibility, 0.0), 1.0)
    if landmarks.face_landmarks:
        mesh = landmarks.face_landmarks.landmark
        points[layout.FACE] = [(mesh[i].x, mesh[i].y) for i in FACE_MAP]
        scores[layout.FACE] = 1
        for target, vertices in MESH_BODY.items():
            points[target] = np.mean([(mesh[i].x, mesh[i].y) for i in vertices], axis=0)
    for part, wrist, hand in (
        (layout.LEFT_HAND, 9, landmarks.left_hand_landmarks),
        (layout.RIGHT_HAND, 10, landmarks.right_hand_landmarks),
    ):
        if hand:
            points[part] = [(p.x, p.y) for p in hand.landmark]
            scores[part] = 1
            points[wrist] = points[part.start]


def modules_folder() -> Path:
    """Folder of the networks inside the mediapipe wheel."""
    import mediapipe

    return Path(mediapipe.__file__).parent / "modules"


def weight_files(config: PoseConfig) -> list[Path]:
    """The network files in use. Raises `FileNotFoundError` for a pose network the wheel lacks."""
    complexity = config.model_complexity
    path = modules_folder() / f"pose_landmark/pose_landmark_{_POSE_NETWORKS[complexity]}.tflite"
    if not path.is_file():
        # MediaPipe itself would download the network here without asking.
        raise FileNotFoundError(
            f"pose.model_complexity {complexity} needs {path}, which the mediapipe wheel does not"
            " carry; use model_complexity 1"
        )
    return [*(modules_folder() / name for name in _NETWORKS), path]
