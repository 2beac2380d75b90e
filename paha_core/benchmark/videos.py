"""What is evaluated: the videos of each system, their keypoints, their frames.

Keypoints of a generated video are cached by its content (`metrics/keypoints/`), so an unchanged
video is never detected twice.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from io import BytesIO
from typing import TYPE_CHECKING, Any

import numpy as np

from paha_core.config import Preset
from paha_core.stages import kept_rows
from paha_core.store import Store, sha256_json

if TYPE_CHECKING:
    from paha_core.pose.detect import Detector
    from paha_core.pose.keypoints import Keypoints

FPS = 25
NO_VIDEOS = "no generated clips: materialise `generated_clips` for this mode first"


@dataclass(frozen=True)
class Video:
    """One clip as one system shows it. Paths are relative to the store."""

    system: str
    clip_id: str  # dataset/speaker/interval: whose voice is heard
    path: str
    sha256: str
    frames: int  # from the clip's start; the real video may be longer
    audio_path: str
    reference: str  # png; empty when unknown
    timing: Mapping[str, Any] | None = None  # the manifest's row, for TC
    shows: str = ""  # the real clip that is seen, whose keypoints the stage has; else empty
    seed: int = 0

    @property
    def dataset(self) -> str:
        return self.clip_id.split("/")[0]

    @property
    def key(self) -> tuple[str, str, int]:
        """Of this video among all that are evaluated together."""
        return self.system, self.clip_id, self.seed


Systems = dict[str, list[Video]]


def collect_videos(store: Store, preset: Preset) -> Systems:
    """Videos by system: `real` first, then each mode of the preset (an empty list: not generated).

    `real` shows the clips that were generated, cut to the same length; before anything is
    generated, the first held-out clips.
    """
    datasets = preset.corpora.datasets
    clips = {row["clip_id"]: row for row in kept_rows(store, "clips", datasets)}
    systems: Systems = {"real": []}
    real: dict[str, Video] = {}
    for mode in preset.generation.modes:
        systems[mode] = []
        for row in kept_rows(store, "generated_clips", [mode]):
            video = generated_video(mode, row)
            systems[mode].append(video)
            clip = clips.get(row["clip_id"])
            real[row["clip_id"]] = replace(
                video,
                system="real",
                path=row["real_path"],
                sha256=clip["sha256"] if clip else sha256_json(row["real_path"]),
                timing=None,
                shows=row["clip_id"],
            )
    if not real:
        held_out = [row for row in clips.values() if row["split"] == "test"]
        for row in held_out[: preset.generation.clips]:
            real[row["clip_id"]] = real_video(preset, row)
    systems["real"] = [real[clip_id] for clip_id in sorted(real)]
    return systems


def generated_video(system: str, row: Mapping[str, Any], seed: int = 0) -> Video:
    """Of a row of the manifest `generated_clips`."""
    return Video(
        system,
        row["clip_id"],
        row["path"],
        row["sha256"],
        int(row["frames"]),
        row["audio_path"],
        row.get("reference") or "",
        row,
        seed=seed,
    )


def real_video(preset: Preset, row: Mapping[str, Any]) -> Video:
    """Of a row of the manifest `clips`, as long as a generated video of it may be."""
    frames = min(int(row.get("frames") or 10**9), preset.generation.max_frames)
    audio = row.get("audio_path") or row["path"]
    clip_id = row["clip_id"]
    return Video("real", clip_id, row["path"], row["sha256"], frames, audio, "", shows=clip_id)


class KeypointSource:
    """Keypoints of any evaluated video: from the stage `keypoints`, the cache, or the detector."""

    def __init__(self, store: Store, preset: Preset) -> None:
        self.store, self.preset = store, preset
        rows = kept_rows(store, "keypoints", preset.corpora.datasets)
        self.stage = {row["clip_id"]: row["path"] for row in rows}
        self.sha256 = {row["clip_id"]: row["sha256"] for row in rows}
        self._detector: Detector | None = None

    def real(self, clip_id: str, frames: int | None = None) -> Keypoints | None:
        """Of a real clip, cut to its first `frames`; None when its row was rejected."""
        path = self.stage.get(clip_id)
        return first_frames(self._load(path), frames) if path else None

    def of(self, video: Video) -> Keypoints | None:
        """Of a video, in pixels of the clip size."""
        if video.shows:
            return self.real(video.shows, video.frames)
        return self._cached(video.sha256, lambda: load_frames(self.store, video))

    def of_picture(self, rel: str) -> Keypoints:
        """Of a picture in the store, one frame, in pixels of the clip size."""
        data = self.store.read_bytes(rel)
        sha256 = hashlib.sha256(data).hexdigest()
        return self._cached(sha256, lambda: load_picture(self.store, rel)[None])

    def _cached(self, sha256: str, load: Callable[[], np.ndarray]) -> Keypoints:
        rel = f"metrics/keypoints/{sha256}.parquet"
        if self.store.exists(rel):
            cached = self._load(rel)
            if self._same_detector(cached):
                return cached
        keypoints = self.detector.detect(at_clip_size(load(), self.preset.corpora.clip.size))
        with self.store.writing(rel) as path:
            keypoints.save(path)
        return keypoints

    @property
    def detector(self) -> Detector:
        if self._detector is None:
            from paha_core.pose import open_detector

            self._detector = open_detector(self.preset.pose)
        return self._detector

    def _load(self, rel: str) -> Keypoints:
        from paha_core.pose.keypoints import Keypoints

        with self.store.reading(rel) as path:
            return Keypoints.load(path)

    def _same_detector(self, cached: Keypoints) -> bool:
        """Compared with the real clips' keypoints: opening the detector would take seconds."""
        if not self.stage:
            return cached.detector == self.preset.pose.detector
        stage = self._load(next(iter(self.stage.values())))
        return (cached.detector, cached.version, cached.weights_sha256) == (
            stage.detector,
            stage.version,
            stage.weights_sha256,
        )


def first_frames(keypoints: Keypoints, frames: int | None) -> Keypoints:
    return replace(keypoints, points=keypoints.points[:frames], scores=keypoints.scores[:frames])


def load_frames(store: Store, video: Video) -> np.ndarray:
    """uint8 RGB `[T, H, W, 3]` as stored, T at most `video.frames`."""
    from paha_core.media.frames import read_first

    with store.reading(video.path) as path:
        return read_first(path, video.frames)


def at_clip_size(frames: np.ndarray, size: int) -> np.ndarray:
    """Frames `[T, H, W, 3]`, enlarged when their shorter side is below `size` pixels."""
    from paha_core.media.frames import resize

    height, width = frames.shape[1:3]
    if min(height, width) >= size:
        return frames
    scale = size / min(height, width)
    return resize(frames, (round(height * scale), round(width * scale)))


def load_picture(store: Store, rel: str) -> np.ndarray:
    """uint8 RGB `[H, W, 3]` of a picture in the store."""
    from PIL import Image

    with Image.open(BytesIO(store.read_bytes(rel))) as picture:
        return np.asarray(picture.convert("RGB"))
