"""PATS: clips from its interval csv and a folder of source videos.

The csv comes in several forms: times as `H:MM:SS[.f]`, `date H:MM:SS`, `0 days 00:06:56` or plain
seconds; ids as digits or `cmu0000…`; more columns than needed. Every row of it becomes one row of
the manifest.
"""

from __future__ import annotations

import csv
import hashlib
import json
import re
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from paha_core.config import CorporaConfig, PatsConfig
from paha_core.corpora.clips import (
    CLIP_SCHEMA,
    FPS,
    STAGE,
    Crop,
    Span,
    clip_job,
    cut_clip,
    rejected_job,
)
from paha_core.corpora.filters import Audible, Filter, WholeFace
from paha_core.corpora.names import require_plain_name, slug, unique
from paha_core.corpora.sources import Source, look_at_sources
from paha_core.stages import Job, Rejection, StageResult, run_stage
from paha_core.store import Store

DATASET = "pats"
COLUMNS = ("speaker", "video_fn", "interval_id", "start_time", "end_time")

# The square crop has the height's side. Its left edge as a fraction of the width; None: at the
# right edge.
CROP_LEFT: dict[str, float | None] = {
    "oliver": 0.38,
    "seth": 0.395,
    "chemistry": 0.031,
    "jon": None,
}

_DAY = r"(?:0 days \+?|\d+-\d+-\d+[ T]|\d+/\d+/\d+ )?"


class CsvError(ValueError):
    """An interval csv that can't be used as a whole."""


@dataclass(frozen=True)
class Interval:
    """A row of PATS's csv. `problem` is the reason why it can't become a clip, empty if it may."""

    speaker: str
    video: str
    id: str
    start: float  # seconds
    end: float
    dataset: str  # train | dev | test, or empty
    problem: str = ""


def ingest_pats(
    store: Store, config: CorporaConfig, csv: Path, videos: Path, *, workers: int = 1
) -> StageResult:
    """Bring the clips of PATS in `store` up to date: one row for each row of `csv`.

    `videos` is the folder (with subfolders) of the source videos. Raises `CsvError` when the csv
    lacks a column, `FileNotFoundError` without csv or folder.
    """
    settings = config.pats
    if settings is None:
        raise ValueError("the corpora have no section `pats`")
    if not Path(videos).is_dir():
        raise FileNotFoundError(f"no folder of source videos at {videos}")
    intervals = read_intervals(csv, need_dataset=settings.split_file is None)
    intervals = [_checked(i, settings) for i in intervals]
    splits = split_intervals(intervals, settings)

    found = find_sources({i.video for i in intervals if not i.problem}, Path(videos))
    speakers = {found[i.video]: i.speaker for i in intervals if not i.problem and i.video in found}
    sources = look_at_sources(store, DATASET, speakers, config.clip, workers=workers)

    filters: tuple[Filter, ...] = (
        Audible(),
        WholeFace(min_share=settings.min_face_share, alone=False),
    )
    jobs: list[Job] = []
    names = unique(f"{slug(i.speaker)}/{slug(i.id)}" for i in intervals)
    seen: set[tuple[Any, ...]] = set()
    for interval, split, name in zip(intervals, splits, names, strict=True):
        speaker, name = name.split("/")
        try:
            _not_twice(interval, seen)
            if not split:
                raise Rejection("not among the ids of the split file")
            span = _span(interval, speaker, name, split, _source_of(interval, found, sources))
            jobs.append(clip_job(store, span, config.clip, filters))
        except Rejection as reason:
            jobs.append(
                rejected_job(
                    f"{DATASET}/{speaker}/{name}",
                    reason,
                    speaker=speaker,
                    split=split or "train",
                    source=interval.video,
                    programme=slug(Path(interval.video).stem),
                    interval=name,
                    start=interval.start,
                    end=interval.end,
                )
            )
    return run_stage(
        store, STAGE, DATASET, jobs, cut_clip, extra_schema=CLIP_SCHEMA, workers=workers
    )


# --- the csv -------------------------------------------------------------------------------------


def read_intervals(path: str | Path, *, need_dataset: bool = True) -> list[Interval]:
    """The rows of PATS's csv, in order. Raises `CsvError` naming the columns that are missing."""
    with open(path, encoding="utf-8-sig", errors="replace", newline="") as file:
        reader = csv.DictReader(file)
        names = set(reader.fieldnames or [])
        missing = [c for c in (*COLUMNS, *(["dataset"] if need_dataset else [])) if c not in names]
        if missing:
            raise CsvError(f"{Path(path).name} has no column {', '.join(missing)}")
        return [_interval(row) for row in reader]


def _interval(row: dict[str, str | None]) -> Interval:
    value = {k: (v or "").strip() for k, v in row.items() if isinstance(k, str)}
    interval = Interval(
        speaker=value["speaker"],
        video=value["video_fn"],
        id=value["interval_id"],
        start=0.0,
        end=0.0,
        dataset=value.get("dataset", "").lower(),
    )
    try:
        require_plain_name(interval.speaker, "speaker")
        require_plain_name(interval.id, "interval id")
        require_plain_name(interval.video, "video's file name")
        times = {t: parse_seconds(value[f"{t}_time"]) for t in ("start", "end")}
        return replace(interval, **times)  # type: ignore[arg-type]
    except Rejection as reason:
        return replace(interval, problem=str(reason))


def parse_seconds(text: str) -> float:
    """Seconds of a clock time (`0:06:56.5`, a date or `0 days` may lead) or of a plain number."""
    clock = re.fullmatch(_DAY + r"(?:(\d+):)?(\d{1,2}):(\d{1,2}(?:\.\d*)?)", text)
    if clock:
        hours, minutes, seconds = (float(part or 0) for part in clock.groups())
        return hours * 3600 + minutes * 60 + seconds
    if re.fullmatch(r"\d+(\.\d*)?", text):
        return float(text)
    raise Rejection(f"a time that can't be read: {text!r}")


def _checked(interval: Interval, settings: PatsConfig) -> Interval:
    """`interval`, with its problem if its length or speaker rules it out."""
    if interval.problem:
        return interval
    seconds = interval.end - interval.start
    low, high = settings.min_seconds, settings.max_seconds
    if seconds <= 0:
        return replace(interval, problem="ends where it starts, or before")
    if not low - 1e-6 <= seconds <= high + 1e-6:
        # Without its own number a reason can be counted; start and end stand in the row.
        problem = f"shorter than {low:g} s" if seconds < low else f"longer than {high:g} s"
        return replace(interval, problem=problem)
    if interval.speaker not in crop_table():
        problem = (
            f"no crop is known for speaker {interval.speaker!r}: "
            "add the left edge to CROP_LEFT in paha_core/corpora/pats.py"
        )
        return replace(interval, problem=problem)
    return interval


def _not_twice(interval: Interval, seen: set[tuple[Any, ...]]) -> None:
    key = (interval.speaker, interval.id, interval.video, interval.start, interval.end)
    if key in seen:
        raise Rejection("the csv has this row twice")
    seen.add(key)


# --- splits --------------------------------------------------------------------------------------


def split_intervals(intervals: Sequence[Interval], settings: PatsConfig) -> list[str]:
    """`train`, `test` or (not in the split file) an empty string for each interval."""
    if settings.split_file is None:
        splits = ["test" if i.dataset == "test" else "train" for i in intervals]
    else:
        ids = read_split(settings.split_file)
        splits = [ids.get(_number(i.id), "") for i in intervals]
    return _by_video(intervals, splits) if settings.split == "by_video" else splits


def read_split(path: str | Path) -> dict[str, str]:
    """S2G's json `{"train": [ids], "test": [ids]}` as id -> split."""
    value = json.loads(Path(path).read_text())
    if not isinstance(value, dict) or not {"train", "test"} <= set(value):
        raise CsvError(f"{Path(path).name} is no split file: it needs the lists `train` and `test`")
    return {_number(str(i)): split for split in ("train", "test") for i in value[split]}


def _number(interval_id: str) -> str:
    """`cmu0000067583`, `67583.0` and `67583` are one id."""
    match = re.fullmatch(r"(?:cmu)?0*(\d+)(?:\.0)?", interval_id)
    return match[1] if match else interval_id


def _by_video(intervals: Sequence[Interval], splits: Sequence[str]) -> list[str]:
    """Whole videos on one side: test ones in the order of a hash until test has its old size."""
    wanted = Counter(i.speaker for i, s in zip(intervals, splits, strict=True) if s == "test")
    videos: dict[str, Counter[str]] = defaultdict(Counter)
    with_test = set()
    for interval, split in zip(intervals, splits, strict=True):
        if split:
            videos[interval.speaker][interval.video] += 1
        if split == "test":
            with_test.add(interval.video)
    test: set[str] = set()
    for speaker, counts in videos.items():
        order = sorted(with_test & set(counts), key=lambda v: hashlib.sha256(v.encode()).digest())
        taken = 0
        for video in order[: len(counts) - 1]:  # one is left for training
            if taken >= wanted[speaker]:
                break
            test.add(video)
            taken += counts[video]
    return [
        ("test" if i.video in test else "train") if s else ""
        for i, s in zip(intervals, splits, strict=True)
    ]


# --- sources and crops ---------------------------------------------------------------------------


def find_sources(names: Iterable[str], folder: Path) -> dict[str, Path]:
    """File name -> path of each name found in `folder`, by full name or else by stem.

    Names are looked up in a list of the folder's files and never joined to a path.
    """
    files = sorted(p for p in folder.rglob("*") if p.is_file() and not p.name.startswith("."))
    by_name = {p.name: p for p in reversed(files)}
    by_stem = {p.stem: p for p in reversed(files)}
    found = {name: by_name.get(name) or by_stem.get(Path(name).stem) for name in names}
    return {name: path for name, path in found.items() if path}


def crop_table() -> dict[str, float | None]:
    """Left edges of all known speakers: the paper's four and the studio's presenters."""
    from paha_core.corpora.studio import CROP_LEFT as STUDIO  # drawing code: only when it is asked

    return {**STUDIO, **CROP_LEFT}


def crop_of(speaker: str, width: int, height: int) -> Crop:
    """The square of a speaker's picture. Raises `Rejection` for one that is higher than wide."""
    if height > width:
        raise Rejection(f"the picture is {width}x{height}: no square of its height fits in")
    left = crop_table()[speaker]
    edge = width - height if left is None else min(round(left * width), width - height)
    return Crop(left=edge, top=0, side=height)


def _source_of(
    interval: Interval, found: dict[str, Path], sources: dict[Path, Source | Rejection]
) -> Source:
    if interval.problem:
        raise Rejection(interval.problem)
    if interval.video not in found:
        raise Rejection("its source is not in the folder of videos")
    source = sources[found[interval.video]]
    if isinstance(source, Rejection):
        raise source
    return source


def _span(interval: Interval, speaker: str, name: str, split: str, source: Source) -> Span:
    return Span(
        dataset=DATASET,
        speaker=speaker,
        interval=name,
        programme=slug(source.path.stem),
        split=split,
        source=source,
        start=interval.start,
        frames=round((interval.end - interval.start) * FPS),
        crop=crop_of(interval.speaker, source.width, source.height),
    )
