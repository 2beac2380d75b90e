"""Filters of the picture: faces and scenes."""

from __future__ import annotations

import os
from dataclasses import dataclass
from functools import cache
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from paha_core.corpora.filters.look import Failed, Look
from paha_core.media.video import Frames

os.environ.setdefault("GLOG_minloglevel", "2")  # mediapipe greets on stderr once a process
import mediapipe

APART = 10  # frames, 0.4 s
NO_FACE = np.full((8, 2), np.nan)


@dataclass(frozen=True)
class WholeFace:
    """The share of probed frames with a face wholly inside the picture must reach `min_share`."""

    name: ClassVar[str] = "face_share"
    min_share: float = 0.9

    def check(self, look: Look) -> float:
        whole = [[box for box in boxes if _inside(box)] for boxes in look.faces]
        share = sum(map(bool, whole)) / len(whole)
        if share < self.min_share:
            raise Failed(self._reason(look.faces, whole, share), share)
        return share

    def _reason(self, faces: list[Any], whole: list[Any], share: float) -> str:
        if not any(faces):
            return "no face in the frame"
        if not any(whole):
            return "the face is only partly in the frame"
        return f"a whole face in {share:.0%} of the frames, {self.min_share:.0%} needed"


@dataclass(frozen=True)
class OnePerson:
    """The share of probed frames with more than one face is at most `max_share`.

    Only for corpora of one person alone: PATS's hosts stand beside pictures of others.
    """

    name: ClassVar[str] = "crowd_share"
    max_share: float = 0.1

    def check(self, look: Look) -> float:
        share = sum(len(boxes) > 1 for boxes in look.faces) / len(look.faces)
        if share > self.max_share:
            raise Failed(f"more than one face in {share:.0%} of the frames", share)
        return share


@dataclass(frozen=True)
class OneScene:
    """The greatest mean change of grey (0-255) within `APART` frames is at most `max_change`.

    Over some time, not from one frame to the next: so it sees fades as well (`docs/results/cnas.md`
    compares it with PySceneDetect's detectors).
    """

    name: ClassVar[str] = "frame_change"
    max_change: float = 25.0

    def check(self, look: Look) -> float:
        if len(look.thumbnails) <= APART:
            return 0.0
        grey = look.thumbnails.astype(np.int16)
        steps = np.abs(grey[APART:] - grey[:-APART]).mean(axis=(1, 2))
        change = float(steps.max())
        if change > self.max_change:
            seconds = (int(steps.argmax()) + APART) / 25
            raise Failed(f"the scene switches at {seconds:.2f} s of the clip", change)
        return change


def find_faces(frame: Frames) -> list[tuple[float, float, float, float]]:
    """Boxes `xyxy` of the faces in an RGB frame [H, W, 3], as fractions of width and height."""
    return [_box(found) for found in _detector().process(frame).detections or []]


def find_face_points(frame: Frames) -> NDArray[np.float64]:
    """The corners and the six points of the largest face [8, 2], as fractions; or `NO_FACE`."""
    faces = _detector().process(frame).detections or []
    if not faces:
        return NO_FACE
    face = max(faces, key=lambda found: found.location_data.relative_bounding_box.width)
    left, top, right, bottom = _box(face)
    points = [(p.x, p.y) for p in face.location_data.relative_keypoints]
    return np.array([(left, top), (right, bottom), *points])


def _box(found: Any) -> tuple[float, float, float, float]:
    box = found.location_data.relative_bounding_box
    return box.xmin, box.ymin, box.xmin + box.width, box.ymin + box.height


def _inside(box: tuple[float, float, float, float]) -> bool:
    return box[0] >= 0 and box[1] >= 0 and box[2] <= 1 and box[3] <= 1


@cache
def _detector() -> Any:
    # The full-range model: the short-range one sees second faces in hands (tried on the studio
    # corpus).
    return mediapipe.solutions.face_detection.FaceDetection(
        model_selection=1, min_detection_confidence=0.5
    )
