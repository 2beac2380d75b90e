"""Live audio: the audio windows of each segment, as soon as its sound has arrived.

A segment of S frames can begin when its own sound is there, and the sound of the `margin` frames
after it that its last windows hold: S/25 + (margin + 1)/25 seconds after its first frame was
spoken. Its pictures follow after the time of one segment (`docs/generate.md`).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import numpy as np
import torch

from paha_core.inference.inputs import InputError
from paha_core.models.audio_encoder import SAMPLES_PER_FRAME, audio_windows
from paha_core.models.protocols import AudioEncoder

CONTEXT = 50  # frames before a segment that are encoded again as context: 2 s
AHEAD = 1  # frames after the last window that the encoder's own windows reach into


@dataclass(frozen=True)
class LiveSegment:
    """`windows` A(f) [S, 2m+1, layers, width] of a segment's frames, and float mono [N] at 16 kHz,
    the sound of the frames that it adds."""

    windows: torch.Tensor
    wave: np.ndarray

    @property
    def new_frames(self) -> int:
        return len(self.wave) // SAMPLES_PER_FRAME


def live_segments(
    chunks: Iterable[np.ndarray], encoder: AudioEncoder, segment_frames: int, margin: int
) -> Iterator[LiveSegment]:
    """The segments of a voice that arrives in `chunks`, float mono [N] at 16 kHz of any length.

    With an encoder that looks ahead by at most `AHEAD`, such as log-mel, they are bit-equal to
    those of the whole voice; one with unlimited context (wav2vec2) only gets the sound up to now.
    Raises `InputError` for less than two frames of sound.
    """
    source, heard = iter(chunks), np.zeros(0, np.float32)
    first, dropped, ended = 0, 0, False  # frames: of the segment; left out of `heard`
    while True:
        # 1. wait for the segment's sound, or for the end
        wanted = first + segment_frames + margin + AHEAD
        while not ended and dropped * SAMPLES_PER_FRAME + len(heard) < wanted * SAMPLES_PER_FRAME:
            chunk = next(source, None)
            ended = chunk is None
            heard = heard if chunk is None else np.concatenate([heard, chunk.astype(np.float32)])
        total = dropped + round(len(heard) / SAMPLES_PER_FRAME) if ended else wanted
        if ended and total < 2:
            raise InputError("the voice: shorter than two frames (0.08 s)")
        if first and total <= first + 1:  # its one frame is the last one of the segment before
            return

        # 2. features of the sound so far, with the context before it
        wave = _fitted(heard, total - dropped)
        features = encoder.encode(wave, total - dropped)
        stop = min(first + segment_frames, total)
        windows = audio_windows(features, margin, first - dropped, stop - dropped)
        held = windows[np.minimum(np.arange(segment_frames), stop - first - 1)]
        new = slice((first + bool(first) - dropped), stop - dropped)
        sound = wave[new.start * SAMPLES_PER_FRAME : new.stop * SAMPLES_PER_FRAME]
        yield LiveSegment(torch.from_numpy(held.astype(np.float32)), sound)
        if ended and stop == total:
            return

        # 3. drop what no later segment needs
        first += segment_frames - 1
        forget = max(0, first - margin - CONTEXT - dropped)
        heard, dropped = heard[forget * SAMPLES_PER_FRAME :], dropped + forget


def _fitted(wave: np.ndarray, frames: int) -> np.ndarray:
    samples = frames * SAMPLES_PER_FRAME
    return np.pad(wave[:samples], (0, max(0, samples - len(wave))))
