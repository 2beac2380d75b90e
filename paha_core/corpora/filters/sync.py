"""Filters of sound against lips, by the estimate of `sync_estimate` and by when the lips move."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import uniform_filter1d

from paha_core.corpora.filters.clip_data import ClipData, FilterFailed
from paha_core.corpora.filters.networks import WINDOW
from paha_core.corpora.filters.picture import longest_run
from paha_core.corpora.filters.sync_estimate import MIN_SHARE, SPEECH_RATE
from paha_core.media import FPS

QUIET = 0.3  # seconds without speech needed to judge resting lips
REST, LOOK = 0.0015, 11  # face heights a frame below which lips rest, in the mean over that time


@dataclass(frozen=True)
class LipSync:
    """The embedded estimate's confidence that lips and sound belong together, at whatever offset,
    must reach `min_confidence`. How much a corpus reaches depends on its faces and its clips'
    length: see the card's histogram and docs/results/sync.md before setting it."""

    name: ClassVar[str] = "sync_confidence"
    min_confidence: float = 0.5

    def check(self, clip: ClipData) -> float:
        sync = clip.estimated_sync
        if sync is None:
            return float("nan")
        if sync.confidence < self.min_confidence:
            reason = f"lips and sound don't belong together: {sync.confidence:.2f} confidence"
            raise FilterFailed(f"{reason}, {self.min_confidence:g} needed", sync.confidence)
        return sync.confidence


@dataclass(frozen=True)
class SyncC:
    """SyncNet's confidence (Sync-C) must reach `min_confidence`; its score is missing without
    weights, and where no face is large or long enough in the picture. LatentSync keeps from 3."""

    name: ClassVar[str] = "sync_c"
    min_confidence: float = 3.0

    def check(self, clip: ClipData) -> float:
        sync = clip.network_sync
        if sync is None:
            return float("nan")
        if sync.confidence < self.min_confidence:
            reason = f"lips and sound don't belong together: Sync-C {sync.confidence:.1f}"
            raise FilterFailed(f"{reason}, {self.min_confidence:g} needed", sync.confidence)
        return sync.confidence


@dataclass(frozen=True)
class SyncOffset:
    """The offset of the sound against the lips, in frames, is at most `max_frames` either way, in
    clips where it is sure. Its score is the likeliest offset, positive where the sound is late."""

    name: ClassVar[str] = "sync_offset"
    max_frames: int = 2

    def check(self, clip: ClipData) -> float:
        sync = clip.sync
        if sync is None:
            return float("nan")
        if sync.is_sure and abs(sync.offset) > self.max_frames:
            side = "late" if sync.offset > 0 else "early"
            seconds = abs(sync.offset) / FPS
            raise FilterFailed(f"the sound comes {seconds:.2f} s too {side}", sync.offset)
        return float(sync.offset)


@dataclass(frozen=True)
class LipsMove:
    """How much the lips move while there is speech, in face heights a frame, must reach
    `min_motion`: a voice over a silent face does not."""

    name: ClassVar[str] = "lip_motion"
    min_motion: float = 0.003

    def check(self, clip: ClipData) -> float:
        speaking, _ = lip_motion(clip.face_mesh.opening, clip.speech_probability)
        if speaking < self.min_motion:
            reason = "the lips rest while there is speech: somebody else speaks"
            raise FilterFailed(reason, speaking)
        return speaking


@dataclass(frozen=True)
class LipsRest:
    """The lips' motion without speech over that with speech is at most `max_ratio`: lips that move
    on in silence belong to a voice that is not heard."""

    name: ClassVar[str] = "lip_rest"
    max_ratio: float = 1.0

    def check(self, clip: ClipData) -> float:
        speaking, resting = lip_motion(clip.face_mesh.opening, clip.speech_probability)
        ratio = resting / max(speaking, 1e-6)
        if ratio > self.max_ratio:
            raise FilterFailed("the lips move while there is no speech", ratio)
        return ratio


@dataclass(frozen=True)
class LipsSpeak:
    """The longest speech, in seconds, during which the lips rest is at most `max_seconds`: an
    interviewer beside the camera, a commentator, a voice-over."""

    name: ClassVar[str] = "unspoken"
    max_seconds: float = 1.0

    def check(self, clip: ClipData) -> float:
        seconds = unspoken(clip)
        if seconds > self.max_seconds:
            reason = f"somebody else speaks: the lips rest during {seconds:.1f} s of speech"
            raise FilterFailed(reason, seconds)
        return seconds


def unspoken(clip: ClipData) -> float:
    """Seconds of the longest speech on end during which the lips rest; NaN where the face is seen
    too seldom."""
    motion, spoken = _motion_and_speech(clip.face_mesh.opening, clip.speech_probability)
    if not len(motion) or np.isnan(motion).mean() > 1 - MIN_SHARE:
        return float("nan")
    known = np.where(np.isnan(motion), np.nanmax(motion), motion)
    liveliest = uniform_filter1d(known, LOOK, mode="nearest")
    # Between two words both are short: a pause of the speech ends no rest of the lips.
    speaks = uniform_filter1d((spoken >= 0.5).astype(float), LOOK, mode="nearest") > 0.5
    return longest_run(speaks & (liveliest < REST)) / FPS


def lip_motion(
    opening: NDArray[np.float64], probability: NDArray[np.float32]
) -> tuple[float, float]:
    """Mean change from frame to frame of the lips' opening [T] while there is speech, by its
    probability in each 32 ms, and while there is none; NaN where a clip has too little of
    either."""
    motion, spoken = _motion_and_speech(opening, probability)
    seen = ~np.isnan(motion)
    found = []
    for where in (spoken >= 0.5, spoken < 0.2):
        chosen = motion[seen & where]
        found.append(float(chosen.mean()) if len(chosen) >= QUIET * FPS else float("nan"))
    return found[0], found[1]


def _motion_and_speech(
    opening: NDArray[np.float64], probability: NDArray[np.float32]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """From each frame to the next: the change of the lips' opening, NaN where it is not seen, and
    the probability of speech."""
    if not probability.size or len(opening) < 2:
        return np.empty(0), np.empty(0)
    centres = (np.arange(len(opening) - 1) + 1.0) / FPS
    times = (np.arange(len(probability)) + 0.5) * WINDOW / SPEECH_RATE
    return np.abs(np.diff(opening)), np.interp(centres, times, probability)
