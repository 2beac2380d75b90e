"""The kind `pats`: clips from a list of intervals and source videos, a manifest row an interval.

The list is PATS's csv, or another one through a column map (`listed.py`).

Beside the clips it keeps a summary (`manifests/summaries/<dataset>.json`) and, where a split file
lists the wanted ids, a row for each of them (`manifests/split_ids/<dataset>.parquet`): kept,
rejected with its reason, or not in the csv.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping
from dataclasses import replace
from functools import lru_cache
from pathlib import Path, PurePosixPath
from typing import Any

from paha_core.config import CorporaConfig, PatsConfig
from paha_core.config.columns import load_column_map
from paha_core.corpora.clips import (
    CLIP_SCHEMA,
    STAGE,
    Span,
    clip_job,
    cut_clip,
    rejected_job,
)
from paha_core.corpora.duplicates import mark_duplicates
from paha_core.corpora.filters import (
    Audible,
    Filter,
    NotFrozen,
    WholeFace,
    common_filters,
    sync_check,
)
from paha_core.corpora.intervals import (
    PatsInterval,
    interval_number,
    join_pieces,
    read_intervals,
    read_split,
    split_intervals,
)
from paha_core.corpora.listed import crop_of, read_listed
from paha_core.corpora.names import slug, unique
from paha_core.corpora.pats_summary import (
    SUMMARY_COLUMNS,
    summary,
    summary_path,
    write_split_ids,
)
from paha_core.corpora.record import licence_of, write_record
from paha_core.corpora.regions import Crop
from paha_core.corpora.source_files import GONE, SourceFile, find_sources, list_sources
from paha_core.corpora.source_manifest import Source, inspect_sources, known_sources
from paha_core.engine.manifest_stage import ClipWork, Rejection, StageResult, update_manifest
from paha_core.engine.workers import Workers
from paha_core.media import FPS
from paha_core.store import Store

KIND = PatsConfig.model_fields["kind"].default


def ingest_pats(
    store: Store,
    config: CorporaConfig,
    dataset: str,
    csv: str | Path,
    videos: str | Path,
    *,
    workers: Workers = 1,
    retry_rejected: bool = False,
    prune: bool = False,
    speakers: Collection[str] = (),
) -> StageResult:
    """Bring the clips of `dataset` in `store` up to date: one row for each interval of `csv`.

    `videos` is the folder or fsspec URL (with subfolders) of the source videos. Clips of intervals
    that are not in this csv stay, unless `prune`; with `speakers`, so do those of all others.
    Raises `TableError` when the csv lacks a column or has no rows, `FileNotFoundError` without csv
    or folder.
    """
    settings: PatsConfig = config.entry(dataset)
    limit = 2 * config.clip.timeout_seconds
    store.tidy(f"clips/{dataset}", limit)  # a clip takes no longer
    files = list_sources(videos)
    columns = load_column_map(settings.columns) if settings.columns else None
    if columns is None:
        rows = read_intervals(csv, need_dataset=settings.split_file is None)
    else:
        rows = read_listed(csv, columns)
    intervals = join_pieces(rows)
    splits = split_intervals(intervals, settings)
    intervals = [
        _checked(i, settings, dataset) if split or i.problem else _not_wanted(i)
        for i, split in zip(intervals, splits, strict=True)
    ]

    found = find_sources({(i.video, i.link) for i in intervals if not i.problem}, files)
    inspected = inspect_sources(
        store,
        dataset,
        {
            file: i.speaker
            for i in intervals
            if not i.problem
            and (not speakers or slug(i.speaker) in speakers)
            and isinstance(file := found.get((i.video, i.link)), SourceFile)
        },
        config.clip,
        workers=workers,
        retry_rejected=retry_rejected,
    )
    known = known_sources(store, dataset)

    filters, sync = interval_filters(settings), sync_check(settings)
    licence = licence_of(config, dataset)
    jobs: list[ClipWork] = []
    names = unique(f"{slug(i.speaker)}/{slug(i.id)}" for i in intervals)
    before: set[tuple[Any, ...]] = set()
    for interval, split, name in zip(intervals, splits, names, strict=True):
        speaker, name = name.split("/")
        try:
            _not_twice(interval, before)
            if speakers and speaker not in speakers:
                continue
            source = _source_of(interval, found, inspected, known)
            interval = _ended(interval, source, settings)
            span = _span(dataset, interval, speaker, name, source, settings, licence)
            job = clip_job(store, span, config.clip, filters, sync)
        except Rejection as reason:
            job = _rejected(dataset, interval, reason, speaker, name)
        job.columns["split"] = split or "train"
        jobs.append(job)
    # Intervals of one source next to each other: it is read, or fetched, once.
    by_source = sorted(jobs, key=lambda job: (job.columns["source"], job.columns["start"]))
    result = update_manifest(
        store,
        STAGE,
        dataset,
        by_source,
        cut_clip,
        extra_schema=CLIP_SCHEMA,
        workers=workers,
        retry_rejected=retry_rejected,
        limit_seconds=limit,
        speakers=speakers,
        keep_row=lambda row: not prune,
        finish=mark_duplicates,
    )
    write_record(store, config, dataset)
    if speakers:  # the figures below are those of the whole corpus
        return result
    place = {job.clip_id: n for n, job in enumerate(by_source)}
    table = result.table.take([place[job.clip_id] for job in jobs])  # in the list's order again
    ordered = table.select(SUMMARY_COLUMNS).to_pylist()
    figures = summary(rows, intervals, splits, ordered)
    if settings.split_file is not None:
        figures |= write_split_ids(
            store, dataset, read_split(settings.split_file), intervals, ordered
        )
    store.write_json(summary_path(dataset), figures)
    return replace(result, table=table, figures=figures)


def pats_footage(settings: PatsConfig, studio: str) -> tuple[str | Path, ...]:
    """The csv and the folder of videos: the section's own, or those in the studio's folder."""
    drawn = f"{studio}/{KIND}"
    return (settings.csv or f"{drawn}/intervals.csv", settings.videos or f"{drawn}/videos")


def interval_filters(settings: PatsConfig) -> tuple[Filter, ...]:
    """The filters that are on; for the rest the csv's choice is trusted."""
    filters: list[Filter] = [Audible()]
    if settings.max_still_seconds is not None:
        filters.append(NotFrozen(settings.max_still_seconds))
    if settings.min_face_share is not None:
        filters.append(WholeFace(settings.min_face_share))
    return (*filters, *common_filters(settings))


def _checked(interval: PatsInterval, settings: PatsConfig, dataset: str) -> PatsInterval:
    """`interval`, with its problem if its length or speaker rules it out."""
    if interval.problem:
        return interval
    seconds = interval.end - interval.start
    low, high = settings.min_seconds, settings.max_seconds
    if seconds <= 0:
        return replace(interval, problem="ends where it starts, or before")
    # Without its own number a reason can be counted; start and end are in the row.
    if seconds < low - 1e-6:
        return replace(interval, problem=f"shorter than {low:g} s")
    if seconds > high + 1e-6 and settings.too_long == "reject":
        return replace(interval, problem=f"longer than {high:g} s")
    if settings.columns is None and not _has_crop(settings, interval.speaker):
        name = interval.speaker
        problem = f"no crop is known for speaker {name!r}: set corpora.{dataset}.crop_left.{name}"
        return replace(interval, problem=problem)
    return interval


def _ended(interval: PatsInterval, source: Source, settings: PatsConfig) -> PatsInterval:
    """`interval` with its source's end, where the whole file is the clip. Raises `Rejection` for a
    file that is too short."""
    if math.isfinite(interval.end):
        return interval
    ended = replace(interval, end=math.floor(source.info.duration * FPS) / FPS)
    if ended.end < settings.min_seconds:
        raise Rejection(f"shorter than {settings.min_seconds:g} s")
    return ended


def _not_wanted(interval: PatsInterval) -> PatsInterval:
    return replace(interval, problem="not among the ids of the split file")


def _not_twice(interval: PatsInterval, before: set[tuple[Any, ...]]) -> None:
    key = (
        *(interval.speaker, interval_number(interval.id)),
        *(interval.video, interval.start, interval.end),
    )
    if key in before:
        raise Rejection("the csv has this interval twice")
    before.add(key)


def _rejected(
    dataset: str, interval: PatsInterval, reason: Rejection, speaker: str, name: str
) -> ClipWork:
    return rejected_job(
        f"{dataset}/{speaker}/{name}",
        reason,
        speaker=speaker,
        source=interval.video,
        source_id=slug(PurePosixPath(interval.video).stem),
        interval=name,
        start=interval.start,
        end=interval.end if math.isfinite(interval.end) else None,
        interval_seconds=interval.end - interval.start if math.isfinite(interval.end) else None,
    )


# --- sources and crops ---------------------------------------------------------------------------


def _source_of(
    interval: PatsInterval,
    found: Mapping[tuple[str, str], SourceFile | Rejection],
    inspected: Mapping[SourceFile, Source | Rejection],
    known: Mapping[str, Mapping[SourceFile, Source]],
) -> Source:
    """The source in the folder, or as an earlier run found it. Raises `Rejection` when none can be
    used."""
    if interval.problem:
        raise Rejection(interval.problem)
    key, earlier = (interval.video, interval.link), known.get(slug(interval.speaker), {})
    file = found.get(key) or find_sources([key], earlier).get(key) or Rejection(GONE)
    source = file if isinstance(file, Rejection) else inspected.get(file) or earlier[file]
    if isinstance(source, Rejection):
        raise source
    return source


def _span(
    dataset: str,
    interval: PatsInterval,
    speaker: str,
    name: str,
    source: Source,
    settings: PatsConfig,
    licence: str,
) -> Span:
    seconds = interval.end - interval.start
    if source.breaks and interval.end > source.breaks[0]:
        at = source.breaks[0]
        raise Rejection(f"the clock of its source jumps at {at:.2f} s: times behind it are unknown")
    # S2G's list has intervals of up to 113 s; its preparation keeps the first 375 frames of each.
    frames = round(min(seconds, settings.max_seconds) * FPS)
    width, height = source.info.width, source.info.height
    if settings.columns:
        crop = crop_of(interval, load_column_map(settings.columns).box, width, height)
    else:
        crop = full_height(crop_left(settings, interval.speaker), width, height)
    return Span(
        dataset=dataset,
        speaker=speaker,
        interval=name,
        source_id=source.id,
        source=source,
        start=interval.start,
        frames=frames,
        crop=crop,
        follow_face=bool(settings.columns) and interval.box is None,
        speaking=settings.speaking_person,
        licence=licence,
        interval_seconds=seconds,
    )


def _has_crop(settings: PatsConfig, speaker: str) -> bool:
    return speaker in settings.crop_left or _drawn_left(speaker) is not None


def crop_left(settings: PatsConfig, speaker: str) -> float | None:
    """The left edge of the speaker's square in the settings, or of the studio's presenter."""
    if speaker in settings.crop_left:
        return settings.crop_left[speaker]
    return _drawn_left(speaker)


@lru_cache(maxsize=4096)
def _drawn_left(speaker: str) -> float | None:
    """The left edge of the square if the studio draws that presenter, else None."""
    from paha_core.corpora.studio import is_presenter, presenter  # imported only when it is used

    return presenter(speaker).crop_left if is_presenter(speaker) else None


@lru_cache(maxsize=4096)
def full_height(left: float | None, width: int, height: int) -> Crop:
    """The square of the picture's height; `left` is its left edge as a fraction of the width, None:
    at the right edge. Raises `Rejection` for a picture that is higher than wide."""
    if height > width:
        raise Rejection(f"the picture is {width}x{height}: no square of its height fits in")
    edge = width - height if left is None else min(round(left * width), width - height)
    return Crop(left=edge, top=0, side=height)
