"""Filters of text over the picture, and of camera motion."""

from __future__ import annotations

import itertools
from collections.abc import Iterable
from dataclasses import dataclass
from typing import ClassVar

import cv2
import numpy as np
from numpy.typing import NDArray

from paha_core.corpora.filters.clip_data import ClipData, FilterFailed
from paha_core.corpora.filters.networks import wheel_network
from paha_core.media import FPS
from paha_core.media.video import Frames

TEXT_LOOKS = 3  # of the probed frames: captions and tickers stay for seconds
TEXT_SIDE, TEXT_STEP = 512, 32  # pixels of the shorter side that PP-OCR sees, in steps
TEXT = 0.3  # probability from which a pixel belongs to text, as in PP-OCR

GROUND_SIDE = 192  # pixels at which the background is tracked
EVERY = 5  # frames from one measurement of the background to the next
CORNERS, FEWEST = 100, 8  # most points that are tracked, and fewest for a result
PERSON = 1.0  # widths of the face's box to each side of it that belong to the person, downwards
PERCENTILE = 90.0  # of the measurements: a pan of half a second in a clip of 5 s counts


@dataclass(frozen=True)
class LittleText:
    """The share of the picture that text covers (captions, tickers, signs), by PP-OCR's detector in
    the worst of `TEXT_LOOKS` frames, is at most `max_area`."""

    name: ClassVar[str] = "text_area"
    max_area: float = 0.03

    def check(self, clip: ClipData) -> float:
        looks = np.linspace(0, len(clip.probes) - 1, TEXT_LOOKS).round().astype(int)
        area = max(text_area(clip.probes[n]) for n in looks)
        if area > self.max_area:
            raise FilterFailed(f"text covers {area:.1%} of the picture", area)
        return area


@dataclass(frozen=True)
class SteadyCamera:
    """The motion of the background, in sides of the picture a second, is at most `max_motion`;
    missing where the background is too plain to be tracked."""

    name: ClassVar[str] = "camera_motion"
    max_motion: float = 0.02

    def check(self, clip: ClipData) -> float:
        motion = ground_motion(clip)
        if motion > self.max_motion:
            raise FilterFailed(f"the camera moves: {motion:.3f} of the side a second", motion)
        return motion


def text_area(frame: Frames) -> float:
    """The share of an RGB frame [H, W, 3] that PP-OCR's detector takes for text."""
    height, width = frame.shape[:2]
    scale = TEXT_SIDE / min(height, width)
    size = [max(1, round(n * scale / TEXT_STEP)) * TEXT_STEP for n in (width, height)]
    method = cv2.INTER_AREA if scale < 1 else cv2.INTER_CUBIC
    pixels = cv2.resize(frame, size, interpolation=method)[..., ::-1].astype(np.float32)
    session = wheel_network("rapidocr_onnxruntime", "models/ch_PP-OCRv4_det_infer.onnx")
    name = session.get_inputs()[0].name
    probability = session.run(None, {name: (pixels / 127.5 - 1).transpose(2, 0, 1)[None]})[0]
    return float((probability > TEXT).mean())


def ground_motion(clip: ClipData) -> float:
    """Camera motion by points beside the person, tracked over `EVERY` frames: the displacement of
    the picture's corners, at `PERCENTILE` of the measurements; NaN without enough points."""
    ground = _ground(clip)
    looks = itertools.pairwise(_small(clip.frames()))
    found = [moved for a, b in looks if (moved := _moved(a, b, ground)) is not None]
    return float(np.percentile(found, PERCENTILE)) if found else float("nan")


def _small(frames: Iterable[Frames]) -> Iterable[NDArray[np.uint8]]:
    for frame in itertools.islice(frames, 0, None, EVERY):
        grey = cv2.cvtColor(frame, cv2.COLOR_RGB2GRAY)
        yield np.asarray(cv2.resize(grey, (GROUND_SIDE, GROUND_SIDE), interpolation=cv2.INTER_AREA))


def _ground(clip: ClipData) -> NDArray[np.uint8]:
    """A mask [GROUND_SIDE, GROUND_SIDE] without the columns of any face, from its top down."""
    mask = np.full((GROUND_SIDE, GROUND_SIDE), 255, np.uint8)
    for left, top, right, _ in itertools.chain.from_iterable(clip.faces):
        beside = PERSON * (right - left)
        edges = np.array([left - beside, right + beside, top - beside / 2]).clip(0, 1) * GROUND_SIDE
        first, last, up = edges.astype(int)
        mask[up:, first:last] = 0
    return mask


def _moved(
    before: NDArray[np.uint8], after: NDArray[np.uint8], ground: NDArray[np.uint8]
) -> float | None:
    points = cv2.goodFeaturesToTrack(before, CORNERS, 0.02, 5, mask=ground)
    if points is None or len(points) < FEWEST:
        return None
    there, seen, _ = cv2.calcOpticalFlowPyrLK(before, after, points, np.empty_like(points))
    known = seen[:, 0] == 1
    if known.sum() < FEWEST:
        return None
    matrix, _ = cv2.estimateAffinePartial2D(points[known], there[known], ransacReprojThreshold=1)
    if matrix is None:
        return None
    corners = np.array([[x, y] for x in (0, GROUND_SIDE) for y in (0, GROUND_SIDE)], float)
    carried = np.linalg.norm(corners @ matrix[:, :2].T + matrix[:, 2] - corners, axis=1).mean()
    return float(carried / GROUND_SIDE / EVERY * FPS)
