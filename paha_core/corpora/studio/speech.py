"""Text to speech with the time of every phoneme, by espeak-ng through ctypes.

    utterance = speak("The weather is bright.", Voice("en-us+f3"))
    utterance.samples      # int16 [N], mono, 22050 Hz
    utterance.phonemes[0]  # Phoneme(label="D", start=0.011, stressed=False)

`speak` is a pure function of its arguments: the same text and voice give the same samples.
"""

import _ctypes
import ctypes
import re
import shutil
import tempfile
from dataclasses import dataclass
from pathlib import Path

import numpy as np

SAMPLE_RATE = 22_050
ENGINE = "espeak-ng 1.52.0"  # what `espeakng-loader` 0.2.4 carries; part of every recipe

_AUDIO_OUTPUT_SYNCHRONOUS = 2
_PHONEME_EVENTS, _DONT_EXIT = 0x0001, 0x8000
_EVENT_END, _EVENT_PHONEME = 0, 7
_CHARS_UTF8 = 1
_RATE, _PITCH, _RANGE = 1, 3, 4
_PAUSES = ("_", "|")  # mnemonics of silence start with one of these
_TONE_4 = "51"


@dataclass(frozen=True)
class Voice:
    """An espeak-ng voice: its name with an optional variant, words a minute, pitch and range."""

    name: str
    rate: int = 160
    pitch: int = 50
    pitch_range: int = 60


@dataclass(frozen=True)
class Phoneme:
    """One phoneme: espeak's mnemonic without its stress mark ("_" for silence), start in seconds.

    `stressed` marks the syllables a speaker would beat time to: primary stress in English, the
    falling fourth tone and the first syllable of a phrase in Mandarin.
    """

    label: str
    start: float
    stressed: bool


@dataclass(frozen=True)
class Utterance:
    """Speech: `samples` int16 [N] mono at 22050 Hz, `phonemes` in order of time."""

    samples: np.ndarray
    phonemes: tuple[Phoneme, ...]


class _EventId(ctypes.Union):
    _fields_ = [("number", ctypes.c_int), ("string", ctypes.c_char * 8)]


class _Event(ctypes.Structure):
    _fields_ = [
        ("type", ctypes.c_int),
        ("unique_identifier", ctypes.c_uint),
        ("text_position", ctypes.c_int),
        ("length", ctypes.c_int),
        ("audio_position", ctypes.c_int),
        ("sample", ctypes.c_int),
        ("user_data", ctypes.c_void_p),
        ("id", _EventId),
    ]


_Callback = ctypes.CFUNCTYPE(
    ctypes.c_int, ctypes.POINTER(ctypes.c_short), ctypes.c_int, ctypes.POINTER(_Event)
)


def speak(text: str, voice: Voice) -> Utterance:
    """Speak `text` (one sentence) and trim the silence after the last phoneme."""
    import espeakng_loader

    # espeak-ng keeps oscillator and noise state in static variables that neither a new seed nor
    # espeak_Terminate resets, so earlier speech changes later speech. A private copy of
    # the library starts from zero, and also lets threads speak side by side.
    with tempfile.TemporaryDirectory() as folder:
        copy = shutil.copy(espeakng_loader.get_library_path(), Path(folder) / "espeak.so")
        library = ctypes.CDLL(str(copy))
        try:
            return _speak_with(library, espeakng_loader.get_data_path(), text, voice)
        finally:
            library.espeak_Terminate()
            _ctypes.dlclose(library._handle)


def _speak_with(library: ctypes.CDLL, data: str, text: str, voice: Voice) -> Utterance:
    chunks: list[bytes] = []
    raw: list[tuple[int, str]] = []  # (sample index, mnemonic)

    def receive(wave, count, events) -> int:
        if wave:
            chunks.append(ctypes.string_at(wave, count * 2))
        i = 0
        while events[i].type != _EVENT_END:
            if events[i].type == _EVENT_PHONEME:
                raw.append((events[i].sample, events[i].id.string.decode()))
            i += 1
        return 0

    options = _PHONEME_EVENTS | _DONT_EXIT
    rate = library.espeak_Initialize(_AUDIO_OUTPUT_SYNCHRONOUS, 0, data.encode(), options)
    if rate != SAMPLE_RATE:
        raise RuntimeError(f"espeak-ng could not start: sample rate {rate}, not {SAMPLE_RATE}")
    callback = _Callback(receive)
    library.espeak_SetSynthCallback(callback)
    library.espeak_ng_SetRandSeed(1)
    if library.espeak_SetVoiceByName(voice.name.encode()) != 0:
        raise RuntimeError(f"espeak-ng has no voice {voice.name!r}")
    for parameter, value in ((_RATE, voice.rate), (_PITCH, voice.pitch)):
        library.espeak_SetParameter(parameter, value, 0)
    library.espeak_SetParameter(_RANGE, voice.pitch_range, 0)

    utf8 = text.encode()
    library.espeak_Synth(utf8, len(utf8) + 1, 0, 1, 0, _CHARS_UTF8, None, None)
    library.espeak_Synchronize()
    samples = np.frombuffer(b"".join(chunks), dtype=np.int16)
    if voice.name.startswith("cmn"):
        stressed = _fourth_tones(_transcribe(library, text), [label for _, label in raw])
    else:
        stressed = [label.startswith("'") for _, label in raw]
    return _trim(samples, [(n, label.lstrip("',%=")) for n, label in raw], stressed)


def _transcribe(library: ctypes.CDLL, text: str) -> str:
    """The phonemes of `text` as espeak writes them, tones included ("n'i214X'Au214_|")."""
    library.espeak_TextToPhonemes.restype = ctypes.c_char_p
    position = ctypes.pointer(ctypes.c_char_p(text.encode()))
    clauses = []
    while position.contents.value:
        clauses.append(library.espeak_TextToPhonemes(position, _CHARS_UTF8, 0).decode())
        if not position or not position.contents:
            break
    return "_:".join(clauses)


def _fourth_tones(transcription: str, labels: list[str]) -> list[bool]:
    """Which labels begin a syllable's vowel in tone 4 or at the start of a phrase.

    Phoneme events carry no tone; the transcription does. Both list the same vowels in the same
    order, so the n-th vowel's tone is the n-th tone.
    """
    tones = re.findall(r"(?<![0-9])[1-5]{2,3}", transcription)
    stressed, n, after_pause = [], 0, True
    for label in labels:
        if label.startswith("_:") or label == "_":
            after_pause = True
        vowel = is_vowel(label)
        stressed.append(vowel and (after_pause or (n < len(tones) and tones[n] == _TONE_4)))
        if vowel:
            n, after_pause = n + 1, False
    return stressed


def is_vowel(label: str) -> bool:
    """Whether an espeak mnemonic is a vowel's (or a syllabic consonant's, such as "@L")."""
    return label.lstrip("',%=")[:1] in set("aAeEiIoOuUyV@03&")


def _trim(samples: np.ndarray, raw: list[tuple[int, str]], stressed: list[bool]) -> Utterance:
    while raw and raw[-1][1].startswith(_PAUSES):
        end, _ = raw.pop()
    end = min(end, len(samples))
    phonemes = tuple(
        Phoneme("_" if label.startswith(_PAUSES) else label, sample / SAMPLE_RATE, mark)
        for (sample, label), mark in zip(raw, stressed, strict=False)
    )
    return Utterance(samples[:end].copy(), phonemes)
