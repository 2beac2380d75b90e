"""The filters' input, a clip's decoded data, and the function that applies them."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import ClassVar, Protocol

import librosa
import numpy as np
from numpy.typing import NDArray

from paha_core.corpora.filters.detectors import (
    NO_FACE,
    find_body,
    find_face_points,
    find_faces,
)
from paha_core.corpora.filters.lips import FaceMesh, track_face
from paha_core.corpora.filters.networks import dnsmos, speech_probability
from paha_core.corpora.filters.sync_estimate import SPEECH_RATE, Sync, estimate_sync
from paha_core.corpora.filters.sync_network import SyncNetWeights, load_network, measure_sync
from paha_core.engine.manifest_stage import Rejection
from paha_core.media.video import Frames

PROBES = 10  # frames of a clip in which faces and bodies are detected


class FilterFailed(Rejection):
    """A score beyond its threshold, and the reason as a sentence."""

    def __init__(self, reason: str, score: float) -> None:
        super().__init__(reason)
        self.score = score


@dataclass(frozen=True)
class ClipData:
    """The filters' inputs of a clip, decoded in one pass."""

    probes: list[Frames]  # [H, W, 3], evenly spread
    thumbnails: NDArray[np.uint8]  # [T, 32, 32] grey, every frame
    wave: NDArray[np.float32]  # mono [N]
    rate: int = SPEECH_RATE  # Hz
    frames: Callable[[], Iterable[Frames]] = tuple  # decodes every frame again
    source_fps: float = float("nan")
    source_side: float = float("nan")  # pixels of the source along a side of the square
    syncnet: SyncNetWeights | None = None

    @cached_property
    def faces(self) -> list[list[tuple[float, float, float, float]]]:
        """Boxes `xyxy` of each probe, as fractions of width and height."""
        return [find_faces(probe) for probe in self.probes]

    @cached_property
    def face_track(self) -> NDArray[np.float64]:
        """The largest face of every frame [T, 8, 2], as fractions: its box's corners, eyes, nose,
        mouth, ears; NaN where there is none."""
        found = [find_face_points(frame) for frame in self.frames()]
        return np.array(found) if found else NO_FACE[None]

    @cached_property
    def face_mesh(self) -> FaceMesh:
        """The lips' opening and the head's angles in every frame."""
        return track_face(self.frames())

    @property
    def sync(self) -> Sync | None:
        """Where sound and lips fit best: by SyncNet where its weights are given, else by the
        estimate."""
        return self.estimated_sync if self.syncnet is None else self.network_sync

    @cached_property
    def estimated_sync(self) -> Sync | None:
        """Where sound and lips fit best, by the embedded estimate."""
        return estimate_sync(self.face_mesh.opening, self.speech)

    @cached_property
    def network_sync(self) -> Sync | None:
        """The same by SyncNet; None without its weights, or without a face track."""
        if self.syncnet is None:
            return None
        model, _ = load_network(self.syncnet.path)
        height, width = self.probes[0].shape[:2]
        boxes = (self.face_track[:, :2] * (width, height)).reshape(-1, 4)
        return measure_sync(model, self.frames(), boxes, self.speech)

    @cached_property
    def bodies(self) -> list[NDArray[np.float32] | None]:
        """Keypoints [33, 3] of each probe (x, y as fractions; visibility), None without a body."""
        return [find_body(probe) for probe in self.probes]

    @cached_property
    def speech(self) -> NDArray[np.float32]:
        """The wave at 16 kHz."""
        if self.rate == SPEECH_RATE or not self.wave.size:
            return self.wave
        wave = librosa.resample(self.wave, orig_sr=self.rate, target_sr=SPEECH_RATE)
        return np.asarray(wave, dtype=np.float32)

    @cached_property
    def speech_probability(self) -> NDArray[np.float32]:
        """Probability of speech in each 32 ms, by Silero VAD."""
        return speech_probability(self.speech)

    @cached_property
    def mos(self) -> tuple[float, float]:
        """DNSMOS' overall and background quality, 1 to 5."""
        return dnsmos(self.speech)


class Filter(Protocol):
    name: ClassVar[str]

    def check(self, clip: ClipData) -> float: ...


def apply_filters(filters: Sequence[Filter], clip: ClipData) -> tuple[dict[str, float | None], str]:
    """The filters' scores up to the first that fails, and its reason (empty when none does).

    The score of a filter that lacks its weights is None.
    """
    scores: dict[str, float | None] = {}
    reason = ""
    for each in filters:
        try:
            score = each.check(clip)
        except FilterFailed as failed:
            score, reason = failed.score, str(failed)
        scores[each.name] = None if math.isnan(score) else round(score, 4)
        if reason:
            break
    return scores, reason
