"""The inputs of one video's measures, each loaded or computed once.

An input that does not exist raises `NoValue` with the reason.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from io import BytesIO
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np

from paha_core.benchmark.measuring.extractors import Extractors
from paha_core.benchmark.measuring.videos import (
    KeypointSource,
    SystemVideo,
    at_clip_size,
    even_sides,
    load_frames,
    load_picture,
    real_video,
)
from paha_core.media.frames import FPS
from paha_core.metrics import beats, face_dynamics, lips, video_quality
from paha_core.metrics.pose_features import gesture_points
from paha_core.pose.drawn import clip_start, truth_path
from paha_core.store import Store

if TYPE_CHECKING:
    from paha_core.models.syncnet import SyncScore
    from paha_core.pose.keypoints import Keypoints

T = TypeVar("T")
NO_TRUTH = "no drawn truth for these clips"
UNDER_2_SECONDS = "under two seconds that show it"
ONE_CRF = 23  # x264's default
NO_FACE = "no face in most frames"
NO_REAL = "there is no real video of this voice"
NO_SHOULDERS = "the shoulders are never seen"
NO_REFERENCE = "the reference picture is missing"
NO_BACKGROUND = "no background: the person fills the frame, or was not found"


class NoValue(Exception):
    """The metric does not exist for this video; the message is the cell's reason."""


def required(value: T | None, reason: str) -> T:
    """`value`; raises `NoValue` with `reason` for None."""
    if value is None:
        raise NoValue(reason)
    return value


@dataclass(frozen=True)
class Truth:
    """What the studio drew: the mouth `[frames]`, 0 to 1, and the gestures' beats in seconds."""

    openness: np.ndarray
    beats: np.ndarray


class VideoInputs:
    """The inputs of one video's measures. A property raises `NoValue` where it does not exist."""

    def __init__(self, source: KeypointSource, extractors: Extractors, video: SystemVideo) -> None:
        self.source, self.extractors, self.video = source, extractors, video
        self.store = source.store

    @cached_property
    def keypoints(self) -> Keypoints:
        return required(self.source.of(self.video), "the clip has no keypoints")

    @cached_property
    def real(self) -> Keypoints:
        """Keypoints of the real video of this voice, equally long."""
        return required(self.source.real(self.video.clip_id, self.video.frames), NO_REAL)

    @cached_property
    def frames(self) -> np.ndarray:
        """uint8 RGB `[T, H, W, 3]` at the clip size; as many as there are keypoints."""
        count = len(self.keypoints)  # first: without them nothing need be decoded
        frames = load_frames(self.store, self.video)[:count]
        return at_clip_size(frames, self.extractors.protocol.size)

    @cached_property
    def real_frames(self) -> np.ndarray:
        """Those of the real video of this voice, at the same size."""
        clip = required(self.source.clips.get(self.video.clip_id), NO_REAL)
        frames = load_frames(self.store, real_video(clip, self.video.frames))
        return at_clip_size(frames, self.extractors.protocol.size)

    @cached_property
    def luma(self) -> np.ndarray:
        return video_quality.grey(self.frames)

    @cached_property
    def points(self) -> np.ndarray:
        """`[T, 133, 2]`, as many as there are frames."""
        return self.keypoints.points[: len(self.frames)]

    @cached_property
    def scores(self) -> np.ndarray:
        """`[T, 133]`, as many as there are frames."""
        return self.keypoints.scores[: len(self.frames)]

    @cached_property
    def gestures(self) -> np.ndarray:
        """`[T, 49, 2]` in shoulder widths."""
        return required(gesture_points(self.keypoints), NO_SHOULDERS)

    @cached_property
    def mouth(self) -> np.ndarray:
        """Openness `[T]`."""
        found = lips.mouth_openness(self.keypoints.points, self.keypoints.scores)
        return required(found, NO_FACE)

    @cached_property
    def wave(self) -> np.ndarray:
        """float32 mono at 16 kHz, as long as the video."""
        from paha_core.media.audio import read_audio

        with self.store.reading(self.video.audio_path) as path:
            wave = read_audio(path, 16_000)[: round(self.video.frames / FPS * 16_000)]
        return np.clip(wave, -1, 1)  # decoded AAC overshoots; 16-bit samples can't

    @cached_property
    def audio_beats(self) -> np.ndarray:
        return beats.audio_beats(self.wave)

    @cached_property
    def motion_beats(self) -> np.ndarray:
        return beats.motion_beats(self.gestures)

    @cached_property
    def reference(self) -> np.ndarray:
        """uint8 RGB `[H, W, 3]`."""
        rel = self.video.reference
        if not rel or not self.store.exists(rel):
            raise NoValue(NO_REFERENCE)
        return load_picture(self.store, rel)

    @cached_property
    def background(self) -> np.ndarray:
        """True `[H, W]` where neither the video's nor the real person ever is."""
        real = self.source.real(self.video.clip_id, self.video.frames)
        people = [person for person in (self.keypoints, real) if person is not None]
        found = [video_quality.person_cells(p.points, p.scores, p.size) for p in people]
        cells = [one for one in found if one is not None]
        height, width = self.luma.shape[1:]
        mask = video_quality.background_mask(cells, (height, width)) if cells else None
        return required(mask, NO_BACKGROUND)

    @cached_property
    def truth(self) -> Truth:
        clip = self.source.clips.get(self.video.clip_id)
        return required(drawn_truth(self.store, clip, self.video.frames), NO_TRUTH)

    @cached_property
    def face(self) -> tuple[np.ndarray, np.ndarray]:
        """68 points `[n, 68, 2]`, and the frames `[n]` that show them."""
        found = face_dynamics.face_points(self.keypoints.points, self.keypoints.scores)
        return required(found, NO_FACE)

    @cached_property
    def speech(self) -> np.ndarray:
        """Whether somebody speaks in each frame `[T]` (Silero VAD)."""
        from paha_core.corpora.filters.networks import WINDOW, speech_probability

        probability = speech_probability(self.wave)
        at = ((np.arange(self.video.frames) + 0.5) / FPS * 16_000 / WINDOW).astype(int)
        if not len(probability):
            return np.zeros(len(at), bool)
        return probability[np.minimum(at, len(probability) - 1)] >= 0.5

    @cached_property
    def sync(self) -> SyncScore | None:
        """None without a face track."""
        return self._sync_score(self.frames, self.wave)

    @cached_property
    def sync_one_codec(self) -> SyncScore | None:
        """`sync` after encoding every video alike, H.264 at crf 23 and AAC, because the encoder
        alone changes SyncNet's distances.
        """
        from paha_core.media.audio import read_audio
        from paha_core.media.encode import write_video
        from paha_core.media.video import read_frames

        with TemporaryDirectory() as folder:
            path = Path(folder) / "one.mp4"
            write_video(path, even_sides(self.frames), wave=self.wave, crf=ONE_CRF)
            return self._sync_score(read_frames(path), read_audio(path, 16_000))

    def _sync_score(self, frames: np.ndarray, wave: np.ndarray) -> SyncScore | None:
        from paha_core.models.syncnet import sync_score

        rules, network = self.extractors.protocol, self.extractors.network("syncnet")
        return sync_score(
            network.model,
            frames,
            wave,
            self.source.face_boxes(self.video)[: len(frames)],
            min_frames=rules.min_track,
            min_size=rules.min_face,
        )


# --- the studio corpus' own truth -----------------------------------------------------------------


def drawn_truth(store: Store, clip: Mapping[str, Any] | None, frames: int) -> Truth | None:
    """Truth of a studio clip's first `frames` frames; None for any other corpus."""
    rel = truth_path(clip)
    if clip is None or not rel or not store.exists(rel):
        return None
    with np.load(BytesIO(store.read_bytes(rel)), allow_pickle=False) as truth:
        openness, fps, times = truth["mouth_openness"], float(truth["fps"]), truth["beats"]
    start = clip_start(clip)
    times = times[(times >= start) & (times < start + frames / FPS)] - start
    return Truth(lips.resample_to_clip(openness, fps, start, frames), times)
