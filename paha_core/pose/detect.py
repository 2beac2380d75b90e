"""One way to open any keypoint detector."""

from __future__ import annotations

from typing import Protocol

import numpy as np

from paha_core.config import PoseConfig
from paha_core.pose.keypoints import Keypoints


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


def check_frames(frames: np.ndarray) -> None:
    """Raises `ValueError` unless frames are uint8 [T, H, W, 3]."""
    if frames.ndim != 4 or frames.shape[3] != 3 or frames.dtype != np.uint8:
        raise ValueError(f"frames must be uint8 [T, H, W, 3], not {frames.dtype} {frames.shape}")
