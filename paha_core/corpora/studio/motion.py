"""The script of a programme turned into motion: mouth, lids, brows, head, breath and both hands.

Everything large follows the speech (lips the phonemes, strokes and nods the stressed syllables,
raised hands the phrases). What does not, sway and blinks, is kept to a few pixels.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from paha_core.corpora.studio.identities import Identity
from paha_core.corpora.studio.speech import Phoneme, is_vowel
from paha_core.corpora.studio.visemes import mouth_track

_BEAT_SPACING = 0.34  # seconds; a stress closer than this to the last beat gets none
_STROKE_REACH = 0.075  # of the crop's side, downwards
_PAUSE = 0.2  # seconds of silence that end a phrase


@dataclass(frozen=True)
class Motion:
    """What moves, one row a frame. Lengths are shares of the crop's side, angles radians.

    `mouth` float32 [T, 3] openness, width, rounding in 0..1; `blink` [T] 0 open..1 shut; `brow`
    [T] 0..1 raised; `head` [T, 3] dx, dy, roll; `breath` [T]; `wrists` [T, 2, 2] (hand, xy) from
    the crop's corner and `hand_angle` [T, 2], `spread` [T], hand 0 being at the image's left (the
    person's right). `beats` [B] is in seconds.
    """

    mouth: np.ndarray
    blink: np.ndarray
    brow: np.ndarray
    head: np.ndarray
    breath: np.ndarray
    wrists: np.ndarray
    hand_angle: np.ndarray
    spread: np.ndarray
    beats: np.ndarray


def make_motion(
    identity: Identity, phonemes: Sequence[Phoneme], frames: int, fps: int, seed: Sequence[int]
) -> Motion:
    """The motion of `frames` frames at `fps`; `seed` only moves blinks and sway."""
    random = np.random.default_rng(seed)
    times = np.arange(frames) / fps
    duration = frames / fps
    beats = beat_times(phonemes)
    speaking = _speaking(phonemes, times, duration)
    stroke = _strokes(beats, times)
    sway = [_drift(random, times) for _ in range(3)]
    nod = np.maximum(stroke, 0.0) * 0.010
    head = np.stack([0.004 * sway[0], 0.002 * sway[1] + nod, 0.010 * sway[2]], axis=1)
    wrists, angles = _hands(identity, speaking, stroke)
    return Motion(
        mouth=mouth_track(phonemes, duration, times),
        blink=_blinks(random, times, duration),
        brow=np.clip(np.maximum(stroke, 0.0) * 0.9, 0.0, 1.0),
        head=head,
        breath=0.003 * np.sin(2 * np.pi * 0.25 * times + random.uniform(0, 2 * np.pi)),
        wrists=wrists,
        hand_angle=angles,
        spread=0.4 * speaking + 0.6 * np.maximum(stroke, 0.0),
        beats=beats,
    )


def beat_times(phonemes: Sequence[Phoneme]) -> np.ndarray:
    """Where the hands strike: shortly after the onset of each stressed vowel. float32 [B], s."""
    beats: list[float] = []
    for phoneme, after in zip(phonemes, [*phonemes[1:], None], strict=True):
        if not (phoneme.stressed and is_vowel(phoneme.label)):
            continue
        length = after.start - phoneme.start if after else 0.1
        beat = phoneme.start + min(0.05, length / 2)
        if not beats or beat - beats[-1] >= _BEAT_SPACING:
            beats.append(beat)
    return np.asarray(beats, dtype=np.float32)


def _strokes(beats: np.ndarray, times: np.ndarray) -> np.ndarray:
    """[T]: up to -0.3 while a hand is lifted for a beat, 1 at the beat, 0 in between."""
    down = np.zeros(len(times))
    lift = np.zeros(len(times))
    for beat in beats.astype(np.float64):
        since = times - beat
        fall = np.where(since < 0, 1 + since / 0.14, 1 - since / 0.26)
        down = np.maximum(down, _smooth(np.clip(fall, 0.0, 1.0)))
        lift = np.maximum(lift, _smooth(np.clip(1 - np.abs(since + 0.17) / 0.13, 0.0, 1.0)))
    return down - 0.3 * lift * (1 - down)


def _smooth(x: np.ndarray) -> np.ndarray:
    return x * x * (3 - 2 * x)


def _speaking(phonemes: Sequence[Phoneme], times: np.ndarray, duration: float) -> np.ndarray:
    """[T]: 1 within phrases, 0 in pauses, with a quarter of a second of passage."""
    grid = np.arange(0.0, duration + 0.01, 0.01)
    on = np.zeros(len(grid))
    ends = [p.start for p in phonemes[1:]] + [duration]
    for phoneme, end in zip(phonemes, ends, strict=True):
        if phoneme.label != "_" or end - phoneme.start < _PAUSE:
            # hands sink only after a last beat is done, or they would blur its turning point
            on[round(phoneme.start * 100) : round((end + 0.15) * 100)] = 1.0
    kernel = np.hanning(33)[1:-1]
    padded = np.pad(on, 15, mode="edge")
    return np.interp(times, grid, np.convolve(padded, kernel / kernel.sum(), "valid"))


def _hands(
    identity: Identity, speaking: np.ndarray, stroke: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    look = identity.look
    wrists = np.empty((len(stroke), 2, 2))
    angles = np.empty((len(stroke), 2))
    for hand, (side, gain) in enumerate(((-1, 1.0), (1, identity.off_hand))):
        move = stroke * gain
        apart = 0.215 + 0.02 * speaking + 0.015 * move + look.hands_apart
        wrists[:, hand, 0] = 0.5 + side * apart
        height = 0.85 - look.hands_rise
        wrists[:, hand, 1] = height - 0.05 * speaking + _STROKE_REACH * look.reach * move
        angles[:, hand] = side * (0.08 + 0.06 * speaking + 0.12 * move)
    return wrists, angles


def _blinks(random: np.random.Generator, times: np.ndarray, duration: float) -> np.ndarray:
    """[T]: a blink each three to five seconds, shut for one frame or two."""
    shut = np.zeros(len(times))
    at = random.uniform(1.0, 3.0)
    while at < duration:
        shut = np.maximum(shut, np.clip(1.6 - np.abs(times - at) / 0.07, 0.0, 1.0))
        at += random.uniform(3.0, 5.0)
    return shut


def _drift(random: np.random.Generator, times: np.ndarray) -> np.ndarray:
    """[T]: slow, smooth wandering within -1..1: two sines of random phase."""
    total = np.zeros(len(times))
    for hertz, share in ((0.11, 0.6), (0.23, 0.4)):
        total += share * np.sin(2 * np.pi * hertz * times + random.uniform(0, 2 * np.pi))
    return total
