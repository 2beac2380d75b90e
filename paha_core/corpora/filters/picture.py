"""Filters of the picture: faces, scenes, and whether it moves at all."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

import cv2
import numpy as np
from numpy.typing import NDArray

from paha_core.corpora.filters.clip_data import ClipData, FilterFailed
from paha_core.media import FPS

APART = 10  # frames, 0.4 s
STILL = 0.02  # mean change of grey from frame to frame that counts as no change
EDGE = 0.005  # of the side: a face that comes this near to it is cut off


@dataclass(frozen=True)
class WholeFace:
    """The share of probed frames with a face wholly inside the picture must reach `min_share`."""

    name: ClassVar[str] = "face_share"
    min_share: float = 0.9

    def check(self, clip: ClipData) -> float:
        whole = [[box for box in boxes if _inside(box)] for boxes in clip.faces]
        share = sum(map(bool, whole)) / len(whole)
        if share < self.min_share:
            raise FilterFailed(self._reason(clip.faces, whole, share), share)
        return share

    def _reason(self, faces: list[Any], whole: list[Any], share: float) -> str:
        if not any(faces):
            return "no face in the clip's region"
        if not any(whole):
            return "the face is only partly in the clip's region"
        return f"a whole face in {share:.0%} of the frames, {self.min_share:.0%} needed"


@dataclass(frozen=True)
class OnePerson:
    """The share of probed frames with more than one face is at most `max_share`.

    Only for corpora with one person in the picture: PATS's hosts appear beside pictures of others.
    """

    name: ClassVar[str] = "crowd_share"
    max_share: float = 0.1

    def check(self, clip: ClipData) -> float:
        share = sum(len(boxes) > 1 for boxes in clip.faces) / len(clip.faces)
        if share > self.max_share:
            raise FilterFailed(f"more than one face in {share:.0%} of the frames", share)
        return share


@dataclass(frozen=True)
class OneScene:
    """The greatest mean change of grey (0-255) within `APART` frames is at most `max_change`.

    Over some time, not from one frame to the next: so it sees fades as well (`docs/results/cnas.md`
    compares it with PySceneDetect's detectors and TransNetV2).
    """

    name: ClassVar[str] = "frame_change"
    max_change: float = 25.0

    def check(self, clip: ClipData) -> float:
        steps = changes(clip.thumbnails)
        change = float(steps.max(initial=0.0))
        if change > self.max_change:
            seconds = (int(steps.argmax()) + APART) / FPS
            raise FilterFailed(f"the scene switches at {seconds:.2f} s of the clip", change)
        return change


@dataclass(frozen=True)
class NotFrozen:
    """The longest time without any change of the picture, in seconds, is at most `max_seconds`.

    Even a person who holds still moves a little; a picture without any change is a slide, a stuck
    recorder or a decoding failure.
    """

    name: ClassVar[str] = "still_seconds"
    max_seconds: float = 1.0

    def check(self, clip: ClipData) -> float:
        still = longest_run(changes(clip.thumbnails, 1) < STILL) / FPS
        if still > self.max_seconds:
            raise FilterFailed(f"the picture stands still for {still:.1f} s", still)
        return still


def longest_run(flags: NDArray[np.bool_]) -> int:
    """The length of the longest unbroken run of true flags [N]."""
    edges = np.flatnonzero(np.diff(np.concatenate([[False], flags, [False]]).astype(np.int8)))
    return int((edges[1::2] - edges[::2]).max(initial=0))


def changes(thumbnails: NDArray[np.uint8], apart: int = APART) -> NDArray[np.float64]:
    """Mean change of grey [T - apart] from each thumbnail [T, H, W] to the one `apart` later."""
    later = thumbnails[apart:]
    steps = [cv2.absdiff(a, b).mean() for a, b in zip(thumbnails, later, strict=False)]
    return np.array(steps, dtype=np.float64)


def _inside(box: tuple[float, float, float, float]) -> bool:
    return min(box[0], box[1]) > EDGE and max(box[2], box[3]) < 1 - EDGE
