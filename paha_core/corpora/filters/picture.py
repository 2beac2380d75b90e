"""Filters of the picture: faces and scenes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from paha_core.corpora.filters.look import Failed, Look

APART = 10  # frames, 0.4 s


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


def _inside(box: tuple[float, float, float, float]) -> bool:
    return box[0] >= 0 and box[1] >= 0 and box[2] <= 1 and box[3] <= 1
