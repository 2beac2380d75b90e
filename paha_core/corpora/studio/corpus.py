"""Renders the corpus folder: which programmes there are, which are up to date, and their lists."""

import csv
import hashlib
import io
import json
import threading
from collections.abc import Callable, Collection, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from paha_core.corpora.studio.identities import IDENTITIES
from paha_core.corpora.studio.people import person_seed, presenter, presenters
from paha_core.corpora.studio.script import split_of
from paha_core.corpora.studio.speech import ENGINE
from paha_core.local_files import published
from paha_core.store import sha256_file

CODE_VERSION = 5  # raise it when drawing, motion or speech change what is rendered
PEOPLE_VERSION = 1  # raise it when that changes for people drawn from a seed alone

INDEX, INTERVALS = "corpus.json", "pats/intervals.csv"

PATS_COLUMNS = (
    "dataset", "delta_time", "end_time", "interval_id", "speaker", "start_time", "video_fn",
    "video_link",
)  # fmt: skip


@dataclass(frozen=True)
class StudioProgramme:
    """One rendered programme: speaker, "pats" or "cnas", split, files, frame count and rate."""

    speaker: str
    form: str
    index: int
    split: str
    video: Path
    truth: Path
    frames: int
    fps: int
    rendered: bool  # False if it was there already


@dataclass(frozen=True)
class StudioCorpus:
    """What `render_corpus` made. `intervals` is PATS's csv; CNAS has none."""

    root: Path
    intervals: Path
    programmes: tuple[StudioProgramme, ...]


def render_corpus(
    out: Path,
    *,
    programmes: int,
    seconds: float,
    height: int = 512,
    seed: int = 0,
    people: int = 0,
    people_seed: int = 0,
    workers: int = 2,
    progress: Callable[[int, int], None] | None = None,
    stored: Collection[str] = (),
    on_rendered: Callable[[Sequence[str]], None] | None = None,
) -> StudioCorpus:
    """Render `programmes` programmes of about `seconds` seconds for every presenter: the four
    identities, or as many `people` instead, from seed `people_seed` on.

    Writes `pats/videos/*.mp4`, `pats/intervals.csv`, `cnas/<speaker>/*.mp4`, `truth/` and
    `corpus.json` under `out`. A programme whose recipe is unchanged and whose files are there is
    kept; programmes of an earlier run that are not among them are removed. `height` is in
    pixels and even (frames are 16:9), `progress(done, total)` counts programmes. Same arguments,
    same bytes.

    Where `out` is a scratch folder for another store, `stored` names the files that are complete
    there, and `on_rendered(files)` is called with the files of each new programme, the index last.
    """
    if height % 2 or height < 64:
        raise ValueError(f"height must be an even number of at least 64 pixels, not {height}")
    out = Path(out)
    known = _read_index(out / INDEX)
    names = presenters(people, people_seed)
    jobs = [(name, index) for index in range(programmes) for name in names]
    entries: dict[str, dict[str, Any]] = {}
    rendered: set[str] = set()
    lock, done = threading.Lock(), 0

    def one(name: str, index: int) -> None:
        key = f"{name}/{programme_name(name, index)}"
        recipe = _recipe(name, index, seconds, height, seed)
        entry = known.get(key)
        if entry is None or entry["recipe"] != recipe or not _present(out, entry, stored):
            entry = {**_render(out, name, index, seconds, height, seed), "recipe": recipe}
            rendered.add(key)
        with lock:
            entries[key] = entry
            if key in rendered:  # so that an interrupted run resumes where it stopped
                _write_json(out / INDEX, _index({**known, **entries}, seed, height))
                if on_rendered is not None:
                    on_rendered([entry["video"], entry["truth"], INDEX])

    # threads, not processes: cv2 draws without the interpreter's lock and ffmpeg encodes in its own
    # process, while spawned workers would need a `__main__` guard in every script that calls this
    with ThreadPoolExecutor(max_workers=workers) as pool:
        try:
            for future in as_completed([pool.submit(one, *job) for job in jobs]):
                future.result()
                done += 1
                if progress is not None:
                    progress(done, len(jobs))
        except BaseException:
            pool.shutdown(cancel_futures=True)
            raise

    made = {f"{name}/{programme_name(name, index)}" for name, index in jobs}
    listed = {key: entries[key] for key in sorted(made)}
    # CNAS has no list, its folder is what there is: programmes of an earlier, larger run must go
    for key in known.keys() - made:
        for file in (known[key]["video"], known[key]["truth"]):
            (out / file).unlink(missing_ok=True)
    _write_json(out / INDEX, _index(listed, seed, height))
    _write_intervals(out / INTERVALS, listed)
    found = tuple(_programme(out, entry, key in rendered) for key, entry in listed.items())
    return StudioCorpus(out, out / INTERVALS, found)


def programme_name(name: str, index: int) -> str:
    """A programme's name, unique over all speakers: "ada_000"."""
    return f"{name}_{index:03d}"


def _render(
    out: Path, name: str, index: int, seconds: float, height: int, seed: int
) -> dict[str, Any]:
    from paha_core.corpora.studio import programme as p

    identity = presenter(name)
    programme = p.prepare(name, index, seconds=seconds, height=height, seed=seed)
    file = programme_name(name, index)
    folder = "pats/videos" if identity.form == "pats" else f"cnas/{name}"
    video, truth = f"{folder}/{file}.mp4", f"truth/{name}/{file}.npz"
    p.write_truth(out / truth, p.ground_truth(programme))
    p.write_video(out / video, programme)
    return {
        "speaker": name,
        "form": identity.form,
        "index": index,
        "split": split_of(identity, index),
        "video": video,
        "truth": truth,
        "frames": programme.frames,
        "fps": programme.form.fps,
        "crop": list(programme.crop),
        "sentences": list(programme.script.sentences),
        "intervals": [[i.start, i.end] for i in programme.script.intervals],
        "sha256": {file: sha256_file(out / file) for file in (video, truth)},
    }


def _recipe(name: str, index: int, seconds: float, height: int, seed: int) -> str:
    """A digest of everything that decides a programme's bytes."""
    from paha_core.corpora.studio import sentences

    identity = asdict(presenter(name))
    crop_left = identity.pop("crop_left")
    numbers = [index, seconds, height, seed, CODE_VERSION, ENGINE]
    spoken = [sentences.ENGLISH, sentences.ENGLISH_TEST, sentences.MANDARIN]
    if name in IDENTITIES:
        identity.pop("look")  # theirs are as old as CODE_VERSION 5
    else:
        numbers.append(PEOPLE_VERSION)
        spoken += [sentences.PEOPLE_ENGLISH, sentences.PEOPLE_MANDARIN]
    parts = {
        "identity": identity, "crop_left": crop_left, "numbers": numbers, "sentences": spoken
    }  # fmt: skip
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()


def _present(out: Path, entry: dict[str, Any], stored: Collection[str]) -> bool:
    return all(rel in stored or (out / rel).is_file() for rel in (entry["video"], entry["truth"]))


def _programme(out: Path, entry: dict[str, Any], rendered: bool) -> StudioProgramme:
    return StudioProgramme(
        speaker=entry["speaker"],
        form=entry["form"],
        index=entry["index"],
        split=entry["split"],
        video=out / entry["video"],
        truth=out / entry["truth"],
        frames=entry["frames"],
        fps=entry["fps"],
        rendered=rendered,
    )


def _index(entries: dict[str, dict[str, Any]], seed: int, height: int) -> dict[str, Any]:
    return {
        "made_by": "paha_core.corpora.studio",
        "code_version": CODE_VERSION,
        "speech": ENGINE,
        "seed": seed,
        "height": height,
        "programmes": dict(sorted(entries.items())),
    }


def _read_index(path: Path) -> dict[str, dict[str, Any]]:
    return json.loads(path.read_text())["programmes"] if path.is_file() else {}


def _write_json(path: Path, content: dict[str, Any]) -> None:
    _publish(path, json.dumps(content, indent=1, ensure_ascii=False) + "\n")


def _write_intervals(path: Path, entries: dict[str, dict[str, Any]]) -> None:
    """PATS's csv: one row an interval, in the columns and time format of the original."""
    lines: list[tuple[str, ...]] = [PATS_COLUMNS]
    for entry in entries.values():
        if entry["form"] != "pats":
            continue
        speaker_number = _speaker_number(entry["speaker"])
        for n, (start, end) in enumerate(entry["intervals"]):
            # digits only, as in PATS; independent of how many programmes there are
            number = speaker_number * 1_000_000 + entry["index"] * 1_000 + n
            lines.append(
                (
                    entry["split"],
                    clock(end - start),
                    clock(end),
                    str(number),
                    entry["speaker"],
                    clock(start),
                    Path(entry["video"]).name,
                    f"studio://{entry['speaker']}/{Path(entry['video']).stem}",
                )
            )
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerows(lines)
    _publish(path, text.getvalue())


def _speaker_number(name: str) -> int:
    """1 to 4 for the identities, from 10 on for people."""
    if name in IDENTITIES:
        return list(IDENTITIES).index(name) + 1
    return 10 + person_seed(name)


def clock(seconds: float) -> str:
    """Seconds as `H:MM:SS.ff`, PATS's way of writing a time."""
    hundredths = round(seconds * 100)
    minutes, rest = divmod(hundredths, 6_000)
    return f"{minutes // 60}:{minutes % 60:02d}:{rest // 100:02d}.{rest % 100:02d}"


def _publish(path: Path, text: str) -> None:
    with published(path) as temporary:
        temporary.write_text(text)
