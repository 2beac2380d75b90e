"""A text as a wav file, in the voice that the studio's presenters have: for those who have no
recording."""

from pathlib import Path

import numpy as np

from paha_core.config import Language
from paha_core.corpora.studio.speech import SAMPLE_RATE, Voice, speak
from paha_core.errors import UserError
from paha_core.media.audio import write_wav
from paha_core.store import published

_VOICES: dict[Language, Voice] = {
    "en": Voice("en-us", rate=160, pitch=46), "zh": Voice("cmn", rate=170, pitch=46)
}  # fmt: skip
_PEAK = 0.7
_SILENCE = 0.3  # seconds before and after, in which the mouth is shut


def write_speech(path: Path, text: str, language: Language = "en") -> float:
    """Speak `text` into the wav file `path`, mono at 22,050 Hz; returns its length in seconds.

    Raises `UserError` for a text of which nothing can be heard.
    """
    spoken = speak(text, _VOICES[language]) if text.strip() else None
    samples = spoken.samples.astype(np.float32) if spoken else np.zeros(0, np.float32)
    peak = float(np.abs(samples).max(initial=0))
    if not peak:
        raise UserError(f"there is nothing to say in {text!r}: give words in {language}")
    silence = np.zeros(round(_SILENCE * SAMPLE_RATE), np.float32)
    wave = np.concatenate([silence, samples * (_PEAK / peak), silence])
    with published(path) as temporary:
        write_wav(temporary, wave, SAMPLE_RATE)
    return len(wave) / SAMPLE_RATE
