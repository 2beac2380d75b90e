"""MFCC as SyncNet was trained on: the defaults of `python_speech_features` 0.6, number for number.

librosa's differ in window, filter bank, lifter and first coefficient, which changes SyncNet's
scores.
"""

from __future__ import annotations

from functools import lru_cache

import numpy as np

COEFFICIENTS, FILTERS, FFT = 13, 26, 512
PREEMPHASIS, LIFTER = 0.97, 22


def mfcc(wave: np.ndarray, sample_rate: int = 16_000) -> np.ndarray:
    """Mel cepstrum `[N, 13]` at 100 Hz of a wave `[S]` in 16-bit units, windows of 25 ms.

    Coefficient 0 is the log energy; the last windows are padded with zeros.
    """
    from scipy.fft import dct

    wave = np.asarray(wave, np.float64)
    length, step = round(0.025 * sample_rate), round(0.01 * sample_rate)
    wave = np.append(wave[:1], wave[1:] - PREEMPHASIS * wave[:-1])
    count = 1 if len(wave) <= length else 1 + -(-(len(wave) - length) // step)
    wave = np.pad(wave, (0, max(0, (count - 1) * step + length - len(wave))))
    windows = np.lib.stride_tricks.sliding_window_view(wave, length)[::step][:count]
    power = np.abs(np.fft.rfft(windows, FFT)) ** 2 / FFT
    tiny = np.finfo(float).eps
    energy, bands = power.sum(1), power @ _filters(sample_rate).T
    bands[bands == 0] = tiny
    cepstrum = dct(np.log(bands), type=2, axis=1, norm="ortho")[:, :COEFFICIENTS]
    order = np.arange(COEFFICIENTS)
    cepstrum = cepstrum * (1 + LIFTER / 2 * np.sin(np.pi * order / LIFTER))
    cepstrum[:, 0] = np.log(np.where(energy == 0, tiny, energy))
    return np.asarray(cepstrum)


@lru_cache
def _filters(sample_rate: int) -> np.ndarray:
    """Triangles `[26, 257]` evenly spaced in mel from 0 to the Nyquist frequency."""
    top = 2595 * np.log10(1 + sample_rate / 2 / 700)
    hertz = 700 * (10 ** (np.linspace(0, top, FILTERS + 2) / 2595) - 1)
    edges = np.floor((FFT + 1) * hertz / sample_rate)
    bins = np.arange(FFT // 2 + 1)
    low, peak, high = (edges[k : k + FILTERS, None] for k in range(3))
    rising = np.where((bins >= low) & (bins < peak), (bins - low) / np.maximum(peak - low, 1), 0)
    falling = np.where(
        (bins >= peak) & (bins < high), (high - bins) / np.maximum(high - peak, 1), 0
    )
    return np.asarray(rising + falling)
