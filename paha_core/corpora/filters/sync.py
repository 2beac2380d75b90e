"""Filters of sound against lips, by the estimate of `sync_estimate` and by when the lips move."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from paha_core.corpora.filters.clip_data import ClipData, FilterFailed
from paha_core.corpora.filters.sound import WINDOW, speech_probability
from paha_core.corpora.filters.sync_estimate import SPEECH_RATE
from paha_core.media import FPS

QUIET = 0.3  # seconds without speech needed to judge resting lips


@dataclass(frozen=True)
class LipSync:
    """The confidence that lips and sound belong together, at whatever offset, must reach
    `min_confidence`. How much a corpus reaches depends on its faces and its clips' length: see the
    card's histogram and docs/results/sync.md before setting it."""

    name: ClassVar[str] = "sync_confidence"
    min_confidence: float = 0.5

    def check(self, clip: ClipData) -> float:
        sync = clip.sync
        if sync is None:
            return float("nan")
        if sync.confidence < self.min_confidence:
            reason = f"lips and sound don't belong together: {sync.confidence:.2f} confidence"
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
        speaking, _ = lip_motion(clip)
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
        speaking, resting = lip_motion(clip)
        ratio = resting / max(speaking, 1e-6)
        if ratio > self.max_ratio:
            raise FilterFailed("the lips move while there is no speech", ratio)
        return ratio


def lip_motion(clip: ClipData) -> tuple[float, float]:
    """Mean change of the lips' opening from frame to frame while there is speech, and while there
    is none; NaN where a clip has too little of either."""
    opening = clip.face_mesh.opening
    probability = speech_probability(clip.speech)
    if not probability.size or len(opening) < 2:
        return float("nan"), float("nan")
    centres = (np.arange(len(opening) - 1) + 1.0) / FPS
    times = (np.arange(len(probability)) + 0.5) * WINDOW / SPEECH_RATE
    spoken = np.interp(centres, times, probability)
    motion = np.abs(np.diff(opening))
    seen = ~np.isnan(motion)
    found = []
    for where in (spoken >= 0.5, spoken < 0.2):
        chosen = motion[seen & where]
        found.append(float(chosen.mean()) if len(chosen) >= QUIET * FPS else float("nan"))
    return found[0], found[1]
