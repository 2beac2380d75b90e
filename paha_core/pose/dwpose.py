"""DWPose: YOLOX finds the person, DWPose-l its 133 points (ONNX, by rtmlib and onnxruntime).

What differs from rtmlib's own `Wholebody`, and why (DESIGN 5):
- a point's score is the smaller of its two SimCC peaks, DWPose's own rule, which the paper's
  threshold belongs to; rtmlib takes their mean;
- where nobody is detected the scores are 0; rtmlib takes the whole image for a person;
- only boxes of the class person count; rtmlib takes any class of a COCO detector;
- the crops of many frames go through the network at once, and the next ones are decoded, searched
  and cut in a thread meanwhile.

The person is searched for in every 25th frame; between two finds that overlap, the box moves in a
straight line. Where they don't (a cut, somebody who leaves), every frame is searched.

The weights are the paths `pose.dwpose_pose` and `pose.dwpose_person`. A URL of an .onnx file (or
of a .zip with one in it) in their place is a request to download it, once, by rtmlib.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from importlib.metadata import version
from itertools import islice
from pathlib import Path
from typing import Any
from zipfile import BadZipFile

import cv2
import numpy as np
import onnxruntime as ort
from rtmlib import YOLOX
from rtmlib.tools.file import download_checkpoint
from rtmlib.tools.pose_estimation.pre_processings import bbox_xyxy2cs, top_down_affine

from paha_core.config import PoseConfig
from paha_core.engine.prefetch import in_background
from paha_core.errors import UserError
from paha_core.pose import layout
from paha_core.pose.frames import stream
from paha_core.pose.keypoints import Keypoints
from paha_core.store import sha256_of_files

DETECT_EVERY = 25  # frames between two searches for the person: one second
SAME_PERSON = 0.3  # overlap (intersection over union) of one person's boxes in two searches
PADDING = 1.25  # the crop's margin round the person, as in training
SPLIT = 2.0  # SimCC bins per pixel of the crop
PERSON = 0  # the class's number in COCO

_MEAN = np.array((123.675, 116.28, 103.53), np.float32)  # RGB
_STD = np.array((58.395, 57.12, 57.375), np.float32)


class DeviceError(UserError):
    """A device that onnxruntime can't use here; the message says what to do."""


@dataclass(frozen=True)
class Crops:
    """A batch for the pose network: persons cut out of their frames.

    present: bool [F], which of F frames running show somebody: B of them. pixels: float32
    [B, 3, h, w], normalised. centres, scales: [B, 2], the crops' middles and sides in pixels of the
    frame.
    """

    present: np.ndarray
    pixels: np.ndarray
    centres: np.ndarray
    scales: np.ndarray


class DWPose:
    """The detector behind `pose.detector: dwpose`.

    Raises `FileNotFoundError` for missing weights, `DeviceError` when `config.device` can't be
    used, and `ValueError` for a network of another form.
    """

    name = "dwpose"

    def __init__(self, config: PoseConfig, threads: int = 0) -> None:
        person, pose = weight_files(config)
        self.version = f"rtmlib {version('rtmlib')}, onnxruntime {ort.__version__}"
        self.weights_sha256 = sha256_of_files([person, pose])
        self._person = PersonSearch(open_session(person, config.device, threads))
        self._session = open_session(pose, config.device, threads)
        self._input = self._session.get_inputs()[0]
        fixed, _, height, width = self._input.shape
        if not (isinstance(height, int) and isinstance(width, int)):
            raise UserError(f"{pose}: the input must have a fixed height and width")
        if len(self._session.get_outputs()) != 2:
            raise UserError(f"{pose} must have two outputs, simcc_x and simcc_y")
        self._crop_size = (width, height)
        self._fixed_batch = fixed if isinstance(fixed, int) else None
        self._batch = self._fixed_batch or config.batch

    def detect(self, frames: Iterable[np.ndarray]) -> Keypoints:
        size, coming = stream(frames)
        found = [self._points(crops) for crops in in_background(self.crops(coming))]
        points, scores = (np.concatenate(arrays) for arrays in zip(*found, strict=True))
        return Keypoints(points, scores, size, self.name, self.version, self.weights_sha256)

    def crops(self, frames: Iterator[np.ndarray]) -> Iterator[Crops]:
        """Batches of the person in each frame, all frames in order."""
        tracked = track_person(frames, self._person)
        while batch := list(islice(tracked, self._batch)):
            boxes = np.stack([box for _, box in batch])
            present = np.isfinite(boxes).all(axis=1)
            shown = [frame for (frame, _), there in zip(batch, present, strict=True) if there]
            yield Crops(present, *self._cut(shown, boxes[present]))

    def _cut(
        self, frames: list[np.ndarray], boxes: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        width, height = self._crop_size
        pixels = np.empty((len(frames), 3, height, width), np.float32)
        centres, scales = bbox_xyxy2cs(boxes, padding=PADDING)
        for i, frame in enumerate(frames):
            crop, scales[i] = top_down_affine(self._crop_size, scales[i], centres[i], frame)
            # plane by plane: numpy is slow where the last axis has three elements
            for plane, mean, std, target in zip(cv2.split(crop), _MEAN, _STD, pixels[i]):
                np.subtract(plane, mean, out=target)
                target /= std
        return pixels, centres, scales

    def run(self, pixels: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """The pose network alone: simcc_x and simcc_y of crops [B, 3, h, w]."""
        count = len(pixels)
        if self._fixed_batch and count < self._fixed_batch:
            pixels = np.concatenate([pixels, pixels[-1:].repeat(self._fixed_batch - count, 0)])
        simcc_x, simcc_y = self._session.run(None, {self._input.name: pixels})
        return simcc_x[:count], simcc_y[:count]

    def _points(self, crops: Crops) -> tuple[np.ndarray, np.ndarray]:
        """Points [F, 133, 2] and scores [F, 133] of a batch of F frames."""
        points = np.zeros((len(crops.present), layout.POINTS, 2), np.float32)
        scores = np.zeros((len(crops.present), layout.POINTS), np.float32)
        if not crops.present.any():
            return points, scores
        simcc_x, simcc_y = self.run(crops.pixels)
        width, height = self._crop_size
        if simcc_x.shape[1:] != (layout.POINTS, SPLIT * width) or simcc_y.shape[1:] != (
            layout.POINTS,
            SPLIT * height,
        ):
            raise ValueError(f"no DWPose outputs: {simcc_x.shape} and {simcc_y.shape}")
        bins, peaks = decode_simcc(simcc_x, simcc_y)
        shares = bins / SPLIT / np.array(self._crop_size)
        places = crops.centres[:, None] + (shares - 0.5) * crops.scales[:, None]
        # OpenCV's crop counts from the centres of pixels, Keypoints from their edges.
        points[crops.present] = np.where(peaks[..., None] > 0, places + 0.5, 0)
        scores[crops.present] = peaks
        return points, scores


def decode_simcc(simcc_x: np.ndarray, simcc_y: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The peaks' bins, [B, 133, 2], and the smaller of two peaks, float32 [B, 133] in [0, 1].

    simcc_x: [B, 133, SPLIT * width]; simcc_y: [B, 133, SPLIT * height].
    """
    bins = np.stack([simcc_x.argmax(axis=-1), simcc_y.argmax(axis=-1)], axis=-1)
    peaks = np.minimum(simcc_x.max(axis=-1), simcc_y.max(axis=-1))
    return bins, peaks.clip(0, 1).astype(np.float32)


def track_person(
    frames: Iterable[np.ndarray], search: Callable[[np.ndarray, np.ndarray], np.ndarray]
) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Each frame with the box of one person in it: float64 [4] xyxy, NaN where nobody is.

    search(frame, previous box) finds the box. Holds the frames of one second.
    """
    iterator = iter(frames)
    for first in islice(iterator, 1):
        before = search(first, np.full(4, np.nan))
        yield first, before
    while span := list(islice(iterator, DETECT_EVERY)):
        last = search(span[-1], before)
        if overlap(before[None], last)[0] >= SAME_PERSON:
            way = np.linspace(0, 1, len(span) + 1)[1:, None]
            yield from zip(span, (1 - way) * before + way * last, strict=True)
        else:
            for frame in span[:-1]:
                before = search(frame, before)
                yield frame, before
            yield span[-1], last
        before = last


class PersonSearch:
    """YOLOX's persons in one frame; rtmlib's way in and out, but with a session of our own."""

    def __init__(self, session: ort.InferenceSession) -> None:
        height, width = session.get_inputs()[0].shape[2:]
        # YOLOX's own __init__ opens a session with one provider only.
        self._yolox: Any = object.__new__(YOLOX)
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
    """The person's and the pose network's file; one given as a URL is downloaded first, once.

    Raises `FileNotFoundError` naming a missing one, or a URL that gave none.
    """
    person, pose = (_weights(given or "") for given in (config.dwpose_person, config.dwpose_pose))
    return person, pose


def _weights(given: str) -> Path:
    path = Path(given)
    if given.startswith(("https://", "http://", "file://")):
        try:
            # rtmlib caches by the file's name alone, and many files are called model.onnx.
            name = f"{hashlib.sha256(given.encode()).hexdigest()[:12]}-{given.rsplit('/', 1)[-1]}"
            path = Path(download_checkpoint(given, filename=name))
        except (OSError, ValueError, BadZipFile) as error:
            raise FileNotFoundError(f"no DWPose weights from {given}: {error}") from error
        except UnboundLocalError:  # so rtmlib ends where a zip holds no end2end.onnx
            raise FileNotFoundError(f"no end2end.onnx in {given}") from None
    if not path.is_file():
        raise FileNotFoundError(f"no DWPose weights at {path}")
    return path


def open_session(path: Path, device: str, threads: int = 0) -> ort.InferenceSession:
    """An onnxruntime session on `device` (cpu, cuda or tensorrt); `threads` 0: one a core.

    Raises `DeviceError` when onnxruntime can't use that device: it would quietly take the CPU.
    """
    providers = providers_of(path, device)
    first = providers[0] if isinstance(providers[0], str) else providers[0][0]
    if first not in ort.get_available_providers():
        raise DeviceError(
            f"pose.device {device}: this onnxruntime has no {first} (it has"
            f" {', '.join(ort.get_available_providers())}); install onnxruntime-gpu"
        )
    options = ort.SessionOptions()
    options.intra_op_num_threads = threads
    session = ort.InferenceSession(str(path), options, providers=providers)
    if session.get_providers()[0] != first:
        raise DeviceError(f"pose.device {device}: {first} could not be started")
    return session


def providers_of(path: Path, device: str) -> list[Any]:
    """onnxruntime's execution providers for a device, the wanted one first.

    TensorRT builds its engine once, in half precision, and keeps it beside the weights.
    """
    if device == "cpu":
        return ["CPUExecutionProvider"]
    if device == "cuda":
        return ["CUDAExecutionProvider", "CPUExecutionProvider"]
    engine = {
        "trt_engine_cache_enable": True,
        "trt_engine_cache_path": str(path.parent),
        "trt_fp16_enable": True,
    }
    return [
        ("TensorrtExecutionProvider", engine),
        "CUDAExecutionProvider",
        "CPUExecutionProvider",
    ]
