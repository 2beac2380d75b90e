"""The design of a study: which videos are shown side by side, and the questions about each set.

`make_study` writes a folder that any host of static files can serve: `index.html`, `study.json` and
`media/`. Every video is encoded alike, at one size, with its voice, under a random name;
`key.json`, which the study's owner keeps, maps names to systems.
"""

from __future__ import annotations

import random
from dataclasses import asdict, dataclass, field
from itertools import combinations
from pathlib import Path
from typing import Literal

import numpy as np

from paha_core.benchmark.measuring.systems import CONTROLS
from paha_core.benchmark.measuring.videos import (
    Systems,
    SystemVideo,
    at_clip_size,
    even_sides,
    load_frames,
)
from paha_core.config import Preset
from paha_core.engine.progress import Progress
from paha_core.errors import UserError
from paha_core.media import FPS
from paha_core.store import Store, sha256_json

RATE = 16_000
QUESTIONS = {
    "realness": "Which looks most like a real recording of a person?",
    "diversity": "Which has the richest, least repetitive gestures?",
    "synchrony": "In which do movement and speech go together best?",
    "overall": "Which is the best video as a whole?",
}
"""The paper's four (section 5.4): name and what a rater reads."""
StudyForm = Literal["pairs", "choices"]
ItemKind = Literal["rating", "attention", "audio"]


@dataclass(frozen=True)
class Item:
    """One page of the study. `options`: names of media files. `answer`: of a check, the option that
    is right; empty where there is no right one."""

    name: str
    kind: ItemKind
    options: list[str]
    questions: dict[str, str]
    answer: str = ""


@dataclass(frozen=True)
class Study:
    """The page's content. `name` is a hash of all of it, so that answers belong to one study."""

    title: str
    form: StudyForm
    per_rater: int  # items of a rater, checks not counted
    items: list[Item]
    name: str = ""


@dataclass
class AnswerKey:
    """What the page must not reveal: each media file's system and clip, and the checks' answers."""

    systems: dict[str, str] = field(default_factory=dict)
    clips: dict[str, str] = field(default_factory=dict)
    answers: dict[str, str] = field(default_factory=dict)  # of checks, by item


def make_study(
    store: Store,
    preset: Preset,
    systems: Systems,
    names: list[str],
    folder: Path,
    *,
    form: StudyForm = "choices",
    clips: int = 10,
    per_rater: int = 20,
    seed: int = 0,
) -> Study:
    """Write a study of these systems over clips that all of them have; returns it.

    `choices`: all systems side by side for each clip, as the paper's. `pairs`: every two of them.
    The same arguments give the same files. Raises `UserError` for fewer than two systems, one that
    was not evaluated, and where they share no clip.
    """
    by_system = _videos(systems, names)
    shared = sorted(set.intersection(*({*videos} for videos in by_system.values())))
    if not shared:
        raise UserError(f"{', '.join(names)} share no clip: give them the same voices")
    rng = random.Random(seed)
    chosen = sorted(rng.sample(shared, min(clips, len(shared))))
    key, media = AnswerKey(), folder / "media"
    media.mkdir(parents=True, exist_ok=True)
    items: list[Item] = []
    with Progress(len(chosen) * len(names), "study", unit="video") as progress:
        for clip_id in chosen:
            files = {}
            for system in names:
                video = by_system[system][clip_id]
                files[system] = f"{sha256_json([seed, system, clip_id, video.sha256])[:12]}.mp4"
                _encode(store, preset, video, media / files[system])
                key.systems[files[system]], key.clips[files[system]] = system, clip_id
                progress.update()
            sets = [tuple(names)] if form == "choices" else list(combinations(names, 2))
            for options in sets:
                found = [files[system] for system in options]
                items.append(Item(f"item{len(items)}", "rating", found, QUESTIONS))
    items += _checks(store, preset, by_system[names[0]][chosen[0]], media, key, rng)
    study = Study(f"Talking people, {preset.name}", form, per_rater, items)
    study = Study(**vars(study) | {"name": sha256_json(asdict(study))[:16]})
    _write(folder, study, key)
    return study


def _videos(systems: Systems, names: list[str]) -> dict[str, dict[str, SystemVideo]]:
    if len(set(names)) < 2:
        raise UserError("a study compares at least two systems")
    found = {}
    for name in names:
        if name not in systems or name in CONTROLS or not systems[name]:
            known = ", ".join(n for n, v in systems.items() if v and n not in CONTROLS)
            raise UserError(f"no videos of {name!r} were evaluated; there are: {known}")
        found[name] = {video.clip_id: video for video in systems[name]}
    return found


def _encode(store: Store, preset: Preset, video: SystemVideo, target: Path) -> None:
    """Encode a video at the clip size, with the voice, by one encoder, so that systems differ only
    in content."""
    from paha_core.media.audio import read_audio
    from paha_core.media.encode import write_video

    frames = even_sides(at_clip_size(load_frames(store, video), preset.corpora.clip.size))
    with store.reading(video.audio_path) as path:
        wave = read_audio(path, RATE)[: round(len(frames) / FPS * RATE)]
    write_video(target, frames, wave=wave, crf=18)


def _checks(
    store: Store,
    preset: Preset,
    video: SystemVideo,
    media: Path,
    key: AnswerKey,
    rng: random.Random,
) -> list[Item]:
    """Two attention checks: a visual one (a video beside a grey picture) and an audible one (how
    many beeps)."""
    from paha_core.media.encode import write_video

    size = preset.corpora.clip.size // 2 * 2
    grey = np.full((2 * FPS, size, size, 3), 128, np.uint8)
    write_video(media / "empty.mp4", grey, wave=np.zeros(2 * RATE, np.float32))
    beeps = rng.randint(2, 5)
    write_video(media / "beeps.mp4", np.repeat(grey, 2, axis=0), wave=_beeps(beeps))
    shown = next(name for name, clip in key.clips.items() if clip == video.clip_id)
    key.answers = {"attention": shown, "audio": str(beeps)}
    see = {"attention": "Attention check: which video shows a person?"}
    hear = {"audio": "Sound check: how many beeps do you hear?"}
    return [
        Item("attention", "attention", [shown, "empty.mp4"], see),
        Item("audio", "audio", ["beeps.mp4"], hear),
    ]


def _beeps(count: int) -> np.ndarray:
    """Four seconds with so many beeps of 0.15 s: float32 `[64000]`."""
    wave = np.zeros(4 * RATE, np.float32)
    tone = 0.4 * np.sin(2 * np.pi * 660 * np.arange(round(0.15 * RATE)) / RATE)
    for k in range(count):
        start = round((0.4 + 0.7 * k) * RATE)
        wave[start : start + len(tone)] = tone
    return wave


def _write(folder: Path, study: Study, key: AnswerKey) -> None:
    import json
    from importlib import resources

    from jinja2 import Environment

    text = json.dumps(asdict(study), indent=1)
    (folder / "study.json").write_text(text)
    (folder / "key.json").write_text(json.dumps(asdict(key), indent=1))
    template = resources.files("paha_core.benchmark.study") / "templates" / "study.html.j2"
    page = Environment(autoescape=True).from_string(template.read_text())
    embedded = text.replace("<", "\\u003c")  # a name can't end the script
    (folder / "index.html").write_text(page.render(title=study.title, study=embedded))


def load_study(folder: Path) -> tuple[Study, AnswerKey]:
    """What `make_study` wrote. Raises `UserError` where there is none."""
    import json

    if not (folder / "study.json").is_file() or not (folder / "key.json").is_file():
        raise UserError(f"{folder} holds no study with its key: make one by `paha study make`")
    stored = json.loads((folder / "study.json").read_text())
    stored["items"] = [Item(**item) for item in stored["items"]]
    return Study(**stored), AnswerKey(**json.loads((folder / "key.json").read_text()))
