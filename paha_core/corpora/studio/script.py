"""What a programme says: sentences drawn from the list, joined to one track with its phonemes."""

from dataclasses import dataclass, replace

import numpy as np

from paha_core.corpora.studio.identities import Identity
from paha_core.corpora.studio.people import is_person, person_seed, presenter
from paha_core.corpora.studio.sentences import (
    ENGLISH,
    ENGLISH_TEST,
    MANDARIN,
    PEOPLE_ENGLISH,
    PEOPLE_MANDARIN,
)
from paha_core.corpora.studio.speech import SAMPLE_RATE, Phoneme, speak

_SHORTEST_INTERVAL = 4.4  # seconds; PATS clips of under 4 s are filtered at ingestion
_PEAK = 0.7


@dataclass(frozen=True)
class SpokenInterval:
    """A stretch of a programme as PATS lists it, in seconds."""

    start: float
    end: float


@dataclass(frozen=True)
class Script:
    """A programme's sound: `samples` int16 [N] mono at 22050 Hz, phonemes and intervals in s."""

    sentences: tuple[str, ...]
    samples: np.ndarray
    phonemes: tuple[Phoneme, ...]
    intervals: tuple[SpokenInterval, ...]

    @property
    def duration(self) -> float:
        return len(self.samples) / SAMPLE_RATE


def split_of(identity: Identity, programme: int) -> str:
    """ "train", "test" or "dev". Of the four, whole programmes are held out: 1, 9, 17, ... for test
    and 5, 13, ... for dev; of people, every sixteenth person."""
    if identity.form != "pats":
        return "train"  # CNAS is split by its ingestion
    if is_person(identity.name):
        return {3: "test", 11: "dev"}.get(person_seed(identity.name) % 16, "train")
    return {1: "test", 5: "dev"}.get(programme % 8, "train")


def write_script(name: str, programme: int, seconds: float, seed: int) -> Script:
    """The script of one programme of at least `seconds`, the same for the same arguments.

    Whole sentences fill intervals of at least 4.4 seconds, or of `seconds` where that is less.
    """
    identity = presenter(name)
    random = _generator(name, programme, seed)
    pool = _pool(identity, programme)
    pauses = (0.35, 0.7) if identity.form == "pats" else (0.18, 0.26)
    parts: list[np.ndarray] = []
    phonemes: list[Phoneme] = []
    spoken: list[str] = []
    intervals: list[SpokenInterval] = []
    at, begun, queue = 0.0, 0.0, []  # type: ignore[var-annotated]
    shortest = min(_SHORTEST_INTERVAL, seconds)

    def pause() -> None:
        nonlocal at
        parts.append(np.zeros(round(random.uniform(*pauses) * SAMPLE_RATE), dtype=np.int16))
        phonemes.append(Phoneme("_", at, False))
        at += len(parts[-1]) / SAMPLE_RATE

    pause()
    while at < seconds or begun > 0:
        queue = queue or list(random.permutation(len(pool)))
        text = pool[queue.pop()]
        if begun == 0:
            begun = at - 0.1
        rate = round(identity.voice.rate * random.uniform(0.92, 1.08))
        pitch = round(identity.voice.pitch + random.uniform(-4, 4))
        utterance = speak(text, replace(identity.voice, rate=rate, pitch=pitch))
        phonemes += [replace(p, start=p.start + at) for p in utterance.phonemes]
        parts.append(utterance.samples)
        spoken.append(text)
        at += len(utterance.samples) / SAMPLE_RATE
        ended = at
        pause()
        if ended - begun >= shortest:
            intervals.append(SpokenInterval(round(begun, 2), round(ended + 0.15, 2)))
            begun = 0.0
    samples = np.concatenate(parts).astype(np.float64)
    samples *= _PEAK * 32767 / np.abs(samples).max()
    sound = np.rint(samples).astype(np.int16)
    return Script(tuple(spoken), sound, tuple(phonemes), tuple(intervals))


def _generator(name: str, programme: int, seed: int) -> np.random.Generator:
    return np.random.default_rng([seed, programme, *name.encode()])


def _pool(identity: Identity, programme: int) -> tuple[str, ...]:
    drawn = is_person(identity.name)
    if identity.form == "cnas":
        return PEOPLE_MANDARIN if drawn else MANDARIN
    if split_of(identity, programme) != "train":
        return ENGLISH_TEST
    return PEOPLE_ENGLISH if drawn else ENGLISH
