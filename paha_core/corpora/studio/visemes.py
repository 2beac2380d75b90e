"""From phonemes to the mouth: a table of lip shapes, and the track they make over time.

A shape is (openness, width, rounding), each 0..1: openness 0 is closed, width 0.5 is the resting
mouth, rounding 1 is a tight "oo". Two shapes make a diphthong, half of its time each.
"""

from collections.abc import Sequence

import numpy as np

from paha_core.corpora.studio.speech import Phoneme

Shape = tuple[float, float, float]

REST: Shape = (0.0, 0.5, 0.0)
_AH, _A, _E, _I = (1.0, 0.55, 0.0), (0.95, 0.65, 0.0), (0.62, 0.75, 0.0), (0.34, 0.95, 0.0)
_SCHWA, _O, _U = (0.5, 0.5, 0.1), (0.72, 0.3, 0.75), (0.34, 0.2, 1.0)
_ER, _Y = (0.45, 0.4, 0.4), (0.3, 0.25, 0.95)

VOWELS: dict[str, tuple[Shape, ...]] = {
    # English, espeak's en-us
    "@": (_SCHWA,), "@2": (_SCHWA,), "@5": (_SCHWA,), "@L": (_SCHWA, (0.3, 0.5, 0.1)),
    "3": (_ER,), "3:": (_ER,), "a": (_A,), "a#": (_SCHWA,), "aa": (_A,), "aI": (_AH, _I),
    "aI@": (_AH, _SCHWA), "aI3": (_AH, _ER), "aU": (_AH, _U), "aU@": (_AH, _SCHWA),
    "A:": (_AH,), "A@": (_AH, _ER), "A#": (_AH,), "E": (_E,), "E#": (_SCHWA,),
    "e@": (_E, _ER), "e": (_E,), "eI": (_E, _I), "I": (_I,), "I#": (_I,), "I2": (_I,), "I2#": (_I,),
    "IR": (_I, _ER), "i": (_I,), "i:": (_I,), "i@": (_I, _SCHWA), "i@3": (_I, _ER), "0": (_AH,),
    "0#": (_AH,), "02": (_AH,), "O": (_O,), "O:": (_O,), "O@": (_O, _ER), "O2": (_O,),
    "OI": (_O, _I), "oU": (_O, _U), "oU#": (_O, _U), "o@": (_O, _ER), "U": (_U,), "U@": (_U, _ER),
    "u:": (_U,), "u": (_U,), "V": (_AH,), "VR": (_ER,),
    # Mandarin, espeak's cmn
    "A": (_AH,), "ai": (_AH, _I), "Au": (_AH, _U), "ei": (_E, _I), "ou": (_O, _U), "o": (_O,),
    "o-": (_E,), "ong": (_O, _U), "uo": (_U, _O), "ua": (_U, _AH), "uA": (_U, _AH),
    "uai": (_U, _AH), "uei": (_U, _E), "u@": (_U, _SCHWA), "iE": (_I, _E), "iA": (_I, _AH),
    "ia": (_I, _AH), "iAu": (_I, _AH), "iou": (_I, _O), "i.": ((0.26, 0.75, 0.0),),
    "i[": ((0.26, 0.75, 0.0),), "y": (_Y,), "yE": (_Y, _E), "y&": (_Y, _E), "yu": (_Y, _U),
    "y@": (_Y, _SCHWA), "@r": (_ER,), "er": (_ER,),
}  # fmt: skip

# By first character, which holds for both voices: "tS;h", "ts.h" and "t#" are all of the "t" kind.
_CONSONANTS: dict[str, Shape] = {
    "p": (0.0, 0.5, 0.1), "b": (0.0, 0.5, 0.1), "m": (0.0, 0.5, 0.1),
    "f": (0.06, 0.55, 0.0), "v": (0.06, 0.55, 0.0),
    "t": (0.2, 0.6, 0.0), "d": (0.2, 0.6, 0.0), "n": (0.22, 0.55, 0.0), "l": (0.3, 0.55, 0.0),
    "s": (0.14, 0.75, 0.0), "z": (0.14, 0.75, 0.0), "T": (0.2, 0.55, 0.0), "D": (0.2, 0.55, 0.0),
    "k": (0.28, 0.55, 0.0), "g": (0.28, 0.55, 0.0), "N": (0.26, 0.5, 0.0), "x": (0.3, 0.5, 0.0),
    "X": (0.3, 0.5, 0.0), "h": (0.35, 0.5, 0.0), "j": (0.24, 0.85, 0.0), "w": (0.2, 0.15, 1.0),
    "r": (0.24, 0.35, 0.5), "R": (0.24, 0.35, 0.5), "S": (0.2, 0.35, 0.5), "Z": (0.2, 0.35, 0.5),
    "?": (0.25, 0.5, 0.0), ";": (0.24, 0.85, 0.0), "_": REST,
}  # fmt: skip

_HUSHING = ("tS", "dZ", "ts.", "s.", "z.")  # rounded, though their first letter is not
_STEP = 1 / 400  # seconds of the fine track
_LEAD = 0.035  # lips move ahead of the sound
_SIGMA = 0.026  # of the Gaussian that blends neighbours: 61 ms at half height
_SHORT_GAP = 0.09  # a shorter silence is a stop's closure or a word break: the mouth stays


def shapes(label: str) -> tuple[Shape, ...]:
    """The lip shapes of one espeak mnemonic. Unknown ones raise KeyError with their name."""
    if label in VOWELS:
        return VOWELS[label]
    if label.startswith(_HUSHING) and ";" not in label:
        return ((0.2, 0.35, 0.5),)
    if label[:1] in _CONSONANTS:
        return (_CONSONANTS[label[0]],)
    raise KeyError(f"no lip shape for espeak phoneme {label!r}")


def is_bilabial(label: str) -> bool:
    """Whether the lips meet: p, b, m in both languages."""
    return label[:1] in ("p", "b", "m")


def mouth_track(phonemes: Sequence[Phoneme], duration: float, times: np.ndarray) -> np.ndarray:
    """Openness, width and rounding at `times` (seconds, [T]): float32 [T, 3], each 0..1."""
    grid = np.arange(0.0, duration + _STEP, _STEP)
    targets = np.tile(np.asarray(REST), (len(grid), 1))
    ends = [p.start for p in phonemes[1:]] + [duration]
    for phoneme, end in zip(phonemes, ends, strict=True):
        if phoneme.label == "_" and end - phoneme.start < _SHORT_GAP:
            continue
        parts = shapes(phoneme.label)
        edges = np.linspace(phoneme.start, end, len(parts) + 1) - _LEAD
        for shape, start, stop in zip(parts, edges[:-1], edges[1:], strict=True):
            targets[_span(start, stop, len(grid))] = shape
    _fill_short_gaps(targets, phonemes, ends)
    track = _blend(targets)
    track[:, 0] *= _closure(phonemes, ends, grid)
    return np.stack([np.interp(times, grid, track[:, i]) for i in range(3)], 1).astype(np.float32)


def _span(start: float, stop: float, size: int) -> slice:
    return slice(max(0, round(start / _STEP)), min(size, max(0, round(stop / _STEP))))


def _fill_short_gaps(
    targets: np.ndarray, phonemes: Sequence[Phoneme], ends: Sequence[float]
) -> None:
    """A gap too short for a pause holds the shape before it, half as open."""
    for phoneme, end in zip(phonemes, ends, strict=True):
        if phoneme.label == "_" and end - phoneme.start < _SHORT_GAP:
            span = _span(phoneme.start - _LEAD, end - _LEAD, len(targets))
            targets[span] = targets[max(0, span.start - 1)] * (0.5, 1.0, 1.0)


def _blend(targets: np.ndarray) -> np.ndarray:
    """Co-articulation: every moment is a Gaussian-weighted mean of the targets around it."""
    reach = round(3 * _SIGMA / _STEP)
    kernel = np.exp(-0.5 * (np.arange(-reach, reach + 1) * _STEP / _SIGMA) ** 2)
    padded = np.pad(targets, ((reach, reach), (0, 0)), mode="edge")
    columns = [np.convolve(padded[:, i], kernel / kernel.sum(), "valid") for i in range(3)]
    return np.stack(columns, 1)


def _closure(phonemes: Sequence[Phoneme], ends: Sequence[float], grid: np.ndarray) -> np.ndarray:
    """A factor 0..1 [len(grid)] that is 0 while the lips meet and where there is silence.

    espeak reports a stop at its burst, so its lips meet before its start. The flat part lasts at
    least 44 ms, longer than a frame at 25 fps: no sampling can miss it.
    """
    factor = np.ones(len(grid))
    for phoneme, end in zip(phonemes, ends, strict=True):
        silent = phoneme.label == "_" and end - phoneme.start >= _SHORT_GAP
        if silent:
            start, stop = phoneme.start + 0.05, end - 0.05
        elif phoneme.label[:1] == "m":
            start, stop = phoneme.start - 0.01, max(end - 0.02, phoneme.start + 0.036)
        elif is_bilabial(phoneme.label):
            start, stop = phoneme.start - 0.042, phoneme.start + 0.004
        else:
            continue
        away = np.maximum(np.maximum(start - grid, grid - stop), 0.0)
        factor = np.minimum(factor, np.clip(away / 0.045, 0.0, 1.0))
    return factor
