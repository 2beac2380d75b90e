"""Filters of the sound: level, clipping, speech (Silero VAD) and its quality (DNSMOS)."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import onnxruntime
from numpy.typing import NDArray

from paha_core.corpora.filters.clip_data import ClipData, FilterFailed
from paha_core.corpora.filters.sync_estimate import SPEECH_RATE

SILENCE_DB = -120.0
FULL_SCALE = 0.99  # samples beyond it count as clipped: codecs smear the flat tops a little
MOS_WINDOW = 144_160  # samples at 16 kHz that DNSMOS takes: 9.01 s
MOS_FIT = (-0.06766283, 1.11546468, 0.04602535)  # its polynomial from the network's scale to OVRL's
WINDOW, CONTEXT = 512, 64  # samples at 16 kHz that Silero VAD takes, and of the window before


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
        probability = speech_probability(clip.speech)
        share = float(np.mean(probability >= 0.5)) if probability.size else 0.0
        if share < self.min_share:
            raise FilterFailed(
                f"speech in {share:.0%} of the clip, {self.min_share:.0%} needed", share
            )
        return share


@dataclass(frozen=True)
class CleanSpeech:
    """DNSMOS' overall quality (P.835 OVRL, 1-5; Reddy et al. 2022) must reach `min_mos`.

    The network takes 9.01 s: a shorter clip is repeated, of a longer one there is a window each
    second (as in Microsoft's reference code, whose weights these are).
    """

    name: ClassVar[str] = "dnsmos_ovrl"
    min_mos: float = 2.0

    def check(self, clip: ClipData) -> float:
        mos = dnsmos(clip.speech)
        if mos < self.min_mos:
            reason = f"noisy or distorted speech: DNSMOS {mos:.2f}, {self.min_mos:g} needed"
            raise FilterFailed(reason, mos)
        return mos


def speech_probability(wave: NDArray[np.float32]) -> NDArray[np.float32]:
    """Silero VAD's probability of speech [N // 512] for each 32 ms of a wave [N] at 16 kHz."""
    session = _network("silero_vad", "data/silero_vad.onnx")
    state = np.zeros((2, 1, 128), np.float32)
    context = np.zeros(CONTEXT, np.float32)
    found = []
    for window in wave[: len(wave) // WINDOW * WINDOW].reshape(-1, WINDOW):
        heard = np.concatenate([context, window])[None].astype(np.float32)
        out, state = session.run(
            None, {"input": heard, "state": state, "sr": np.array(SPEECH_RATE, np.int64)}
        )
        found.append(out[0, 0])
        context = window[-CONTEXT:]
    return np.asarray(found, dtype=np.float32)


def dnsmos(wave: NDArray[np.float32]) -> float:
    """DNSMOS P.835 OVRL of a wave [N] at 16 kHz; 1, the scale's lowest, of digital silence."""
    if not np.any(wave):
        return 1.0
    heard = np.clip(wave, -1, 1)
    while len(heard) < MOS_WINDOW:
        heard = np.concatenate([heard, heard])
    session = _network("speechmos", "dnsmos_models/sig_bak_ovr.onnx")
    windows = int(len(heard) // SPEECH_RATE - MOS_WINDOW / SPEECH_RATE) + 1
    raw = []
    for start in range(0, windows * SPEECH_RATE, SPEECH_RATE):
        window = heard[None, start : start + MOS_WINDOW].astype(np.float32)
        (_signal, _background, overall), *_ = session.run(None, {"input_1": window})[0]
        raw.append(overall)
    return float(np.mean(np.polyval(MOS_FIT, raw)))


@cache
def _network(package: str, file: str) -> Any:
    # Weights straight from a wheel, on one thread, since many clips are scored at once: the
    # packages themselves set torch's threads, or take every core for each session.
    spec = find_spec(package)
    if spec is None or not spec.submodule_search_locations:
        raise ModuleNotFoundError(f"the filters of speech need the package {package}")
    options = onnxruntime.SessionOptions()
    options.inter_op_num_threads = options.intra_op_num_threads = 1
    path = str(Path(spec.submodule_search_locations[0]) / file)
    return onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
