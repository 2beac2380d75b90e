"""Sound shifted, exchanged and overlaid on talking people: what the filters of sync find.

    python benchmarks/studies/sync.py FOLDER_OF_VIDEOS [MORE …]

Every video shows one person who speaks. Its lips are read once; then windows of 3, 4 and 5 s are
compared with the sound of the same moment moved by known amounts (-10 to 10 frames), with another
video's sound, and with another person beside them (who of the two speaks). `--background` adds
DNSMOS' background quality of the voices alone and with another voice mixed in.
"""

from __future__ import annotations

import argparse
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from paha_core.corpora.filters.clip_data import ClipData
from paha_core.corpora.filters.lips import track_face
from paha_core.corpora.filters.networks import dnsmos, speech_probability
from paha_core.corpora.filters.sync_estimate import SPEECH_RATE, best_shift, estimate_sync
from paha_core.corpora.speaking import Person, who_speaks
from paha_core.engine.manifest_stage import Rejection
from paha_core.media import FPS
from paha_core.media.audio import read_audio
from paha_core.media.probe import probe
from paha_core.media.timeline import frames_at_rate

SAMPLES = SPEECH_RATE // FPS
SHIFTS = (-10, -6, -3, -1, 0, 1, 3, 6, 10)  # frames that the sound is late
ROOM = 12  # frames kept free at both ends, so that every shift fits
STEP = 25  # frames from one window to the next
LEVELS = (0, 6, 12)  # dB of the second voice below the first


@dataclass(frozen=True)
class Talk:
    """A person's lips, opening [T] at 25 fps, and the voice [N] at 16 kHz."""

    name: str
    opening: NDArray[np.float64]
    wave: NDArray[np.float32]

    def sound(self, first: int, frames: int, late: int = 0) -> NDArray[np.float32]:
        begin = (first - late) * SAMPLES
        return self.wave[begin : begin + frames * SAMPLES]

    def starts(self, frames: int) -> range:
        count = min(len(self.opening), len(self.wave) // SAMPLES)
        return range(ROOM, count - frames - ROOM + 1, STEP)


def read(path: Path) -> Talk | None:
    info = probe(path)
    if not info.audio_rate:
        return None
    frames = int(info.duration * FPS)
    shown = (frame.to_rgb() for frame in frames_at_rate(path, FPS, frames))
    return Talk(path.stem, track_face(shown).opening, read_audio(path, SPEECH_RATE))


def shifted(talks: list[Talk], frames: int) -> str:
    """A row of the table: offsets found of sound moved by known amounts, and of another's sound."""
    errors, sure, alarms, honest = [], [], 0, 0
    foreign = 0
    swapped = 0
    for number, talk in enumerate(talks):
        for turn, first in enumerate(talk.starts(frames)):
            opening = talk.opening[first : first + frames]
            for late in SHIFTS:
                sync = estimate_sync(opening, talk.sound(first, frames, late))
                if sync is None:
                    continue
                errors.append(abs(sync.offset - late))
                sure.append(sync.is_sure)
                honest += late == 0
                alarms += late == 0 and sync.is_sure and abs(sync.offset) > 1
            for other in talks[:number] + talks[number + 1 :]:
                begins = other.starts(frames)
                if begins:
                    sound = other.sound(begins[turn % len(begins)], frames)
                    sync = estimate_sync(opening, sound)
                    swapped += sync is not None
                    foreign += sync is not None and sync.is_sure
    found = np.array(errors)
    surely = found[np.array(sure)] if any(sure) else np.zeros(0)
    right = f"{np.mean(surely <= 1):.0%} of {len(surely)}" if len(surely) else "none is sure"
    shares = f"{np.mean(found <= 1):.1%} | {np.mean(found == 0):.0%} | {np.mean(sure):.0%}"
    known = f"{alarms} of {honest} | {foreign} of {swapped}"
    return f"| {frames / FPS:g} s | {len(found)} | {shares} | {right} | {known} |"


def by_video(talks: list[Talk], frames: int) -> str:
    """A line: of each video, how often the offset is found within one frame."""
    parts = []
    for talk in talks:
        errors = [
            abs(sync.offset - late)
            for first in talk.starts(frames)
            for late in SHIFTS
            if (sync := estimate_sync(talk.opening[first : first + frames],
                                      talk.sound(first, frames, late)))
        ]  # fmt: skip
        if errors:
            parts.append(f"{talk.name} {np.mean(np.array(errors) <= 1):.0%} of {len(errors)}")
    return f"{frames / FPS:g} s: {'; '.join(parts)}"


def of_sources(talks: list[Talk], frames: int) -> str:
    """A line: how often the mean over a source's windows finds the shift within one frame."""
    counts = {"right": 0, "sure": 0, "sure and wrong": 0}
    asked = 0
    for talk in talks:
        starts = talk.starts(frames)[:: max(1, frames // STEP)]
        for late in SHIFTS:
            syncs = [
                estimate_sync(talk.opening[n : n + frames], talk.sound(n, frames, late))
                for n in starts
            ]
            fits = [sync.fits for sync in syncs if sync]
            if not fits:
                continue
            sync = best_shift(np.mean(fits, axis=0), frames * len(fits))
            right = abs(sync.offset - late) <= 1
            asked += 1
            counts["right"] += right
            counts["sure"] += sync.is_sure
            counts["sure and wrong"] += sync.is_sure and not right
    listed = ", ".join(f"{name} {count}" for name, count in counts.items())
    return f"sources of windows of {frames / FPS:g} s: {asked} asked, {listed}"


def beside(talks: list[Talk], frames: int) -> str:
    """A row: of two people side by side, whose sound it is, where both move their lips: by the
    better fit alone, and as the filter decides; and where the other one rests."""
    better, decided, rests = [], [], []
    for number, talk in enumerate(talks):
        for turn, first in enumerate(talk.starts(frames)):
            sound = talk.sound(first, frames)
            clip = ClipData([], np.zeros((frames, 1, 1), np.uint8), sound)
            own = talk.opening[first : first + frames]
            for other in talks[:number] + talks[number + 1 :]:
                begins = other.starts(frames)
                if not begins:
                    continue
                begin = begins[turn % len(begins)]
                theirs = other.opening[begin : begin + frames]
                mine, others = (estimate_sync(lips, sound) for lips in (own, theirs))
                if mine and others:
                    better.append(mine.confidence > others.confidence)
                decided.append(chosen(person(own), person(theirs), clip))
                still = np.full(frames, np.nanmin(theirs))
                rests.append(chosen(person(own), person(still), clip) == "right")
    shares = [f"{np.mean([d == kind for d in decided]):.0%}" for kind in ("right", "other")]
    cells = (len(decided), f"{np.mean(better):.0%}", *shares, f"{np.mean(rests):.0%}")
    return f"| {frames / FPS:g} s | {' | '.join(map(str, cells))} |"


def person(opening: NDArray[np.float64]) -> Person:
    return Person([(0.0, 0.0, 1.0, 1.0)], opening)


def chosen(own: Person, other: Person, clip: ClipData) -> str:
    try:
        return "right" if who_speaks([other, own], clip) is own else "other"
    except Rejection:
        return "unclear"


def background(talks: list[Talk], frames: int) -> str:
    """DNSMOS' background of the voices, alone and with the next talk's voice so much below."""
    parts = []
    for level in (None, *LEVELS):
        scores = []
        for number, talk in enumerate(talks):
            for first in list(talk.starts(frames))[::4]:
                sound = talk.sound(first, frames)
                if level is not None:
                    other = talks[(number + 1) % len(talks)].wave[: len(sound)]
                    other = np.pad(other, (0, len(sound) - len(other)))
                    ratio = np.sqrt(np.mean(sound**2) / np.mean(other**2))
                    sound = sound + other * np.float32(ratio * 10 ** (-level / 20))
                if speech_probability(sound).mean() > 0.3:
                    scores.append(dnsmos(sound)[1])
        named = "alone" if level is None else f"{level} dB below"
        share = np.mean(np.array(scores) < 2.9)
        parts.append(f"{named}: {share:.0%} of {len(scores)} under 2.9, least {min(scores):.2f}")
    return "\n".join(parts)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folders", nargs="+", type=Path)
    parser.add_argument("--seconds", nargs="*", type=float, default=[3, 4, 5, 8])
    parser.add_argument("--background", action="store_true", help="overlaid voices too")
    given = parser.parse_args()
    files = [path for folder in given.folders for path in sorted(folder.rglob("*.mp4"))]
    talks = [talk for path in files if (talk := read(path))]
    for talk in talks:
        print(f"{talk.name}: {len(talk.opening)} frames", flush=True)
    lengths = [round(seconds * FPS) for seconds in given.seconds]
    print("\n| length | shifted windows | offset within one frame | exact | sure | sure ones within"
          " one frame | false alarms | another's sound, and sure |")  # fmt: skip
    for frames in lengths:
        print(shifted(talks, frames), flush=True)
    print()
    for frames in lengths:
        print(by_video(talks, frames), flush=True)
        print(of_sources(talks, frames), flush=True)
    moving = "both move: fits better | chosen | the other chosen"
    print(f"\n| length | pairs | {moving} | the other rests: chosen |")
    for frames in lengths:
        print(beside(talks, frames), flush=True)
    if given.background:
        print("\n" + background(talks, lengths[-1]))


if __name__ == "__main__":
    main()
