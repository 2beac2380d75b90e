"""PATS: clips from its interval csv and source videos, a row of the manifest for each interval.

Beside the clips it keeps a summary (`manifests/summaries/pats.json`) and, where a split file says
which ids are wanted, a row for each of them (`manifests/split_ids/pats.parquet`): what became of
it, or that the csv doesn't have it.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pyarrow as pa

from paha_core.config import CorporaConfig, PatsConfig
from paha_core.corpora.clips import (
    CLIP_SCHEMA,
    FPS,
    STAGE,
    Span,
    clip_job,
    cut_clip,
    rejected_job,
)
from paha_core.corpora.filters import Audible, Filter, WholeFace
from paha_core.corpora.intervals import (
    Interval,
    interval_number,
    join_pieces,
    read_intervals,
    read_split,
    shared_videos,
    split_intervals,
)
from paha_core.corpora.names import slug, unique
from paha_core.corpora.regions import Crop
from paha_core.corpora.source_files import SourceFile, find_sources, list_sources
from paha_core.corpora.sources import Source, look_at_sources
from paha_core.errors import UserError
from paha_core.stages import KEPT, REJECTED, Job, Rejection, StageResult, run_stage
from paha_core.store import Store

DATASET = "pats"
SPLIT_IDS = "manifests/split_ids/pats.parquet"
SUMMARY = "manifests/summaries/pats.json"

SPLIT_ID_SCHEMA = pa.schema(
    [
        ("interval_id", pa.string()),
        ("split", pa.string()),  # train | test, as the split file says
        ("status", pa.string()),  # kept | rejected | not listed (in the csv)
        ("reason", pa.string()),
        ("clip_id", pa.string()),
    ]
)

# The square crop has the height's side. Its left edge as a fraction of the width; None: at the
# right edge.
CROP_LEFT: dict[str, float | None] = {
    "oliver": 0.38,
    "seth": 0.395,
    "chemistry": 0.031,
    "jon": None,
}


def ingest_pats(
    store: Store,
    config: CorporaConfig,
    csv: Path,
    videos: str | Path,
    *,
    workers: int = 1,
    retry_rejected: bool = False,
) -> StageResult:
    """Bring the clips of PATS in `store` up to date: one row for each interval of `csv`.

    `videos` is the folder or fsspec URL (with subfolders) of the source videos. Raises `CsvError`
    when the csv lacks a column, `FileNotFoundError` without csv or folder.
    """
    settings = config.pats
    if settings is None:
        raise UserError("the corpora have no section `pats`")
    files = list_sources(videos)
    rows = read_intervals(csv, need_dataset=settings.split_file is None)
    intervals = join_pieces(rows)
    splits = split_intervals(intervals, settings)
    intervals = [
        _checked(i, settings) if split or i.problem else _not_wanted(i)
        for i, split in zip(intervals, splits, strict=True)
    ]

    found = find_sources({(i.video, i.link) for i in intervals if not i.problem}, files)
    speakers = {
        found[i.video, i.link]: i.speaker
        for i in intervals
        if not i.problem and (i.video, i.link) in found
    }
    sources = look_at_sources(
        store, DATASET, speakers, config.clip, workers=workers, retry_rejected=retry_rejected
    )

    filters = interval_filters(settings)
    jobs: list[Job] = []
    names = unique(f"{slug(i.speaker)}/{slug(i.id)}" for i in intervals)
    seen: set[tuple[Any, ...]] = set()
    for interval, split, name in zip(intervals, splits, names, strict=True):
        speaker, name = name.split("/")
        try:
            _not_twice(interval, seen)
            source = _source_of(interval, found, sources)
            span = _span(interval, speaker, name, split, source, settings)
            jobs.append(clip_job(store, span, config.clip, filters))
        except Rejection as reason:
            jobs.append(_rejected(interval, reason, speaker, name, split or "train"))
    # Intervals of one source next to each other: it is read, or fetched, once.
    by_source = sorted(jobs, key=lambda job: (job.columns["source"], job.columns["start"]))
    result = run_stage(
        store,
        STAGE,
        DATASET,
        by_source,
        cut_clip,
        extra_schema=CLIP_SCHEMA,
        workers=workers,
        retry_rejected=retry_rejected,
        limit_seconds=2 * config.clip.timeout_seconds,
    )
    made = {row["clip_id"]: row for row in result.table.to_pylist()}
    ordered = [made[job.clip_id] for job in jobs]
    figures = _figures(rows, intervals, splits, ordered)
    if settings.split_file is not None:
        figures |= _write_split_ids(store, read_split(settings.split_file), intervals, ordered)
    store.write_json(SUMMARY, figures)
    table = pa.Table.from_pylist(ordered, schema=result.table.schema)
    return replace(result, table=table, figures=figures)


def interval_filters(settings: PatsConfig) -> tuple[Filter, ...]:
    """What an interval must be: PATS's own choice is trusted for the rest."""
    return (Audible(), WholeFace(min_share=settings.min_face_share))


def _checked(interval: Interval, settings: PatsConfig) -> Interval:
    """`interval`, with its problem if its length or speaker rules it out."""
    if interval.problem:
        return interval
    seconds = interval.end - interval.start
    low, high = settings.min_seconds, settings.max_seconds
    if seconds <= 0:
        return replace(interval, problem="ends where it starts, or before")
    # Without its own number a reason can be counted; start and end stand in the row.
    if seconds < low - 1e-6:
        return replace(interval, problem=f"shorter than {low:g} s")
    if seconds > high + 1e-6 and settings.too_long == "reject":
        return replace(interval, problem=f"longer than {high:g} s")
    if interval.speaker not in crop_table():
        problem = (
            f"no crop is known for speaker {interval.speaker!r}: "
            "add the left edge to CROP_LEFT in paha_core/corpora/pats.py"
        )
        return replace(interval, problem=problem)
    return interval


def _not_wanted(interval: Interval) -> Interval:
    return replace(interval, problem="not among the ids of the split file")


def _not_twice(interval: Interval, seen: set[tuple[Any, ...]]) -> None:
    key = (interval.speaker, interval.id, interval.video, interval.start, interval.end)
    if key in seen:
        raise Rejection("the csv has this row twice")
    seen.add(key)


def _rejected(interval: Interval, reason: Rejection, speaker: str, name: str, split: str) -> Job:
    return rejected_job(
        f"{DATASET}/{speaker}/{name}",
        reason,
        speaker=speaker,
        split=split,
        source=interval.video,
        programme=slug(Path(interval.video).stem),
        interval=name,
        start=interval.start,
        end=interval.end,
        interval_seconds=interval.end - interval.start,
    )


# --- what became of it ---------------------------------------------------------------------------


def _figures(
    rows: Sequence[Interval],
    intervals: Sequence[Interval],
    splits: Sequence[str],
    made: Sequence[dict[str, Any]],
) -> dict[str, float]:
    kept = [n for n, row in enumerate(made) if row["status"] == KEPT]
    sides = [splits[n] for n in kept]
    shared = shared_videos([intervals[n] for n in kept], sides)
    return {
        "csv rows": len(rows),
        "rows joined to the interval they are a piece of": len(rows) - len(intervals),
        "train clips": sides.count("train"),
        "test clips": sides.count("test"),
        "clips cut at the longest length": sum(
            made[n]["interval_seconds"] > made[n]["end"] - made[n]["start"] + 1 / FPS for n in kept
        ),
        "test videos": len({intervals[n].video for n in kept if splits[n] == "test"}),
        "test videos that are also in train": len(shared),
    }


def _write_split_ids(
    store: Store,
    ids: dict[str, str],
    intervals: Sequence[Interval],
    made: Sequence[dict[str, Any]],
) -> dict[str, float]:
    """A row for each wanted id; returns how many there are of each kind."""
    best: dict[str, dict[str, Any]] = {}
    for interval, row in zip(intervals, made, strict=True):
        number = interval_number(interval.id)
        if best.get(number, {}).get("status") != KEPT:
            best[number] = row
    listed = [
        {"interval_id": number, "split": split}
        | {name: best[number][name] for name in ("status", "reason", "clip_id")}
        if number in best
        else {"interval_id": number, "split": split, "status": "not listed"}
        | {"reason": "the csv has no such interval", "clip_id": ""}
        for number, split in ids.items()
    ]
    store.write_table(SPLIT_IDS, pa.Table.from_pylist(listed, schema=SPLIT_ID_SCHEMA))
    counts = Counter(str(row["status"]) for row in listed)
    return {
        "wanted ids": len(listed),
        "wanted ids kept": counts[KEPT],
        "wanted ids rejected": counts[REJECTED],
        "wanted ids that the csv lacks": counts["not listed"],
    }


# --- sources and crops ---------------------------------------------------------------------------


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
    interval: Interval,
    found: dict[tuple[str, str], SourceFile],
    sources: dict[SourceFile, Source | Rejection],
) -> Source:
    if interval.problem:
        raise Rejection(interval.problem)
    file = found.get((interval.video, interval.link))
    if file is None:
        raise Rejection("its source is not in the folder of videos")
    source = sources[file]
    if isinstance(source, Rejection):
        raise source
    return source


def _span(
    interval: Interval,
    speaker: str,
    name: str,
    split: str,
    source: Source,
    settings: PatsConfig,
) -> Span:
    seconds = interval.end - interval.start
    # S2G's list has intervals of up to 113 s; its preparation keeps the first 375 frames of each.
    frames = round(min(seconds, settings.max_seconds) * FPS)
    return Span(
        dataset=DATASET,
        speaker=speaker,
        interval=name,
        programme=slug(source.path.stem),
        split=split,
        source=source,
        start=interval.start,
        frames=frames,
        crop=crop_of(interval.speaker, source.width, source.height),
        interval_seconds=seconds,
    )
