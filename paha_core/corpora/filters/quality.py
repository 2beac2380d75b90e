"""Filters of quality that need no weights: source, exposure, detail, sharpness, face and head."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import cv2
import numpy as np
from numpy.typing import NDArray

from paha_core.corpora.filters.body import SHOULDERS, VISIBLE
from paha_core.corpora.filters.clip_data import ClipData, FilterFailed
from paha_core.media import FPS
from paha_core.media.video import Frames

PATCH = 128  # pixels of a face or hand, as in SpeakerVid-5M
HANDS = ([15, 17, 19, 21], [16, 18, 20, 22])  # of MediaPipe Pose's 33 keypoints
HAND_SIDE = 0.55  # of the distance between the shoulders


@dataclass(frozen=True)
class SourceRate:
    """The source's frames a second must reach `min_fps`: below 25 frames are shown twice."""

    name: ClassVar[str] = "source_fps"
    min_fps: float = 24.0

    def check(self, clip: ClipData) -> float:
        if clip.source_fps < self.min_fps:
            reason = f"the source has {clip.source_fps:.3g} frames a second"
            raise FilterFailed(f"{reason}, {self.min_fps:g} needed", clip.source_fps)
        return clip.source_fps


@dataclass(frozen=True)
class LargeSource:
    """The side of the clip's square in the source must reach `min_side` pixels."""

    name: ClassVar[str] = "source_side"
    min_side: int = 256

    def check(self, clip: ClipData) -> float:
        if clip.source_side < self.min_side:
            reason = f"the clip's square has {clip.source_side:.0f} pixels in the source"
            raise FilterFailed(f"{reason}, {self.min_side} needed", clip.source_side)
        return clip.source_side


@dataclass(frozen=True)
class BrightEnough:
    """The mean luma (0-255) of the darkest probed frame must reach `min_luma`."""

    name: ClassVar[str] = "darkest_luma"
    min_luma: float = 10.0

    def check(self, clip: ClipData) -> float:
        luma = min(float(_grey(probe).mean()) for probe in clip.probes)
        if luma < self.min_luma:
            raise FilterFailed(f"a dark picture: mean luma {luma:.0f}", luma)
        return luma


@dataclass(frozen=True)
class NotOverexposed:
    """The mean luma (0-255) of the brightest probed frame is at most `max_luma`."""

    name: ClassVar[str] = "brightest_luma"
    max_luma: float = 210.0

    def check(self, clip: ClipData) -> float:
        luma = max(float(_grey(probe).mean()) for probe in clip.probes)
        if luma > self.max_luma:
            raise FilterFailed(f"an overexposed picture: mean luma {luma:.0f}", luma)
        return luma


@dataclass(frozen=True)
class Detailed:
    """The share of fine contrast that half the resolution would lose must reach `min_detail`, in
    the median of the probed frames: 0.2 to 0.3 filmed, 0.1 enlarged twice or over-compressed."""

    name: ClassVar[str] = "detail"
    min_detail: float = 0.12

    def check(self, clip: ClipData) -> float:
        share = float(np.median([detail(_grey(probe)) for probe in clip.probes]))
        if share < self.min_detail:
            raise FilterFailed("less detail than its resolution: enlarged or compressed", share)
        return share


@dataclass(frozen=True)
class LargeFace:
    """The share of the picture that the face's box takes, in the median of the probed frames, must
    reach `min_share`."""

    name: ClassVar[str] = "face_area"
    min_share: float = 0.0133

    def check(self, clip: ClipData) -> float:
        boxes = [_largest(found) for found in clip.faces if found]
        if not boxes:
            return float("nan")
        share = float(np.median([(b[2] - b[0]) * (b[3] - b[1]) for b in boxes]))
        if share < self.min_share:
            raise FilterFailed(f"the face takes {share:.1%} of the picture", share)
        return share


@dataclass(frozen=True)
class SharpFace:
    """The sharpness of the face, in the median of the probed frames, must reach `min_sharpness`."""

    name: ClassVar[str] = "face_sharpness"
    min_sharpness: float = 20.0

    def check(self, clip: ClipData) -> float:
        patches = [
            patch(probe, *_square(_largest(found), probe))
            for probe, found in zip(clip.probes, clip.faces, strict=True)
            if found
        ]
        return _sharp(patches, self.min_sharpness, "face")


@dataclass(frozen=True)
class SharpHands:
    """The sharpness of each hand, in the median of the frames that show it, must reach
    `min_sharpness`; the score is that of the less sharp hand."""

    name: ClassVar[str] = "hand_sharpness"
    min_sharpness: float = 10.0

    def check(self, clip: ClipData) -> float:
        scores = []
        for side, points in zip(("left", "right"), HANDS, strict=True):
            patches = [
                patch(probe, *place)
                for probe, body in zip(clip.probes, clip.bodies, strict=True)
                if (place := hand_place(body, points, probe)) is not None
            ]
            scores.append(_sharp(patches, self.min_sharpness, f"{side} hand"))
        return float(np.nanmin(scores)) if not np.isnan(scores).all() else float("nan")


@dataclass(frozen=True)
class FacingCamera:
    """TalkVid's orientation, the mean over the frames with a face, must reach `min_orientation`:
    100 less the length of the head's angles in hundredths of half a turn."""

    name: ClassVar[str] = "facing"
    min_orientation: float = 70.0

    def check(self, clip: ClipData) -> float:
        score = float(np.mean(orientations(clip))) if len(orientations(clip)) else float("nan")
        if score < self.min_orientation:
            raise FilterFailed(f"the head is turned away: orientation {score:.0f}", score)
        return score


@dataclass(frozen=True)
class AlwaysFacing:
    """TalkVid's orientation in the clip's worst second must reach `min_orientation`."""

    name: ClassVar[str] = "facing_least"
    min_orientation: float = 30.0

    def check(self, clip: ClipData) -> float:
        scores = _by_second(orientations(clip))
        if not len(scores):
            return float("nan")
        score = float(scores.min())
        if score < self.min_orientation:
            raise FilterFailed(f"the head turns away: orientation {score:.0f} for a second", score)
        return score


@dataclass(frozen=True)
class SteadyHead:
    """TalkVid's rotation must reach `min_rotation`: 100 less the degrees that the head turns from
    one second to the next, where it turns the most."""

    name: ClassVar[str] = "head_steadiness"
    min_rotation: float = 60.0

    def check(self, clip: ClipData) -> float:
        angles = _by_second(seen_angles(clip))
        if len(angles) < 2:
            return float("nan")
        score = float(100 - np.linalg.norm(np.diff(angles, axis=0), axis=1).max())
        if score < self.min_rotation:
            raise FilterFailed(f"the head turns by {100 - score:.0f} degrees in a second", score)
        return score


def seen_angles(clip: ClipData) -> NDArray[np.float64]:
    """The head's angles in degrees [T, 3], in the frames that show a face."""
    angles = clip.face_mesh.angles
    return np.asarray(angles[~np.isnan(angles).any(axis=1)])


def orientations(clip: ClipData) -> NDArray[np.float64]:
    """TalkVid's orientation in each of those frames."""
    return np.asarray(100 - np.linalg.norm(seen_angles(clip) / 180 * 100, axis=1))


def _by_second(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """The median of each whole second of values [T, ...]."""
    seconds = len(values) // FPS
    whole = values[: seconds * FPS].reshape(seconds, FPS, *values.shape[1:])
    return np.asarray(np.median(whole, axis=1))


def detail(grey: NDArray[np.uint8]) -> float:
    """The contrast that a grey picture [H, W] loses at 1/2 of its resolution, over that at 1/8."""
    picture = grey.astype(np.float32)
    half, eighth = (float(np.abs(picture - _through(picture, by)).mean()) for by in (2, 8))
    return half / eighth if eighth > 1e-3 else 0.0


def _through(picture: NDArray[np.float32], by: int) -> NDArray[np.float32]:
    """The picture made smaller and large again."""
    height, width = picture.shape
    small = cv2.resize(picture, (width // by, height // by), interpolation=cv2.INTER_AREA)
    return np.asarray(cv2.resize(small, (width, height), interpolation=cv2.INTER_CUBIC))


def sharpness(grey: NDArray[np.uint8]) -> float:
    """Variance of the Laplacian of a grey patch."""
    return float(cv2.Laplacian(grey, cv2.CV_64F).var())


def patch(frame: Frames, x: float, y: float, side: float) -> NDArray[np.uint8]:
    """The square of `side` pixels around a place, in grey at `PATCH` pixels."""
    size = max(2, round(side))
    grey = cv2.getRectSubPix(_grey(frame), (size, size), (float(x), float(y)))
    method = cv2.INTER_AREA if size > PATCH else cv2.INTER_CUBIC
    return np.asarray(cv2.resize(grey, (PATCH, PATCH), interpolation=method))


def hand_place(
    body: NDArray[np.float32] | None, points: list[int], frame: Frames
) -> tuple[float, float, float] | None:
    """Centre and side in pixels of the square around a hand; None where it is out of sight."""
    if body is None:
        return None
    chosen = body[points]
    inside = ((chosen[:, :2] >= 0) & (chosen[:, :2] < 1)).all(axis=1) & (chosen[:, 2] >= VISIBLE)
    if inside.sum() < 2:
        return None
    size = np.array([frame.shape[1], frame.shape[0]])
    x, y = chosen[inside, :2].mean(axis=0) * size
    shoulders = body[SHOULDERS, :2] * size
    return float(x), float(y), HAND_SIDE * float(np.linalg.norm(shoulders[0] - shoulders[1]))


def _sharp(patches: list[NDArray[np.uint8]], least: float, what: str) -> float:
    if not patches:
        return float("nan")
    score = float(np.median([sharpness(each) for each in patches]))
    if score < least:
        raise FilterFailed(f"a blurred {what}: sharpness {score:.0f}, {least:g} needed", score)
    return score


def _grey(frame: Frames) -> NDArray[np.uint8]:
    return np.asarray(cv2.cvtColor(frame, cv2.COLOR_RGB2GRAY), dtype=np.uint8)


def _largest(
    boxes: list[tuple[float, float, float, float]],
) -> tuple[float, float, float, float]:
    return max(boxes, key=lambda box: box[2] - box[0])


def _square(box: tuple[float, float, float, float], frame: Frames) -> tuple[float, float, float]:
    height, width = frame.shape[:2]
    x, y = (box[0] + box[2]) / 2 * width, (box[1] + box[3]) / 2 * height
    return x, y, max((box[2] - box[0]) * width, (box[3] - box[1]) * height)
