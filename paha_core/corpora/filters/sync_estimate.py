"""Estimates whether sound and lips belong together, and the offset between them.

No trained network is needed: for each shift of the sound it measures how well the sound predicts
the opening of the lips. One term is a regression on the energy in bands, fitted on one part of the
clip and evaluated on another; the other is the plain correlation with the mean of the bands. Their
sum peaks where sound and lips belong together. Both terms only use changes faster than half a
second, since slow changes of loudness are no evidence.
"""

from __future__ import annotations

from dataclasses import dataclass

import librosa
import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter1d

from paha_core.media import FPS

SPEECH_RATE = 16000  # Hz, as for all speech networks here
REACH = 15  # frames: the largest shift that is tried, either way
USUAL = 125  # frames: confidence is normalised to this length
SHORTEST = 50  # frames of the shortest usable clip
BANDS, HOP = 12, 160  # mel bands from 100 to 7000 Hz, samples from one spectrum to the next
SLOW = 12.0  # frames: sigma of the Gaussian whose output is subtracted
RIDGE, FOLDS, BETWEEN = 100.0, 5, 5  # penalty; parts of the clip; frames left out around a part
SURE = 1.0  # confidence from which an offset counts as sure: docs/results/sync.md
MIN_SHARE = 0.8  # of frames with a face

Signal = NDArray[np.float64]


@dataclass(frozen=True)
class Sync:
    """Where sound and lips fit best."""

    offset: int  # frames by which the sound comes late; negative: early
    confidence: float  # of the best fit over the median of all shifts, from 0
    sure: float = SURE  # confidence from which the offset counts as sure
    fits: tuple[float, ...] = ()  # of the estimate: of each shift from -REACH to REACH

    @property
    def is_sure(self) -> bool:
        return self.confidence >= self.sure


def estimate_sync(opening: Signal, wave: NDArray[np.float32]) -> Sync | None:
    """Estimate the offset from the lips' opening [T] at 25 fps and the wave [N] at 16 kHz that
    begins with it; None for a clip of less than 2 s, and where the face is seen too seldom."""
    seen = ~np.isnan(opening)
    frames = len(opening)
    if frames < SHORTEST or seen.mean() < MIN_SHARE:
        return None
    lips = _fast(np.interp(np.arange(frames), np.flatnonzero(seen), opening[seen]))
    sound = _fast(band_energy(wave, frames))
    shifts = np.arange(-REACH, REACH + 1)
    fit = np.array([_fit(lips, sound, int(shift)) for shift in shifts])
    return best_shift(fit, frames)


def best_shift(fits: NDArray[np.float64], frames: int) -> Sync:
    """The offset from the fit of each shift, from -REACH to REACH, over so many frames: of a clip,
    or the mean over the clips of a source."""
    best = int(fits.argmax())
    # Chance correlations shrink with the square root of the length.
    confidence = (fits[best] - np.median(fits)) * np.sqrt(frames / USUAL)
    return Sync(best - REACH, float(confidence), fits=tuple(fits.tolist()))


def band_energy(wave: NDArray[np.float32], frames: int) -> NDArray[np.float64]:
    """Log energy in mel bands [BANDS, frames], each the mean over its frame."""
    mel = librosa.feature.melspectrogram(
        y=wave, sr=SPEECH_RATE, n_fft=512, win_length=400, hop_length=HOP,
        n_mels=BANDS, fmin=100, fmax=7000,
    )  # fmt: skip
    energy = np.log(mel + 1e-6)
    each = SPEECH_RATE // FPS // HOP  # spectra of a frame
    energy = energy[:, : frames * each]
    energy = np.pad(energy, ((0, 0), (0, frames * each - energy.shape[1])), mode="edge")
    return np.asarray(energy.reshape(BANDS, frames, each).mean(axis=2), dtype=np.float64)


def _fast(curves: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.asarray(curves - gaussian_filter1d(curves, SLOW, axis=-1, mode="nearest"))


def _fit(lips: Signal, sound: NDArray[np.float64], shift: int) -> float:
    """How well the sound `shift` frames later explains the lips, -2 to 2."""
    frames = len(lips)
    early, late = max(0, -shift), max(0, shift)
    target = lips[early : frames - late]
    bands = sound[:, late : frames - early].T
    return _correlation(target, bands.mean(axis=1)) + _predicted(target, bands)


def _predicted(target: Signal, bands: NDArray[np.float64]) -> float:
    """Correlation of the lips with their prediction from the bands [T, B], each part's from a ridge
    regression on the others."""
    inputs = (bands - bands.mean(axis=0)) / (bands.std(axis=0) + 1e-9)
    wanted = gaussian_filter1d(target, 1.0)
    wanted = (wanted - wanted.mean()) / (wanted.std() + 1e-9)
    prediction = np.zeros(len(wanted))
    for part in np.array_split(np.arange(len(wanted)), FOLDS):
        others = np.ones(len(wanted), dtype=bool)
        others[max(0, part[0] - BETWEEN) : part[-1] + BETWEEN + 1] = False
        known = inputs[others]
        normal = known.T @ known + RIDGE * np.eye(BANDS)
        prediction[part] = inputs[part] @ np.linalg.solve(normal, known.T @ wanted[others])
    return _correlation(wanted, prediction)


def _correlation(a: Signal, b: Signal) -> float:
    a, b = a - a.mean(), b - b.mean()
    return float(a @ b / np.sqrt((a @ a) * (b @ b) + 1e-12))
