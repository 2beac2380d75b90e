"""What a clip must be to be kept: each filter gives a score, and a reason when the score won't do.

A filter is a small frozen dataclass (its fields are its settings and part of a clip's fingerprint)
with a `name` and `check(look) -> score`, which raises `Rejection`.
"""

from __future__ import annotations

import math
import os
from dataclasses import dataclass
from functools import cache
from typing import Any, ClassVar, Protocol

import numpy as np
from numpy.typing import NDArray

from paha_core.media.video import Frames
from paha_core.stages import Rejection

os.environ.setdefault("GLOG_minloglevel", "2")  # mediapipe greets on stderr once a process
import mediapipe

PROBES = 10  # frames of a clip that are searched for a face
SILENCE_DB = -120.0


@dataclass(frozen=True)
class Look:
    """What the filters see of a clip, gathered in one pass over it."""

    probes: list[Frames]  # [H, W, 3], evenly spread
    thumbnails: NDArray[np.uint8]  # [T, 32, 32] grey, every frame
    wave: NDArray[np.float32]  # mono [N]


class Filter(Protocol):
    name: ClassVar[str]

    def check(self, look: Look) -> float: ...


@dataclass(frozen=True)
class Audible:
    """The mean level of the audio in dB of full scale must reach `min_db`."""

    name: ClassVar[str] = "mean_db"
    min_db: float = -60.0

    def check(self, look: Look) -> float:
        power = float(np.mean(np.square(look.wave, dtype=np.float64))) if look.wave.size else 0.0
        level = max(SILENCE_DB, 10 * math.log10(power)) if power > 0 else SILENCE_DB
        if level < self.min_db:
            raise Rejection(f"silence: the mean level is {level:.0f} dB, under {self.min_db:g} dB")
        return level


@dataclass(frozen=True)
class WholeFace:
    """The share of probed frames with a face wholly inside the picture must reach `min_share`.

    `alone`: a frame with a second face doesn't count. PATS doesn't ask for it: its hosts stand
    beside pictures of others.
    """

    name: ClassVar[str] = "face_share"
    min_share: float = 0.9
    alone: bool = True

    def check(self, look: Look) -> float:
        faces = [find_faces(probe) for probe in look.probes]
        whole = [[box for box in boxes if _inside(box)] for boxes in faces]
        good = [
            bool(w) and (not self.alone or len(b) == 1) for w, b in zip(whole, faces, strict=True)
        ]
        share = sum(good) / len(good)
        if share < self.min_share:
            raise Rejection(self._reason(faces, whole, share))
        return share

    def _reason(self, faces: list[Any], whole: list[Any], share: float) -> str:
        if not any(faces):
            return "no face in the frame"
        if not any(whole):
            return "the face is only partly in the frame"
        if self.alone and sum(len(boxes) > 1 for boxes in faces) > len(faces) / 2:
            return "more than one face in the frame"
        what = "one whole face" if self.alone else "a whole face"
        return f"{what} in {share:.0%} of the frames, {self.min_share:.0%} needed"


@dataclass(frozen=True)
class OneScene:
    """The greatest mean change of grey (0-255) between neighbours is at most `max_change`."""

    name: ClassVar[str] = "frame_change"
    max_change: float = 30.0

    def check(self, look: Look) -> float:
        if len(look.thumbnails) < 2:
            return 0.0
        steps = np.abs(np.diff(look.thumbnails.astype(np.int16), axis=0)).mean(axis=(1, 2))
        change = float(steps.max())
        if change > self.max_change:
            raise Rejection(
                f"the scene switches at {(int(steps.argmax()) + 1) / 25:.2f} s of the clip"
            )
        return change


def find_faces(frame: Frames) -> list[tuple[float, float, float, float]]:
    """Boxes `xyxy` of the faces in an RGB frame [H, W, 3], as fractions of width and height."""
    boxes = []
    for found in _detector().process(frame).detections or []:
        box = found.location_data.relative_bounding_box
        boxes.append((box.xmin, box.ymin, box.xmin + box.width, box.ymin + box.height))
    return boxes


def _inside(box: tuple[float, float, float, float]) -> bool:
    return box[0] >= 0 and box[1] >= 0 and box[2] <= 1 and box[3] <= 1


@cache
def _detector() -> Any:
    # The full-range model: the short-range one sees second faces in hands (tried on the studio
    # corpus).
    return mediapipe.solutions.face_detection.FaceDetection(
        model_selection=1, min_detection_confidence=0.5
    )
