"""DWPose: YOLOX finds the person, DWPose-l its 133 points (ONNX, by rtmlib and onnxruntime).

What differs from rtmlib's own `Wholebody`, and why (DESIGN 5):
- a point's score is the smaller of its two SimCC peaks, DWPose's own rule, which the paper's
  threshold belongs to; rtmlib takes their mean;
- where nobody is detected the scores are 0; rtmlib takes the whole image for a person;
- only boxes of the class person count; rtmlib takes any class of a COCO detector;
- the crops of many frames go through the network at once.

The person is searched for in every 25th frame; between two finds that overlap, the box moves in a
straight line. Where they don't (a cut, somebody who leaves), every frame is searched.
"""

from __future__ import annotations

from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime as ort
from rtmlib import YOLOX
from rtmlib.tools.pose_estimation.pre_processings import bbox_xyxy2cs, top_down_affine

from paha_core.config import PoseConfig
from paha_core.pose import layout
from paha_core.pose.detect import check_frames, sha256_of_files
from paha_core.pose.keypoints import Keypoints

DETECT_EVERY = 25  # frames between two searches for the person: one second
SAME_PERSON = 0.3  # overlap (intersection over union) of one person's boxes in two searches
PADDING = 1.25  # the crop's margin round the person, as in training
SPLIT = 2.0  # SimCC bins per pixel of the crop
PERSON = 0  # the class's number in COCO

_MEAN = np.array((123.675, 116.28, 103.53), np.float32)  # RGB
_STD = np.array((58.395, 57.12, 57.375), np.float32)


class DWPose:
    """The detector behind `pose.detector: dwpose`.

    Raises `FileNotFoundError` for missing weights, `RuntimeError` when `config.device` can't be
    used, and `ValueError` for a network of another form.
    """

    name = "dwpose"

    def __init__(self, config: PoseConfig) -> None:
        person, pose = weight_files(config)
        self.version = f"rtmlib {version('rtmlib')}, onnxruntime {ort.__version__}"
        self.weights_sha256 = sha256_of_files([person, pose])
        self._person = _PersonSearch(open_session(person, config.device))
        self._session = open_session(pose, config.device)
        self._input = self._session.get_inputs()[0]
        fixed, _, height, width = self._input.shape
        if not (isinstance(height, int) and isinstance(width, int)):
            raise ValueError(f"{pose}: the input must have a fixed height and width")
        if len(self._session.get_outputs()) != 2:
            raise ValueError(f"{pose} must have two outputs, simcc_x and simcc_y")
        self._crop_size = (width, height)
        self._fixed_batch = fixed if isinstance(fixed, int) else None
        self._batch = self._fixed_batch or config.batch

    def detect(self, frames: np.ndarray) -> Keypoints:
        check_frames(frames)
        boxes = track_person(frames, self._person)
        points = np.zeros((len(frames), layout.POINTS, 2), np.float32)
        scores = np.zeros((len(frames), layout.POINTS), np.float32)
        present = np.flatnonzero(np.isfinite(boxes).all(axis=1))
        for start in range(0, len(present), self._batch):
            chosen = present[start : start + self._batch]
            points[chosen], scores[chosen] = self._points(frames[chosen], boxes[chosen])
        size = (frames.shape[1], frames.shape[2])
        return Keypoints(points, scores, size, self.name, self.version, self.weights_sha256)

    def _points(self, frames: np.ndarray, boxes: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Points [B, 133, 2] and scores [B, 133] of the persons in boxes [B, 4]."""
        crops = np.empty((len(frames), self._crop_size[1], self._crop_size[0], 3), np.float32)
        centres, scales = bbox_xyxy2cs(boxes, padding=PADDING)
        for i, frame in enumerate(frames):
            crops[i], scales[i] = top_down_affine(self._crop_size, scales[i], centres[i], frame)
        crops -= _MEAN
        crops /= _STD
        batch = np.ascontiguousarray(crops.transpose(0, 3, 1, 2))
        if self._fixed_batch and len(batch) < self._fixed_batch:
            batch = np.concatenate([batch, batch[-1:].repeat(self._fixed_batch - len(batch), 0)])
        simcc_x, simcc_y = self._session.run(None, {self._input.name: batch})
        width, height = self._crop_size
        if simcc_x.shape[1:] != (layout.POINTS, SPLIT * width) or simcc_y.shape[1:] != (
            layout.POINTS,
            SPLIT * height,
        ):
            raise ValueError(f"no DWPose outputs: {simcc_x.shape} and {simcc_y.shape}")
        bins, scores = decode_simcc(simcc_x[: len(frames)], simcc_y[: len(frames)])
        shares = bins / SPLIT / np.array(self._crop_size)
        points = centres[:, None] + (shares - 0.5) * scales[:, None]
        # OpenCV's crop counts from the centres of pixels, Keypoints from their edges.
        points = np.where(scores[..., None] > 0, points + 0.5, 0)
        return points.astype(np.float32), scores


def decode_simcc(simcc_x: np.ndarray, simcc_y: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The peaks' bins, [B, 133, 2], and the smaller of two peaks, float32 [B, 133] in [0, 1].

    simcc_x: [B, 133, SPLIT * width]; simcc_y: [B, 133, SPLIT * height].
    """
    bins = np.stack([simcc_x.argmax(axis=-1), simcc_y.argmax(axis=-1)], axis=-1)
    peaks = np.minimum(simcc_x.max(axis=-1), simcc_y.max(axis=-1))
    return bins, peaks.clip(0, 1).astype(np.float32)


def track_person(frames: np.ndarray, search: _PersonSearch) -> np.ndarray:
    """The box of one person in each frame: float64 [T, 4] xyxy, NaN where nobody is."""
    last = len(frames) - 1
    boxes = np.full((len(frames), 4), np.nan)
    if last < 0:
        return boxes
    boxes[0] = search(frames[0], boxes[0])
    for start in range(0, last, DETECT_EVERY):
        stop = min(start + DETECT_EVERY, last)
        boxes[stop] = search(frames[stop], boxes[start])
        if overlap(boxes[start : start + 1], boxes[stop])[0] >= SAME_PERSON:
            way = np.linspace(0, 1, stop - start + 1)[:, None]
            boxes[start : stop + 1] = (1 - way) * boxes[start] + way * boxes[stop]
        else:
            for t in range(start + 1, stop):
                boxes[t] = search(frames[t], boxes[t - 1])
    return boxes


class _PersonSearch:
    """YOLOX's persons in one frame; rtmlib's way in and out, but with a session of our own."""

    def __init__(self, session: ort.InferenceSession) -> None:
        height, width = session.get_inputs()[0].shape[2:]
        self._yolox: Any = object.__new__(
            YOLOX
        )  # its __init__ opens a session with one provider only
        self._yolox.session = session
        self._yolox.backend = "onnxruntime"
        fixed = isinstance(height, int) and isinstance(width, int)
        self._yolox.model_input_size = (height, width) if fixed else (640, 640)
        self._yolox.nms_thr, self._yolox.score_thr = 0.45, 0.7

    def __call__(self, frame: np.ndarray, previous: np.ndarray) -> np.ndarray:
        """The box [4] of the person who was at `previous`, else of the largest; NaN for nobody."""
        boxes = self._persons(frame)
        if not len(boxes):
            return np.full(4, np.nan)
        shared = overlap(boxes, previous)
        if shared.max() >= SAME_PERSON:
            return boxes[shared.argmax()]
        return boxes[((boxes[:, 2] - boxes[:, 0]) * (boxes[:, 3] - boxes[:, 1])).argmax()]

    def _persons(self, frame: np.ndarray) -> np.ndarray:
        image, ratio = self._yolox.preprocess(frame[..., ::-1])  # YOLOX was trained on BGR
        found = self._yolox.inference(image)[0]
        if found.shape[-1] == 5:  # the network ends in its own suppression and knows persons only
            self._yolox.det_mode = "human"
            return np.asarray(self._yolox.postprocess(found, ratio), np.float64).reshape(-1, 4)
        self._yolox.det_mode = "multiclass"
        boxes, classes = self._yolox.postprocess(found, ratio)
        return np.asarray(boxes, np.float64).reshape(-1, 4)[np.asarray(classes) == PERSON]


def overlap(boxes: np.ndarray, box: np.ndarray) -> np.ndarray:
    """Intersection over union of boxes [N, 4] with one box [4]; 0 where a box is NaN."""
    low = np.maximum(boxes[:, :2], box[:2])
    high = np.minimum(boxes[:, 2:], box[2:])
    shared = (high - low).clip(0).prod(axis=1)
    areas = (boxes[:, 2:] - boxes[:, :2]).prod(axis=1) + (box[2:] - box[:2]).prod()
    return np.nan_to_num(shared / np.maximum(areas - shared, 1e-9))


def weight_files(config: PoseConfig) -> tuple[Path, Path]:
    """The person's and the pose network's file. Raises `FileNotFoundError` naming a missing one."""
    paths = Path(config.dwpose_person or ""), Path(config.dwpose_pose or "")
    for path in paths:
        if not path.is_file():
            raise FileNotFoundError(f"no DWPose weights at {path}")
    return paths


def open_session(path: Path, device: str) -> ort.InferenceSession:
    """An onnxruntime session on `device` (cpu, cuda or tensorrt).

    Raises `RuntimeError` when onnxruntime can't use that device: it would quietly take the CPU.
    """
    cache = {"trt_engine_cache_enable": True, "trt_engine_cache_path": str(path.parent)}
    wanted: dict[str, list[Any]] = {
        "cpu": ["CPUExecutionProvider"],
        "cuda": ["CUDAExecutionProvider", "CPUExecutionProvider"],
        "tensorrt": [
            ("TensorrtExecutionProvider", cache | {"trt_fp16_enable": True}),
            "CUDAExecutionProvider",
            "CPUExecutionProvider",
        ],
    }
    providers = wanted[device]
    first = providers[0] if isinstance(providers[0], str) else providers[0][0]
    if first not in ort.get_available_providers():
        raise RuntimeError(
            f"pose.device {device}: this onnxruntime has no {first} (it has"
            f" {', '.join(ort.get_available_providers())}); install onnxruntime-gpu"
        )
    session = ort.InferenceSession(str(path), providers=providers)
    if session.get_providers()[0] != first:
        raise RuntimeError(f"pose.device {device}: {first} could not be started")
    return session
