"""Do the gestures' beats meet the speech's?

Times are seconds. `beat_alignment(audio, motion)` is the Beat Alignment Score in Bailando's
direction (over audio beats), reported as `bas`; `beat_alignment(motion, audio)` is AIST++'s (over
motion beats), `bas_aist`. Their scale is ours, not the paper's: speed smoothed over 1 frame and a
tolerance of 0.12 s find three times as many beats as Bailando's code, which `bailando_score` is to
the letter. All take minima of speed, of which a rest has one as well as a stroke: they reward
motion and don't claim sync. `beat_error` does, from the ends of the strokes and the true beats.
"""

from __future__ import annotations

import numpy as np

from paha_core.metrics.protocol import PROTOCOL


def beat_alignment(
    beats: np.ndarray,
    others: np.ndarray,
    *,
    fps: float = PROTOCOL.fps,
    sigma: float = PROTOCOL.beat_tolerance,
) -> float | None:
    """Mean over `beats` `[B]` of exp(-d^2 / (2 sigma^2)), d: frames to the nearest of `others`
    `[C]`; 0 to 1.

    None when there are no `beats`: the score does not exist. No `others` is a real 0 (a frozen
    video meets none).
    """
    beats, others = np.asarray(beats, np.float64), np.asarray(others, np.float64)
    if not len(beats):
        return None
    if not len(others):
        return 0.0
    frames = np.abs(beats[:, None] - others[None]).min(1) * fps
    return float(np.exp(-(frames**2) / (2 * sigma**2)).mean())


def motion_beats(
    points: np.ndarray,
    *,
    fps: float = PROTOCOL.fps,
    sigma: float = PROTOCOL.beat_smoothing,
    min_dip: float = PROTOCOL.beat_min_dip,
) -> np.ndarray:
    """Times `[B]` at which the mean joint speed, smoothed over `sigma` frames, has a local minimum.

    `points` `[T, K, 2]` in shoulder widths, without gaps, at `fps`. The speed between the frames f
    and f + 1 belongs to the instant (f + 1)/fps, since frame f covers f/fps to (f + 1)/fps. AIST++
    takes the same minima; here a minimum lies at least `min_dip` below its surroundings, or the
    detector's jitter would give a frozen video as many beats as a real one.
    """
    from scipy.ndimage import gaussian_filter1d
    from scipy.signal import find_peaks

    if len(points) < 4:
        return np.zeros(0)
    speed = np.linalg.norm(np.diff(np.asarray(points, np.float64), axis=0), axis=-1).mean(-1)
    speed = gaussian_filter1d(speed, sigma)
    minima, _ = find_peaks(-speed, prominence=min_dip)
    return (minima + 1) / fps


def bailando_score(
    points: np.ndarray, audio: np.ndarray, *, fps: float = PROTOCOL.fps
) -> float | None:
    """Bailando's `BA(music_beats, calc_db(keypoints))` on our points `[T, K, 2]` and audio beats
    `[B]` in seconds, 0 to 1: a Gaussian of 5 frames over the mean speed, every strict minimum a
    beat, a tolerance of 3 frames. Frames are frames there, at 60 fps, and here, at 25.

    None when there are no audio beats; 0 without a minimum, where the published code stops.
    """
    from scipy.ndimage import gaussian_filter
    from scipy.signal import argrelextrema

    if not len(audio):
        return None
    speed = np.mean(np.sqrt(np.sum(np.diff(np.asarray(points, np.float64), axis=0) ** 2, 2)), 1)
    motion = argrelextrema(gaussian_filter(speed, 5), np.less)[0]
    if not len(motion):
        return 0.0
    frames = (np.asarray(audio) * fps).astype(int)
    gaps = np.abs(frames[:, None] - motion[None]).min(1).astype(np.float64)
    return float(np.exp(-(gaps**2) / 2 / 9).mean())


def stroke_ends(
    points: np.ndarray,
    *,
    fps: float = PROTOCOL.fps,
    sigma: float = PROTOCOL.stroke_smoothing,
    min_rise: float = PROTOCOL.stroke_min_rise,
) -> np.ndarray:
    """Times `[B]` at which a stroke turns: peaks of the mean joint acceleration, smoothed over
    `sigma` frames, that rise at least `min_rise` above their surroundings.

    `points` `[T, K, 2]` in shoulder widths, without gaps, at `fps`. The second difference at frame
    f belongs to the middle of that frame.
    """
    from scipy.ndimage import gaussian_filter1d
    from scipy.signal import find_peaks

    if len(points) < 5:
        return np.zeros(0)
    second = np.diff(np.asarray(points, np.float64), 2, axis=0)
    acceleration = gaussian_filter1d(np.linalg.norm(second, axis=-1).mean(-1), sigma)
    peaks, _ = find_peaks(acceleration, prominence=min_rise)
    return (peaks + 1.5) / fps


def audio_beats(wave: np.ndarray, *, sample_rate: int = PROTOCOL.sample_rate) -> np.ndarray:
    """Times `[B]` of onsets in mono speech `[N]`, float in -1 to 1.

    librosa's onset detector as in HA2G, at a hop of 10 ms: of 20 clicks it finds 20, 5 ms late,
    where the default hop of 32 ms that HA2G has finds 37, 19 ms late.
    """
    import librosa

    if not np.any(wave):
        return np.zeros(0)
    onsets = librosa.onset.onset_detect(
        y=np.asarray(wave, np.float32), sr=sample_rate, hop_length=160, units="time"
    )
    return np.asarray(onsets, np.float64)


def beat_error(
    seen: np.ndarray, truth: np.ndarray, *, cap: float = PROTOCOL.beat_error_cap
) -> float | None:
    """Mean seconds between a video's `stroke_ends` `[B]` and the true beats `[C]`, 0 to `cap`.

    From each side to the nearest of the other, and the mean of both: many beats do not help. A
    video without strokes meets none: `cap`. None when there are no true beats.
    """
    seen, truth = np.asarray(seen, np.float64), np.asarray(truth, np.float64)
    if not len(truth):
        return None
    if not len(seen):
        return cap
    gaps = np.minimum(np.abs(seen[:, None] - truth[None]), cap)
    return float((gaps.min(0).mean() + gaps.min(1).mean()) / 2)
