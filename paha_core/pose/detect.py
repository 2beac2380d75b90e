"""One way to open any keypoint detector, and to hand it frames."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import Protocol

import numpy as np

from paha_core.config import PoseConfig
from paha_core.pose.keypoints import Keypoints
from paha_core.store import sha256_file


@dataclass(frozen=True)
class VideoFrames:
    """The frames of a video file, decoded anew each time they are gone through.

    Raises `MediaError` while it is gone through: for a file that can't be decoded or has no frame.
    """

    path: Path

    def __iter__(self) -> Iterator[np.ndarray]:
        from paha_core.media.ffmpeg import MediaError
        from paha_core.media.video import iter_frames

        count = 0
        for frame in iter_frames(self.path):
            count += 1
            yield frame
        if not count:
            raise MediaError(f"no frames in {self.path.name}")


class Detector(Protocol):
    """Finds the 133 points of the most prominent person of a clip.

    The result depends on the frames alone: a detector that tracks starts afresh with each clip.
    """

    name: str
    version: str
    weights_sha256: str

    def detect(self, frames: Iterable[np.ndarray]) -> Keypoints:
        """frames: uint8 RGB [H, W, 3] of one size, as one array or one after another: a long video
        is never held as a whole. Raises `ValueError` for another form, and for no frame at all.
        """
        ...


def open_detector(config: PoseConfig, threads: int = 0) -> Detector:
    """The detector that `config.detector` names, its networks loaded.

    threads: of a network on the CPU; 0 takes every core. Raises `FileNotFoundError` naming the file
    when weights are missing. Only weights that the configuration names by URL are downloaded.
    """
    if config.detector == "dwpose":
        from paha_core.pose.dwpose import DWPose

        return DWPose(config, threads)
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


def stream(frames: Iterable[np.ndarray]) -> tuple[tuple[int, int], Iterator[np.ndarray]]:
    """Height and width of the frames, and each of them, checked as it comes.

    Raises `ValueError` for no frame; the iterator does for one of another form.
    """
    if isinstance(frames, np.ndarray):
        check_frames(frames)
    iterator = iter(frames)
    first = next(iterator, None)
    if first is None:
        raise ValueError("there are no frames")
    check_frames(first[None])

    def checked() -> Iterator[np.ndarray]:
        for frame in chain([first], iterator):
            if frame.shape != first.shape or frame.dtype != np.uint8:
                raise ValueError(
                    f"frames must be uint8 of one size, not {frame.dtype} {frame.shape} after"
                    f" {first.shape}"
                )
            yield frame

    height, width = first.shape[:2]
    return (height, width), checked()
