"""Filters of the sound: level, clipping, speech (Silero VAD) and its quality (DNSMOS)."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from paha_core.corpora.filters.clip_data import ClipData, FilterFailed

SILENCE_DB = -120.0
FULL_SCALE = 0.99  # samples beyond it count as clipped: codecs smear the flat tops a little


@dataclass(frozen=True)
class Audible:
    """The mean level of the audio in dB of full scale must reach `min_db`."""

    name: ClassVar[str] = "mean_db"
    min_db: float = -60.0

    def check(self, clip: ClipData) -> float:
        power = float(np.mean(np.square(clip.wave, dtype=np.float64))) if clip.wave.size else 0.0
        level = max(SILENCE_DB, 10 * math.log10(power)) if power > 0 else SILENCE_DB
        if level < self.min_db:
            reason = f"silence: the mean level is {level:.0f} dB, under {self.min_db:g} dB"
            raise FilterFailed(reason, level)
        return level


@dataclass(frozen=True)
class Unclipped:
    """The share of samples at full scale is at most `max_share`."""

    name: ClassVar[str] = "clipped_share"
    max_share: float = 0.001

    def check(self, clip: ClipData) -> float:
        share = float(np.mean(np.abs(clip.wave) >= FULL_SCALE)) if clip.wave.size else 0.0
        if share > self.max_share:
            raise FilterFailed(f"the audio is clipped: {share:.1%} of it is at full scale", share)
        return share


@dataclass(frozen=True)
class SpeechShare:
    """The share of 32 ms windows that Silero VAD takes for speech must reach `min_share`."""

    name: ClassVar[str] = "speech_share"
    min_share: float = 0.5

    def check(self, clip: ClipData) -> float:
        probability = clip.speech_probability
        share = float(np.mean(probability >= 0.5)) if probability.size else 0.0
        if share < self.min_share:
            raise FilterFailed(
                f"speech in {share:.0%} of the clip, {self.min_share:.0%} needed", share
            )
        return share


@dataclass(frozen=True)
class CleanSpeech:
    """DNSMOS' overall quality (P.835 OVRL, 1-5; Reddy et al. 2022) must reach `min_mos`."""

    name: ClassVar[str] = "dnsmos_ovrl"
    min_mos: float = 2.0

    def check(self, clip: ClipData) -> float:
        mos, _ = clip.mos
        if mos < self.min_mos:
            reason = f"noisy or distorted speech: DNSMOS {mos:.2f}, {self.min_mos:g} needed"
            raise FilterFailed(reason, mos)
        return mos


@dataclass(frozen=True)
class CleanBackground:
    """DNSMOS' quality of the background (P.835 BAK, 1-5) must reach `min_mos`: music, noise and
    voices beside the speaker's lower it."""

    name: ClassVar[str] = "dnsmos_background"
    min_mos: float = 2.9

    def check(self, clip: ClipData) -> float:
        _, mos = clip.mos
        if mos < self.min_mos:
            reason = f"music, noise or another voice beside the speech: DNSMOS BAK {mos:.2f}"
            raise FilterFailed(f"{reason}, {self.min_mos:g} needed", mos)
        return mos
