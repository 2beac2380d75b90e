"""The intervals of PATS: its csv in the forms found in the wild, and the split of S2G.

Times are `H:MM:SS[.f]`, `date H:MM:SS`, `0 days 00:06:56` or plain seconds; ids digits or
`cmu0000…`; there may be more columns than needed. In some copies an interval longer than 10 s is
several rows, one a piece.
"""

from __future__ import annotations

import hashlib
import json
import math
import re
from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from paha_core.config import PatsConfig
from paha_core.corpora.names import normalized, require_plain_name
from paha_core.corpora.source_files import read_file, video_id
from paha_core.engine.manifest_stage import Rejection
from paha_core.errors import UserError
from paha_core.tables import TableError, TableRow, decode_text, read_rows

COLUMNS = ("speaker", "interval_id", "start_time", "end_time")
LONGEST = 1e7  # seconds, 115 days: a later time is none
SAME = 1e-3  # seconds: tolerance within which one piece continues another

_DAY = r"(?:0 days \+?|\d+-\d+-\d+[ T]|\d+/\d+/\d+ )?"
_CLOCK = re.compile(_DAY + r"(?:(\d+):)?(\d{1,2}):(\d{1,2}(?:\.\d*)?)")
_NUMBER = re.compile(r"\d+(\.\d*)?")
_PATS_ID = re.compile(r"(?:cmu)?0*(\d+)(?:\.0)?")


class SplitError(UserError):
    """A split file that can't be used."""


@dataclass(slots=True)  # a frozen one takes three times as long to make
class PatsInterval:
    """An interval of PATS. `problem` is the reason why it can't become a clip, empty if it may."""

    speaker: str
    video: str  # file name of its source
    id: str
    start: float  # seconds
    end: float
    dataset: str  # train | dev | test, or empty
    problem: str = ""
    link: str = ""
    pieces: int = 1  # rows of the csv
    box: tuple[float, ...] | None = None  # as a column map describes it


def read_intervals(path: str | Path, *, need_dataset: bool = True) -> list[PatsInterval]:
    """The rows of PATS's csv, in order. Raises `TableError` naming the columns that are missing, or
    when there are no rows.

    Columns that are not needed are ignored. The source is named by `video_fn`, or where that is
    empty by the id in `video_link`.
    """
    columns = [*COLUMNS, *(["dataset"] if need_dataset else [])]
    name = Path(path).name
    rows = read_rows(read_file(path), name, columns)
    if not rows[0].cells.keys() & {"video_fn", "video_link"}:
        raise TableError(f"{name} has no column video_fn or video_link")
    return [_interval(row) for row in rows]


def _interval(row: TableRow) -> PatsInterval:
    value = row.cells
    link = value.get("video_link", "")
    speaker = normalized(value.get("speaker", ""))
    video = value.get("video_fn") or video_id(link)
    interval_id = value.get("interval_id", "")
    start, end, problem = 0.0, 0.0, row.problem
    try:
        if not problem:
            require_plain_name(speaker, "speaker")
            require_plain_name(interval_id, "interval id")
            require_plain_name(video, "video's file name")
            start, end = (parse_seconds(value.get(f"{t}_time", "")) for t in ("start", "end"))
    except Rejection as reason:
        problem = str(reason)
    dataset = value.get("dataset", "").lower()
    return PatsInterval(speaker, video, interval_id, start, end, dataset, problem, link)


def parse_seconds(text: str) -> float:
    """Seconds of a clock time (`0:06:56.5`, a date or `0 days` may lead) or of a plain number."""
    text = text.replace(",", ".")  # the decimal mark of many countries
    if _NUMBER.fullmatch(text):
        total = float(text)
    elif clock := _CLOCK.fullmatch(text):
        hours, minutes, seconds = (float(part or 0) for part in clock.groups())
        total = hours * 3600 + minutes * 60 + seconds
    else:
        total = math.inf
    if total < LONGEST:
        return total
    raise Rejection(f"a time that can't be read: {text!r}")


def join_pieces(intervals: Sequence[PatsInterval]) -> list[PatsInterval]:
    """Rows of one id that follow each other without a gap become one interval, at the first's
    place; all others stay as they are.
    """
    groups: dict[tuple[str, str, str], list[int]] = defaultdict(list)
    for n, i in enumerate(intervals):
        if not i.problem:
            groups[i.speaker, interval_number(i.id), i.video].append(n)
    joined: dict[int, PatsInterval] = dict(enumerate(intervals))
    for numbers in groups.values():
        first, *others = sorted(numbers, key=lambda n: (intervals[n].start, n))
        for n in others:
            whole, piece = joined[first], joined[n]
            if abs(piece.start - whole.end) < SAME and piece.end > piece.start:
                joined[first] = replace(whole, end=piece.end, pieces=whole.pieces + 1)
                del joined[n]
            else:
                first = n
    return [joined[n] for n in sorted(joined)]


# --- splits --------------------------------------------------------------------------------------


def split_intervals(intervals: Sequence[PatsInterval], settings: PatsConfig) -> list[str]:
    """`train`, `test` or (not in the split file) an empty string for each interval."""
    has_split = settings.split_file or any(i.dataset for i in intervals)
    if settings.columns and not has_split:
        splits = ["test" if _is_held_out(i.speaker, settings) else "train" for i in intervals]
    elif settings.split_file is None:
        splits = ["test" if i.dataset == "test" else "train" for i in intervals]
    else:
        ids = read_split(settings.split_file)
        splits = [ids.get(interval_number(i.id), "") for i in intervals]
    return _by_video(intervals, splits) if settings.split == "by_video" else splits


def _is_held_out(speaker: str, settings: PatsConfig) -> bool:
    """Whether a hash of the name falls into `test_share`: a new speaker moves no other."""
    digest = hashlib.sha256(speaker.encode()).digest()
    return int.from_bytes(digest[:8], "big") < settings.test_share * 2**64


def read_split(path: str | Path) -> dict[str, str]:
    """S2G's json `{"train": [ids], "test": [ids]}` as id -> split."""
    try:
        value = json.loads(decode_text(read_file(path), Path(path).name))
    except ValueError as error:
        raise SplitError(f"{Path(path).name} is not json: {error}") from None
    sides = [value.get(side) for side in ("train", "test")] if isinstance(value, dict) else [None]
    if not all(isinstance(ids, list) for ids in sides):
        raise SplitError(
            f"{Path(path).name} is not a split file: it needs the lists `train` and `test`"
        )
    return {interval_number(str(i)): split for split in ("train", "test") for i in value[split]}


def interval_number(interval_id: str) -> str:
    """`cmu0000067583`, `67583.0` and `67583` are one id."""
    match = _PATS_ID.fullmatch(interval_id)
    return match[1] if match else interval_id


def shared_videos(intervals: Sequence[PatsInterval], splits: Sequence[str]) -> set[str]:
    """The source videos that have intervals on both sides of the split: its leak."""
    sides: dict[str, set[str]] = defaultdict(set)
    for interval, split in zip(intervals, splits, strict=True):
        sides[split].add(interval.video)
    return sides["train"] & sides["test"]


def _by_video(intervals: Sequence[PatsInterval], splits: Sequence[str]) -> list[str]:
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
