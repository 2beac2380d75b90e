"""The detector protocol, and the function that opens the detector named in the settings."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Protocol

import numpy as np

from paha_core.config import PoseConfig
from paha_core.pose.keypoints import Keypoints
from paha_core.store import sha256_of_files


class Detector(Protocol):
    """Finds the 133 points of the most prominent person of a clip.

    The result depends on the frames alone: a tracking detector is reset before each clip.
    """

    name: str
    version: str
    weights_sha256: str

    def detect(self, frames: Iterable[np.ndarray]) -> Keypoints:
        """frames: uint8 RGB [H, W, 3] of one size, an array or an iterable, so that a long video
        need not fit in memory. Raises `ValueError` for other shapes or dtypes, and for no frame.
        """
        ...


def open_detector(config: PoseConfig, threads: int = 0, device_id: int = 0) -> Detector:
    """The detector that `config.detector` names, its networks loaded.

    threads: CPU threads of each network; 0 uses every core. device_id: number of the GPU, where
    `config.device` is one. Raises `FileNotFoundError` naming the
    file when weights are missing. Only weights that the configuration names by URL are downloaded.
    """
    if config.detector == "dwpose":
        from paha_core.pose.dwpose import DWPose

        return DWPose(config, threads, device_id)
    from paha_core.pose.mediapipe import MediaPipe

    return MediaPipe(config)


def detector_sha256(config: PoseConfig) -> str:
    """The `weights_sha256` of the detector of `config`, without loading its networks."""
    if config.detector == "dwpose":
        from paha_core.pose.dwpose import weight_files as dwpose_files

        return sha256_of_files(dwpose_files(config))
    from paha_core.pose.mediapipe import weight_files as mediapipe_files

    return sha256_of_files(mediapipe_files(config))
