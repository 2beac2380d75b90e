"""Audio in and out: float32 waves, mono, in [-1, 1]."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import soundfile
from numpy.typing import NDArray

from paha_core.media.ffmpeg import MediaError, open_media, run, safe_input
from paha_core.media.streams import audio_stream

Wave = NDArray[np.float32]

# Options of ffmpeg's `aresample`: sample 0 is the file's time 0, and gaps in the track become
# silence. By default gaps under 0.1 s are dropped, which shifts all later samples.
IN_TIME = {"first_pts": 0, "async": 1, "min_hard_comp": 0.01}

CANCELLED = 0.05  # of the channels' power: below it opposite phases have cancelled the voice
LOUDEST = 10.0  # of the full scale of 1: beyond it float samples are in another unit


def read_audio(path: str | Path, sample_rate: int = 16000, seconds: float | None = None) -> Wave:
    """The default audio track of an audio or video file: float32 mono [N] at `sample_rate` Hz, or
    its first `seconds`.

    Sample 0 is the file's time 0: a track that starts later is padded with silence, so that it
    stays in sync with the picture. Raises `MediaError` when there is no audio, the file can't be
    read, or its samples lie far outside [-1, 1].
    """
    with open_media(path) as container:
        track = audio_stream(container)
        index, stereo = track.index, track.codec_context.channels == 2
    stream = safe_input(path)[str(index)]
    stream = stream.filter("aresample", sample_rate, resampler="soxr", **IN_TIME)
    limit = {} if seconds is None else {"t": seconds}
    raw = run(
        stream.output("pipe:1", format="f32le", ac=1 + stereo, acodec="pcm_f32le", **limit),
        timeout=None,
    )
    wave = np.frombuffer(raw, dtype="<f4").astype(np.float32)
    if not wave.size:
        raise MediaError("the audio track is empty")
    check_range(wave)
    return to_mono(wave.reshape(-1, 2)) if stereo else wave


def to_mono(wave: NDArray[np.float32]) -> Wave:
    """The mean of the channels [N, channels]; where that cancels them, the strongest channel."""
    mono = wave.mean(axis=1, dtype=np.float32)
    powers = np.einsum("nc,nc->c", wave, wave, dtype=np.float64) if len(wave) else np.zeros(1)
    if float(np.dot(mono, mono)) < CANCELLED * powers.mean():
        return np.ascontiguousarray(wave[:, int(powers.argmax())])
    return np.asarray(mono, dtype=np.float32)


def check_range(wave: NDArray[np.floating]) -> None:
    """Raises `MediaError` for float samples in another unit than full scale 1 (int16's, say), and
    for some that are no numbers."""
    peak = float(np.abs(wave).max(initial=0.0))
    if not np.isfinite(peak):
        raise MediaError("some of its samples are no finite numbers")
    if peak > LOUDEST:
        raise MediaError(f"its samples reach {peak:.0f}: float audio must lie in [-1, 1]")


def write_wav(path: str | Path, wave: NDArray[np.floating], sample_rate: int) -> None:
    """Write a wave [N] (or [N, channels]) as 16-bit wav; values beyond [-1, 1] are clipped."""
    pcm = np.round(np.clip(wave, -1, 1) * 32767).astype(np.int16)
    soundfile.write(str(path), pcm, sample_rate, subtype="PCM_16", format="WAV")


def pad_or_trim(wave: Wave, samples: int) -> Wave:
    """`wave` [N] cut or padded with silence at its end to exactly `samples`."""
    wave = np.asarray(wave, dtype=np.float32)
    if wave.ndim != 1:
        raise ValueError(f"a mono wave has one axis, got shape {wave.shape}")
    return np.pad(wave[:samples], (0, max(0, samples - len(wave))))
