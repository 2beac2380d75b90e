"""The evaluated videos of each system, with their keypoints and frames.

Keypoints of a generated video are cached by its content, its length and the detector
(`metrics/keypoints/`), so an unchanged video is never detected twice.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np

from paha_core.config import Preset
from paha_core.engine.manifest_stage import kept_rows
from paha_core.metrics.protocol import PROTOCOL
from paha_core.store import Store, sha256_file, sha256_json

if TYPE_CHECKING:
    from paha_core.pose.detect import Detector
    from paha_core.pose.keypoints import Keypoints

EXTERNAL = "external"  # the data set of other systems' own clips
NO_VIDEOS = "no generated clips of this mode: run `generated_clips` first"


@dataclass(frozen=True)
class SystemVideo:
    """One clip as one system shows it. Paths are relative to the store."""

    system: str
    clip_id: str  # dataset/speaker/interval: the clip whose voice is used
    path: str
    sha256: str
    frames: int  # from the clip's start; the real video may be longer
    audio_path: str
    reference: str  # png; empty when unknown
    shows: str = ""  # the real clip that is seen, whose keypoints the stage has; else empty
    seed: int = 0

    @property
    def dataset(self) -> str:
        return self.clip_id.split("/")[0]

    @property
    def key(self) -> tuple[str, str, int]:
        """Identifies this video among all that are evaluated together."""
        return self.system, self.clip_id, self.seed


Systems = dict[str, list[SystemVideo]]


def collect_videos(store: Store, preset: Preset) -> Systems:
    """Videos by system: `real` first, then each mode of the preset (an empty list: not generated).

    `real` shows the clips that were generated, cut to the same length; before anything is
    generated, the first held-out clips.
    """
    datasets = preset.corpora.datasets
    clips = {row["clip_id"]: row for row in kept_rows(store, "clips", datasets)}
    systems: Systems = {"real": []}
    real: dict[str, SystemVideo] = {}
    for mode in preset.generation.modes:
        systems[mode] = []
        for row in kept_rows(store, "generated_clips", [mode]):
            video = generated_video(mode, row)
            systems[mode].append(video)
            if (clip := clips.get(video.clip_id)) is not None:
                real[video.clip_id] = replace(
                    real_video(clip, video.frames),
                    audio_path=video.audio_path,
                    reference=video.reference,
                )
    if not real:
        held_out = [row for row in clips.values() if row["split"] == "test"]
        for row in held_out[: preset.generation.clips]:
            real[row["clip_id"]] = real_video(row, preset.generation.max_frames)
    systems["real"] = [real[clip_id] for clip_id in sorted(real)]
    return systems


def generated_video(system: str, row: Mapping[str, Any], seed: int = 0) -> SystemVideo:
    """The video of a row of the manifest `generated_clips`."""
    return SystemVideo(
        system,
        row["clip_id"],
        row["path"],
        row["sha256"],
        int(row["frames"]),
        row["audio_path"],
        row.get("reference") or "",
        seed=seed,
    )


def real_video(row: Mapping[str, Any], most: int) -> SystemVideo:
    """The first frames, at most `most`, of the clip in a row of the manifest `clips`."""
    frames = min(int(row.get("frames") or most), most)
    audio = row.get("audio_path") or row["path"]
    clip_id = row["clip_id"]
    return SystemVideo(
        "real", clip_id, row["path"], row["sha256"], frames, audio, "", shows=clip_id
    )


class KeypointSource:
    """Keypoints of any evaluated video: from the stage `keypoints`, the cache, or the detector."""

    def __init__(self, store: Store, preset: Preset) -> None:
        self.store, self.preset = store, preset
        rows = kept_rows(store, "keypoints", preset.corpora.datasets)
        self.stage = {row["clip_id"]: row["path"] for row in rows}
        self.sha256 = {row["clip_id"]: row["sha256"] for row in rows}
        self._contents: dict[str, str] = {}

    @cached_property
    def clips(self) -> dict[str, dict[str, Any]]:
        """Rows of the real clips by id."""
        rows = kept_rows(self.store, "clips", self.preset.corpora.datasets)
        return {row["clip_id"]: row for row in rows}

    def real(self, clip_id: str, frames: int | None = None) -> Keypoints | None:
        """Keypoints of a real clip, cut to its first `frames`; None when its row was rejected."""
        path = self.stage.get(clip_id)
        return first_frames(self._load(path), frames) if path else None

    def of(self, video: SystemVideo) -> Keypoints | None:
        """Keypoints of a video, in pixels of the clip size."""
        if video.shows:
            return self.real(video.shows, video.frames)
        content = [video.sha256, video.frames]
        return self._cached(content, lambda: load_frames(self.store, video))

    def of_picture(self, rel: str) -> Keypoints:
        """Keypoints of a picture in the store, as one frame, in pixels of the clip size."""
        return self._cached([self.content(rel)], lambda: load_picture(self.store, rel)[None])

    def face_boxes(self, video: SystemVideo) -> np.ndarray:
        """Tight boxes for SyncNet's face track: float `[T, 4]` xyxy in pixels of the clip size, NaN
        where no face was found. Cached, so that CPU workers find them and the GPU does not wait.
        """
        from paha_core.pose.face import detect_face_boxes, face_detector_sha256

        size, pose = self.preset.corpora.clip.size, self.preset.pose
        key = [video.sha256, video.frames, size, pose.max_face_gap, face_detector_sha256()]
        rel = f"metrics/faces/{sha256_json(key)}.npy"
        if self.store.exists(rel):
            with self.store.reading(rel) as path:
                return np.asarray(np.load(path, allow_pickle=False))
        frames = at_clip_size(load_frames(self.store, video), size)
        found = detect_face_boxes(
            frames, pose.model_copy(update={"face_box_scale": PROTOCOL.sync_box_scale})
        )
        boxes = np.where(found.found[:, None], found.boxes, np.nan)
        with self.store.writing(rel) as path, open(path, "wb") as file:
            np.save(file, boxes)
        return boxes

    def content(self, rel: str) -> str:
        """`content_sha256`, read once."""
        if rel not in self._contents:
            self._contents[rel] = content_sha256(self.store, rel)
        return self._contents[rel]

    def _cached(self, content: list[Any], load: Callable[[], np.ndarray]) -> Keypoints:
        size = self.preset.evaluation_size
        rel = f"metrics/keypoints/{sha256_json([*content, size, self.made_by])}.parquet"
        if self.store.exists(rel):
            return self._load(rel)
        keypoints = self.detector.detect(at_clip_size(load(), size))
        with self.store.writing(rel) as path:
            keypoints.save(path)
        return keypoints

    @cached_property
    def made_by(self) -> list[Any]:
        """The inputs of keypoints besides the pictures: settings and weights, read without loading
        the detector."""
        from paha_core.pose.detect import detector_sha256
        from paha_core.pose.stage import CODE_VERSION, KEYPOINTS

        config = self.preset.pose
        settings = [config.detector, config.model_complexity, CODE_VERSION[KEYPOINTS]]
        return [*settings, detector_sha256(config)]

    @cached_property
    def detector(self) -> Detector:
        from paha_core.pose import open_detector

        return open_detector(self.preset.pose)

    def _load(self, rel: str) -> Keypoints:
        from paha_core.pose.keypoints import Keypoints

        with self.store.reading(rel) as path:
            return Keypoints.load(path)


def first_frames(keypoints: Keypoints, frames: int | None) -> Keypoints:
    return replace(keypoints, points=keypoints.points[:frames], scores=keypoints.scores[:frames])


def load_frames(store: Store, video: SystemVideo) -> np.ndarray:
    """uint8 RGB `[T, H, W, 3]` as stored, T at most `video.frames`."""
    from paha_core.media.frames import read_first

    with store.reading(video.path) as path:
        return read_first(path, video.frames)


def at_clip_size(frames: np.ndarray, size: int) -> np.ndarray:
    """Frames `[T, H, W, 3]` with a shorter side of `size` pixels: every system is measured at one
    size, or a small soft picture would count as sharp and a large one as soft."""
    from paha_core.media.frames import resize

    height, width = frames.shape[1:3]
    scale = size / min(height, width)
    return resize(frames, (round(height * scale), round(width * scale)))


def even_sides(frames: np.ndarray) -> np.ndarray:
    """Frames `[..., H, W, 3]` without an odd last row or column, which H.264 can't hold."""
    height, width = frames.shape[-3:-1]
    return frames[..., : height // 2 * 2, : width // 2 * 2, :]


def content_sha256(store: Store, rel: str) -> str:
    """The sha256 of a file's bytes; empty where there is no such file."""
    if not rel or not store.exists(rel):
        return ""
    with store.reading(rel) as path:
        return sha256_file(path)


def load_picture(store: Store, rel: str) -> np.ndarray:
    """uint8 RGB `[H, W, 3]` of a picture in the store."""
    from paha_core.media.picture import read_picture

    return read_picture(store.read_bytes(rel))
