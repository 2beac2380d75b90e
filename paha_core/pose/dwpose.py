"""DWPose: YOLOX detects the person, DWPose-l its 133 points (ONNX, by rtmlib and onnxruntime).

Differences from rtmlib's own `Wholebody` (docs/design.md):
- a point's score is the smaller of its two SimCC peaks, as in DWPose itself: the paper's threshold
  refers to that score; rtmlib takes the mean;
- without a detection the scores are 0; rtmlib falls back to the whole image;
- only boxes of the class person are used; rtmlib takes any class of a COCO detector;
- the crops of many frames are one batch; a thread decodes, detects and crops the next batch
  meanwhile.

The person detector runs on every 25th frame. Between two detections that overlap, the box is
interpolated linearly; where they do not overlap (a cut, a person who leaves), it runs on every
frame.

The weights are the paths `pose.dwpose_pose` and `pose.dwpose_person`. A URL of an .onnx file (or
of a .zip that contains one) is downloaded once, by rtmlib.
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
from paha_core.pose.frames import size_and_frames
from paha_core.pose.geometry import overlap
from paha_core.pose.keypoints import Keypoints
from paha_core.store import sha256_of_files
from paha_core.weight_formats import check_weights

DETECT_EVERY = 25  # frames between two runs of the person detector: one second
SAME_PERSON = 0.3  # intersection over union from which two boxes show the same person
PADDING = 1.25  # scale of the crop relative to the person's box, as in training
SPLIT = 2.0  # SimCC bins per pixel of the crop
PERSON = 0  # COCO class index

_MEAN = np.array((123.675, 116.28, 103.53), np.float32)  # RGB
_STD = np.array((58.395, 57.12, 57.375), np.float32)


class DeviceError(UserError):
    """A device that onnxruntime can't use on this machine."""


@dataclass(frozen=True)
class Crops:
    """A batch for the pose network: crops of the person from consecutive frames.

    present: bool [F], the frames with a person: B of F. pixels: float32 [B, 3, h, w], normalised.
    centres, scales: [B, 2], centres and sizes of the crops in pixels of the frame.
    """

    present: np.ndarray
    pixels: np.ndarray
    centres: np.ndarray
    scales: np.ndarray


class DWPose:
    """The detector of `pose.detector: dwpose`.

    Raises `FileNotFoundError` for missing weights, `DeviceError` when `config.device` can't be
    used, and `UserError` for a network with other inputs or outputs.
    """

    name = "dwpose"

    def __init__(self, config: PoseConfig, threads: int = 0, device_id: int = 0) -> None:
        person, pose = weight_files(config)
        self.version = f"rtmlib {version('rtmlib')}, onnxruntime {ort.__version__}"
        self.weights_sha256 = sha256_of_files([person, pose])
        self._person = PersonSearch(open_session(person, config.device, threads, device_id))
        self._session = open_session(pose, config.device, threads, device_id)
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
        size, checked = size_and_frames(frames)
        results = [self._points(crops) for crops in in_background(self.crops(checked))]
        points, scores = (np.concatenate(arrays) for arrays in zip(*results, strict=True))
        return Keypoints(points, scores, size, self.name, self.version, self.weights_sha256)

    def crops(self, frames: Iterator[np.ndarray]) -> Iterator[Crops]:
        """Batches of crops, covering all frames in order."""
        tracked = track_person(frames, self._person)
        while batch := list(islice(tracked, self._batch)):
            boxes = np.stack([box for _, box in batch])
            present = np.isfinite(boxes).all(axis=1)
            with_person = [frame for (frame, _), is_there in zip(batch, present) if is_there]
            yield Crops(present, *self._crop(with_person, boxes[present]))

    def _crop(
        self, frames: list[np.ndarray], boxes: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        width, height = self._crop_size
        pixels = np.empty((len(frames), 3, height, width), np.float32)
        centres, scales = bbox_xyxy2cs(boxes, padding=PADDING)
        for i, frame in enumerate(frames):
            crop, scales[i] = top_down_affine(self._crop_size, scales[i], centres[i], frame)
            # one plane at a time: numpy is slow when the last axis has three elements
            for plane, mean, std, target in zip(cv2.split(crop), _MEAN, _STD, pixels[i]):
                np.subtract(plane, mean, out=target)
                target /= std
        return pixels, centres, scales

    def run(self, pixels: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Outputs simcc_x and simcc_y of the pose network for crops [B, 3, h, w]."""
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
            raise ValueError(f"not the outputs of DWPose: {simcc_x.shape} and {simcc_y.shape}")
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
    """Each frame with the box of one person: float64 [4] xyxy, NaN where nobody is detected.

    search(frame, previous box) returns the box. At most one second of frames is in memory.
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
    """YOLOX person detection with rtmlib's pre- and post-processing and a session of our own."""

    def __init__(self, session: ort.InferenceSession) -> None:
        height, width = session.get_inputs()[0].shape[2:]
        # rtmlib's YOLOX.__init__ opens a session with a single provider.
        self._yolox: Any = object.__new__(YOLOX)
        self._yolox.session = session
        self._yolox.backend = "onnxruntime"
        fixed = isinstance(height, int) and isinstance(width, int)
        self._yolox.model_input_size = (height, width) if fixed else (640, 640)
        self._yolox.nms_thr, self._yolox.score_thr = 0.45, 0.7

    def __call__(self, frame: np.ndarray, previous: np.ndarray) -> np.ndarray:
        """Box [4] of the person at `previous`, else of the largest person; NaN for nobody."""
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
        if found.shape[-1] == 5:  # the network includes NMS and has the class person only
            self._yolox.det_mode = "human"
            return np.asarray(self._yolox.postprocess(found, ratio), np.float64).reshape(-1, 4)
        self._yolox.det_mode = "multiclass"
        boxes, classes = self._yolox.postprocess(found, ratio)
        return np.asarray(boxes, np.float64).reshape(-1, 4)[np.asarray(classes) == PERSON]


def weight_files(config: PoseConfig) -> tuple[Path, Path]:
    """Files of the person detector and of the pose network; a URL is downloaded once.

    Raises `FileNotFoundError` for a missing file or a URL that can't be downloaded.
    """
    person, pose = (_weights(given or "") for given in (config.dwpose_person, config.dwpose_pose))
    return person, pose


def _weights(given: str) -> Path:
    path = Path(given)
    if given.startswith(("https://", "http://", "file://")):
        try:
            # rtmlib caches by file name alone, and many files are called model.onnx.
            name = f"{hashlib.sha256(given.encode()).hexdigest()[:12]}-{given.rsplit('/', 1)[-1]}"
            path = Path(download_checkpoint(given, filename=name))
        except (OSError, ValueError, BadZipFile) as error:
            raise FileNotFoundError(f"no DWPose weights from {given}: {error}") from error
        except UnboundLocalError:  # raised by rtmlib for a zip without end2end.onnx
            raise FileNotFoundError(f"no end2end.onnx in {given}") from None
    if not path.is_file():
        raise FileNotFoundError(f"no DWPose weights at {path}")
    check_weights(path)
    return path


def open_session(
    path: Path, device: str, threads: int = 0, device_id: int = 0
) -> ort.InferenceSession:
    """An onnxruntime session on `device` (cpu, cuda or tensorrt), on the GPU of number `device_id`;
    `threads` 0: one per core.

    Raises `DeviceError` when onnxruntime can't use that device (it would fall back to the CPU).
    """
    providers = providers_of(path, device, device_id)
    first = providers[0] if isinstance(providers[0], str) else providers[0][0]
    if first not in ort.get_available_providers():
        raise DeviceError(
            f"pose.device {device}: this onnxruntime has no {first} (it has"
            f" {', '.join(ort.get_available_providers())}); install onnxruntime-gpu"
        )
    options = ort.SessionOptions()
    options.intra_op_num_threads = threads
    try:
        session = ort.InferenceSession(str(path), options, providers=providers)
    except Exception as error:  # onnxruntime's errors have no common base
        reason = str(error).splitlines()[0]
        raise UserError(f"{path} can't be loaded by onnxruntime: {reason}") from error
    if session.get_providers()[0] != first:
        raise DeviceError(f"pose.device {device}: {first} could not be started")
    return session


def providers_of(path: Path, device: str, device_id: int = 0) -> list[Any]:
    """onnxruntime's execution providers for a device, in order of preference.

    TensorRT builds its engine once, in half precision, and caches it beside the weights.
    """
    if device == "cpu":
        return ["CPUExecutionProvider"]
    cuda = ("CUDAExecutionProvider", {"device_id": device_id})
    if device == "cuda":
        return [cuda, "CPUExecutionProvider"]
    engine = {
        "device_id": device_id,
        "trt_engine_cache_enable": True,
        "trt_engine_cache_path": str(path.parent),
        "trt_fp16_enable": True,
    }
    return [
        ("TensorrtExecutionProvider", engine),
        cuda,
        "CPUExecutionProvider",
    ]
