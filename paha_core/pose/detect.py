"""One way to open any keypoint detector."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from pathlib import Path
from typing import Protocol

import numpy as np

from paha_core.config import PoseConfig
from paha_core.pose.keypoints import Keypoints
from paha_core.store import sha256_file


class Detector(Protocol):
    """Finds the 133 points of the most prominent person of a clip.

    The result depends on the frames alone: a detector that tracks starts afresh with each clip.
    """

    name: str
    version: str
    weights_sha256: str

    def detect(self, frames: np.ndarray) -> Keypoints:
        """frames: uint8 RGB [T, H, W, 3]. Raises `ValueError` for another form."""
        ...


def open_detector(config: PoseConfig) -> Detector:
    """The detector that `config.detector` names, its networks loaded.

    Raises `FileNotFoundError` naming the file when weights are missing; nothing is ever downloaded.
    """
    if config.detector == "dwpose":
        from paha_core.pose.dwpose import DWPose

        return DWPose(config)
    from paha_core.pose.mediapipe import MediaPipe

    return MediaPipe(config)


def detector_sha256(config: PoseConfig) -> str:
    """The `weights_sha256` of the detector of `config`, without loading its networks."""
    if config.detector == "dwpose":
        from paha_core.pose.dwpose import weight_files as dwpose_files

        return sha256_of_files(dwpose_files(config))
    from paha_core.pose.mediapipe import weight_files as mediapipe_files

    return sha256_of_files(mediapipe_files(config))


def sha256_of_files(paths: Sequence[Path]) -> str:
    """One hash for several files, in their order."""
    return hashlib.sha256("".join(sha256_file(p) for p in paths).encode()).hexdigest()


def check_frames(frames: np.ndarray) -> None:
    """Raises `ValueError` unless frames are uint8 [T, H, W, 3]."""
    if frames.ndim != 4 or frames.shape[3] != 3 or frames.dtype != np.uint8:
        raise ValueError(f"frames must be uint8 [T, H, W, 3], not {frames.dtype} {frames.shape}")
