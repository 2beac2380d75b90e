"""Face boxes of a clip: one per frame, and their union over the clip.

Two sources give the same `FaceBoxes`: MediaPipe's face detection, and the 68 face points of any
keypoint detector. Both scale the box about its centre and interpolate over gaps of a few frames.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from paha_core.config import PoseConfig
from paha_core.engine.prefetch import in_background
from paha_core.pose import layout
from paha_core.pose.frames import check_frames, size_and_frames
from paha_core.pose.geometry import overlap
from paha_core.pose.keypoints import RELIABLE, Keypoints
from paha_core.store import sha256_of_files

MEDIAPIPE, KEYPOINTS = "mediapipe_face_detection", "keypoints"

_MIN_CONFIDENCE = 0.5
_SAME_FACE = 0.3  # intersection over union of one face in two consecutive frames
_BESIDE = 2.0  # half sides of a face box from its centre to the middle of the head, at most
_SURER = 0.05  # difference in confidence: upright faces lead by 0.04 and more in every case tried
_SHORT_RANGE, _FULL_RANGE = 0, 1  # MediaPipe's `model_selection`
_NETWORKS = (
    "face_detection/face_detection_short_range.tflite",
    "face_detection/face_detection_full_range_sparse.tflite",
)
_SCHEMA = pa.schema([("box", pa.list_(pa.float32(), 4)), ("found", pa.bool_())])


@dataclass(frozen=True, eq=False)
class FaceBoxes:
    """The face boxes of one clip.

    boxes: float32 [T, 4] xyxy in pixels, scaled and inside the frame (but see
        `FaceSearch.detected`); zeros where `found` is false.
    found: bool [T], detected or interpolated.
    size: height and width of the frames.
    source: `mediapipe_face_detection`, or `keypoints:` and the detector's name.
    """

    boxes: np.ndarray
    found: np.ndarray
    size: tuple[int, int]
    source: str

    def __post_init__(self) -> None:
        if self.boxes.shape != (len(self.found), 4):
            raise ValueError(f"boxes must be [{len(self.found)}, 4], not {self.boxes.shape}")
        if self.boxes.dtype != np.float32 or self.found.dtype != np.bool_:
            raise ValueError("boxes must be float32 and found bool")

    def __len__(self) -> int:
        return len(self.boxes)

    @property
    def union(self) -> np.ndarray:
        """The smallest box that holds the face in every frame: float32 [4], zeros without one."""
        if not self.found.any():
            return np.zeros(4, np.float32)
        boxes = self.boxes[self.found]
        return np.concatenate([boxes[:, :2].min(axis=0), boxes[:, 2:].max(axis=0)])

    def to_table(self) -> pa.Table:
        """One row per frame; size and source are in the schema's metadata."""
        metadata = {
            "height": str(self.size[0]),
            "width": str(self.size[1]),
            "face_source": self.source,
        }
        boxes = pa.FixedSizeListArray.from_arrays(pa.array(self.boxes.reshape(-1)), 4)
        schema = _SCHEMA.with_metadata(metadata)
        return pa.Table.from_arrays([boxes, pa.array(self.found)], schema=schema)

    def save(self, path: str | Path) -> None:
        """`to_table` as a Parquet file."""
        pq.write_table(self.to_table(), path, compression="zstd")

    @classmethod
    def load(cls, path: str | Path) -> FaceBoxes:
        """Read a file written by `save`, ignoring other columns. Raises `ValueError` for a Parquet
        file without face boxes.
        """
        meta = {k.decode(): v.decode() for k, v in (pq.read_schema(path).metadata or {}).items()}
        if "face_source" not in meta:
            raise ValueError(f"{path} is not a face box file")
        table = pq.read_table(path, columns=_SCHEMA.names, partitioning=None)
        rows = table.column("box").to_pylist()
        return cls(
            boxes=np.array(rows, np.float32).reshape(-1, 4),
            found=np.array(table.column("found").to_pylist(), np.bool_),
            size=(int(meta["height"]), int(meta["width"])),
            source=meta["face_source"],
        )


def detect_face_boxes(
    frames: Iterable[np.ndarray], config: PoseConfig, keypoints: Keypoints | None = None
) -> FaceBoxes:
    """The face of one person in each frame, by MediaPipe's face detection.

    With the `keypoints` of the same frames it is the face of the person that they follow; without
    them it is the largest face, followed from frame to frame.
    frames: uint8 RGB [H, W, 3] of one size: an array, or anything that can be iterated twice.
    Raises `ValueError` for other shapes or dtypes, and for no frame.
    """
    search = FaceSearch(frames)
    for _ in search:
        pass
    return search.boxes(config, keypoints)


class FaceSearch:
    """Frames that are searched for faces while another detector iterates them.

    The full-range network runs first, since faces in half-body shots are small. It misses some
    faces that fill the frame, so a clip with misses is also run through the short-range network,
    and the boxes of whichever network detects more frames are used for the whole clip.
    """

    def __init__(self, frames: Iterable[np.ndarray]) -> None:
        self.frames = frames
        self.size = (0, 0)
        self.found: list[np.ndarray] = []  # [n, 4] of each frame, xyxy in pixels

    def __iter__(self) -> Iterator[np.ndarray]:
        self.found = []
        self.size, checked = size_and_frames(self.frames)
        for frame in checked:
            self.found.append(_faces_in_pixels(frame, _FULL_RANGE))
            yield frame

    def boxes(self, config: PoseConfig, keypoints: Keypoints | None = None) -> FaceBoxes:
        """The boxes of one person (see `detect_face_boxes`), once the frames were iterated."""
        return finished(self.detected(keypoints), config)

    def detected(self, keypoints: Keypoints | None = None) -> FaceBoxes:
        """The same as the network gives them: neither scaled nor bridged, and perhaps beyond the
        frame."""
        heads = None if keypoints is None else head_positions(keypoints)
        boxes = follow_face(self.found, heads)
        if np.isnan(boxes).any():
            _, checked = size_and_frames(self.frames)
            near = [_faces_in_pixels(frame, _SHORT_RANGE) for frame in in_background(checked)]
            nearby = follow_face(near, heads)
            boxes = min(boxes, nearby, key=lambda candidate: np.isnan(candidate).sum())
        found = ~np.isnan(boxes).any(axis=1)
        return FaceBoxes(np.nan_to_num(boxes), found, self.size, MEDIAPIPE)


def finished(detected: FaceBoxes, config: PoseConfig) -> FaceBoxes:
    """Boxes of `FaceSearch.detected` scaled, with short gaps bridged, inside the frame."""
    boxes = np.where(detected.found[:, None], detected.boxes, np.float32(np.nan))
    return _finish(boxes, detected.size, config, detected.source)


def head_positions(keypoints: Keypoints, threshold: float = RELIABLE) -> np.ndarray:
    """The middle of the reliable points of nose, eyes and ears: [T, 2] in pixels, NaN where none of
    them is reliable."""
    head = slice(0, 5)  # of the body's points
    reliable = (keypoints.scores[:, head] > threshold)[..., None]
    count = reliable.sum(axis=1)
    total = np.where(reliable, keypoints.points[:, head], 0).sum(axis=1)
    return np.where(count > 0, total / np.maximum(count, 1), np.nan)


def follow_face(found: list[np.ndarray], heads: np.ndarray | None = None) -> np.ndarray:
    """One person's face among those `found` in each frame: float32 [T, 4], NaN where it is not.

    heads: [T, 2], where that person's head is, NaN where unknown: there, and without heads, it is
    the face that overlaps the last one chosen, else the largest.
    """
    boxes = np.full((len(found), 4), np.nan, np.float32)
    last = np.full(4, np.nan)
    for number, faces in enumerate(found):
        if not len(faces):
            continue
        head = np.full(2, np.nan) if heads is None else heads[number]
        if np.isfinite(head).all():
            chosen = _at_head(faces, head)
        else:
            shared = overlap(faces, last)
            areas = (faces[:, 2:] - faces[:, :2]).prod(axis=1)
            chosen = faces[(shared if shared.max() >= _SAME_FACE else areas).argmax()]
        if chosen is not None:
            boxes[number] = last = chosen
    return boxes


def _at_head(faces: np.ndarray, head: np.ndarray) -> np.ndarray | None:
    """The face nearest to `head`, if that lies in it or no farther than half its side beside it."""
    centres, halves = (faces[:, :2] + faces[:, 2:]) / 2, (faces[:, 2:] - faces[:, :2]) / 2
    away = (np.abs(centres - head) / np.maximum(halves, 1e-6)).max(axis=1)
    nearest = int(away.argmin())
    return faces[nearest] if away[nearest] <= _BESIDE else None


def detect_faces(picture: np.ndarray, config: PoseConfig) -> np.ndarray:
    """Every face of one picture, uint8 RGB [H, W, 3]: float32 [n, 4] xyxy in pixels, largest first,
    scaled and inside the picture as in `detect_face_boxes`."""
    check_frames(picture[None])
    faces = _faces(picture, _FULL_RANGE) or _faces(picture, _SHORT_RANGE)
    faces.sort(key=lambda box: (box[0] - box[2]) * (box[3] - box[1]))
    height, width = picture.shape[:2]
    pixels = np.array(faces, np.float32).reshape(-1, 4) * (width, height, width, height)
    finished = _finish(pixels.astype(np.float32), (height, width), config, MEDIAPIPE)
    return finished.boxes[finished.found]


def face_turn(picture: np.ndarray) -> int:
    """How many quarter turns the face in a picture, uint8 RGB [H, W, 3], has made clockwise: 0 for
    an upright one and for none, 1 to 3 where the detection is surer of the picture turned back.

    The networks find turned faces too, at a lower confidence; their landmarks do not distinguish up
    from down.
    """
    confidences = [_confidence(np.rot90(picture, turn)) for turn in range(4)]
    best = int(np.argmax(confidences))
    return best if confidences[best] >= confidences[0] + _SURER else 0


def _confidence(picture: np.ndarray) -> float:
    detections = [d for m in (_FULL_RANGE, _SHORT_RANGE) for d in _detections(picture, m)]
    return max((float(detection.score[0]) for detection in detections), default=0.0)


def face_boxes_from_keypoints(
    keypoints: Keypoints, config: PoseConfig, threshold: float = RELIABLE
) -> FaceBoxes:
    """The bounding box of the reliable face points, in frames where half of them are reliable."""
    points = keypoints.points[:, layout.FACE]
    reliable = (keypoints.scores[:, layout.FACE] > threshold)[..., None]
    low = np.where(reliable, points, np.inf).min(axis=1)
    high = np.where(reliable, points, -np.inf).max(axis=1)
    boxes = np.concatenate([low, high], axis=1).astype(np.float32)
    boxes[~keypoints.part_found(layout.FACE, threshold)] = np.nan
    return _finish(boxes, keypoints.size, config, f"{KEYPOINTS}:{keypoints.detector}")


def face_detector_sha256() -> str:
    """Hash of the network files that `detect_face_boxes` uses."""
    from paha_core.pose.mediapipe import modules_folder

    return sha256_of_files([modules_folder() / name for name in _NETWORKS])


def interpolate_gaps(boxes: np.ndarray, max_gap: int) -> np.ndarray:
    """Interpolate over runs of at most `max_gap` frames without a box (NaN) in boxes [T, 4].

    Corners are interpolated linearly between two boxes; at the ends of the clip the nearest box is
    repeated. Longer gaps stay NaN.
    """
    missing = np.isnan(boxes).any(axis=1)
    filled = boxes.copy()
    known = np.flatnonzero(~missing)
    if not len(known):
        return filled
    edges = np.flatnonzero(np.diff(np.concatenate([[False], missing, [False]]).astype(np.int8)))
    for start, stop in edges.reshape(-1, 2):
        if stop - start <= max_gap:
            times = np.arange(start, stop)
            for side in range(4):
                filled[start:stop, side] = np.interp(times, known, boxes[known, side])
    return filled


def _finish(boxes: np.ndarray, size: tuple[int, int], config: PoseConfig, source: str) -> FaceBoxes:
    """Interpolate gaps, scale about the centre, clamp. boxes: [T, 4], NaN where there is none."""
    boxes = interpolate_gaps(boxes, config.max_face_gap)
    centre = (boxes[:, :2] + boxes[:, 2:]) / 2
    half = (boxes[:, 2:] - boxes[:, :2]) / 2 * config.face_box_scale
    height, width = size
    corners = np.concatenate([centre - half, centre + half], axis=1)
    corners = corners.clip(0, np.array((width, height, width, height)))
    # A box wholly outside the frame is empty after clamping.
    found = (corners[:, 2:] > corners[:, :2]).all(axis=1)
    corners[~found] = 0
    return FaceBoxes(corners.astype(np.float32), found, size, source)


def _faces_in_pixels(frame: np.ndarray, model: int) -> np.ndarray:
    height, width = frame.shape[:2]
    shares = np.array(_faces(frame, model), np.float32).reshape(-1, 4)
    return shares * np.array((width, height, width, height), np.float32)


def _faces(frame: np.ndarray, model: int) -> list[tuple[float, float, float, float]]:
    """Every detected face: xyxy as fractions of width and height."""
    shares = [face.location_data.relative_bounding_box for face in _detections(frame, model)]
    return [(s.xmin, s.ymin, s.xmin + s.width, s.ymin + s.height) for s in shares]


def _detections(frame: np.ndarray, model: int) -> Any:
    return _open_face_detection(model).process(np.ascontiguousarray(frame)).detections or ()


@lru_cache(maxsize=2)
def _open_face_detection(model: int) -> Any:
    """One network per process; it holds no state between frames."""
    from mediapipe.python.solutions import face_detection

    return face_detection.FaceDetection(
        min_detection_confidence=_MIN_CONFIDENCE, model_selection=model
    )
