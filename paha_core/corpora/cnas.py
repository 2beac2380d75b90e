"""The kind `cnas`: clips of exactly `clip_frames` frames from long sources, `<speaker>/<name>.*`.

CNAS was never released; this builds a data set of its form. A source that can't be used is one
rejected row (`cnas/<speaker>/<name>`), each clip of a usable one is a row of its own
(`…/<name>_0007`).
"""

from __future__ import annotations

import hashlib
from collections import Counter, defaultdict
from collections.abc import Callable, Collection, Mapping
from dataclasses import replace
from pathlib import Path

import pyarrow as pa

from paha_core.config import CnasConfig, CorporaConfig
from paha_core.corpora.clips import (
    CLIP_SCHEMA,
    STAGE,
    Span,
    clip_job,
    cut_clip,
    rejected_job,
)
from paha_core.corpora.duplicates import (
    COLUMNS,
    SourceKey,
    mark_duplicates,
    repeated_sources,
    source_key,
)
from paha_core.corpora.filters import (
    Audible,
    BodyParts,
    CleanSpeech,
    Filter,
    HandsVisible,
    NotFrozen,
    OnePerson,
    OneScene,
    SpeechShare,
    StableDetections,
    Unclipped,
    WholeBody,
    WholeFace,
    common_filters,
    sync_check,
)
from paha_core.corpora.long_sources import (
    STRAY,
    LongSource,
    inspect_long_source,
    inspection_settings,
    list_long_sources,
)
from paha_core.corpora.record import licence_of, write_record
from paha_core.corpora.regions import Crop
from paha_core.corpora.source_manifest import Source, inspect_sources
from paha_core.engine.manifest_files import Row, some_rows, with_column
from paha_core.engine.manifest_stage import (
    KEPT,
    ClipWork,
    Rejection,
    StageResult,
    update_manifest,
)
from paha_core.engine.workers import Workers
from paha_core.media import FPS
from paha_core.store import Store

KIND = CnasConfig.model_fields["kind"].default


def ingest_cnas(
    store: Store,
    config: CorporaConfig,
    dataset: str,
    folder: str | Path,
    *,
    workers: Workers = 1,
    retry_rejected: bool = False,
    prune: bool = False,
    speakers: Collection[str] = (),
) -> StageResult:
    """Bring the clips of `dataset` in `store` up to date with the sources in `folder` (or a URL).

    Clips of sources that are not there stay, unless `prune`; with `speakers`, so do those of all
    others. Raises `FileNotFoundError` when the
    folder doesn't exist, `UserError` when it is empty.
    """
    settings: CnasConfig = config.entry(dataset)
    filters, sync = long_source_filters(settings), sync_check(settings)
    listed = list_long_sources(folder, settings.speaker)
    if speakers:
        listed = [each for each in listed if each.speaker in speakers]
    limit = 2 * config.clip.timeout_seconds
    store.tidy(f"clips/{dataset}", limit)  # a clip takes no longer
    sources = inspect_sources(
        store,
        dataset,
        {p.path: p.speaker for p in listed if not p.problem},
        config.clip,
        workers=workers,
        inspect=inspect_long_source,
        settings=inspection_settings(settings),
        limit_seconds=limit + config.clip.max_source_seconds,  # a source is decoded as a whole
        retry_rejected=retry_rejected,
    )
    jobs: list[ClipWork] = []
    for each in listed:
        source = Rejection(each.problem) if each.problem else sources[each.path]
        if isinstance(source, Rejection):
            jobs.append(_rejected(dataset, each, source))
        else:
            spans = clip_spans(dataset, each, source, config)
            jobs += [clip_job(store, span, config.clip, filters, sync) for span in spans]
    own = {(p.speaker, p.name) for p in listed}

    def keep_row(row: Row) -> bool:
        """True for rows of other folders' sources; not for a file in no speaker's folder, which may
        have been moved."""
        return (row["speaker"], row["source_id"]) not in own and row["speaker"] != STRAY

    result = update_manifest(
        store,
        STAGE,
        dataset,
        jobs,
        cut_clip,
        extra_schema=CLIP_SCHEMA,
        workers=workers,
        retry_rejected=retry_rejected,
        limit_seconds=limit,
        speakers=speakers,
        keep_row=lambda row: not prune and keep_row(row),
        finish=lambda table: mark_duplicates(hold_out(table, settings.test_share)),
    )
    write_record(store, config, dataset)
    usable = [s for s in sources.values() if isinstance(s, Source)]
    used = sum(len(s.spans) for s in usable) * settings.clip_frames / FPS
    between = sum(s.info.duration for s in usable) - used
    return replace(result, figures={"seconds between clips, which are left out": between})


def cnas_footage(settings: CnasConfig, studio: str) -> tuple[str | Path, ...]:
    """The folder of the sources: the section's own, or the one in the studio's folder."""
    return (settings.programmes or f"{studio}/{KIND}",)


def cnas_card_lines(settings: CnasConfig) -> list[str]:
    """Whether the optional filter of body parts had its weights."""
    used = "used" if settings.dinov2 and settings.min_part_share is not None else "not used"
    return [f"body parts by DINOv2 (appendix C, optional): {used}"]


def long_source_filters(settings: CnasConfig) -> tuple[Filter, ...]:
    """The filters of appendix C that are on, cheap ones first; a null threshold turns one off."""
    choices: list[tuple[Callable[[float], Filter], float | None]] = [
        (Audible, settings.min_speech_db),
        (Unclipped, settings.max_clipped_share),
        (OneScene, settings.max_frame_change),
        (NotFrozen, settings.max_still_seconds),
        (WholeFace, settings.min_face_share),
        (OnePerson, settings.max_crowd_share),
        (SpeechShare, settings.min_speech_share),
        (CleanSpeech, settings.min_dnsmos),
        (WholeBody, settings.min_body_share),
        (HandsVisible, settings.max_hand_gap),
        (StableDetections, settings.max_jitter),
    ]
    filters = [make(threshold) for make, threshold in choices if threshold is not None]
    if settings.min_part_share is not None:
        filters.append(_body_parts(settings.min_part_share, settings.dinov2))
    return (*filters, *common_filters(settings, without=(OneScene,)))


def _body_parts(min_share: float, weights: str | None) -> Filter:
    """Load the network, so that a wrong folder is an error before anything is cut."""
    if not weights:
        return BodyParts(min_share)
    from paha_core.corpora.filters.parts import dinov2
    from paha_core.pretrained import weights_sha256

    return BodyParts(min_share, weights, weights_sha256(dinov2(weights)))


def hold_out(table: pa.Table, share: float) -> pa.Table:
    """Assign each source of every speaker to train or test, by the clips kept of it.

    Sources that repeat each other stay together, so that no test clip repeats a training clip;
    those of several speakers are held out where each of these speakers would hold them out.
    """
    rows = some_rows(table, COLUMNS)
    groups = repeated_sources(rows)
    speakers: dict[SourceKey, set[str]] = defaultdict(set)
    for (speaker, _), group in groups.items():
        speakers[group].add(speaker)
    clips: dict[str, Counter[str]] = defaultdict(Counter)
    names = {g: g[1] if len(speakers[g]) == 1 else "/".join(g) for g in speakers}
    for row in rows:
        if row["status"] == KEPT:
            clips[row["speaker"]][names[groups[source_key(row)]]] += 1
    chosen = {speaker: choose_test(own, share) for speaker, own in clips.items()}
    test = {g for g, name in names.items() if all(name in chosen[s] for s in speakers[g])}
    splits = ["test" if groups.get(source_key(row)) in test else "train" for row in rows]
    return with_column(table, "split", splits)


def choose_test(clips: Mapping[str, int], share: float) -> set[str]:
    """The sources (name -> clips) of a speaker that are held out: `share` of the clips as nearly as
    whole sources give it, at least one source of two.

    Chosen in the order of a hash, so that a new source moves few others.
    """
    if not share or len(clips) < 2:
        return set()
    wanted = share * sum(clips.values())
    test: set[str] = set()
    taken = 0
    for name in sorted(clips, key=lambda name: hashlib.sha256(name.encode()).digest()):
        nearer = abs(wanted - taken - clips[name]) < abs(wanted - taken)
        if nearer and len(test) < len(clips) - 1:
            test.add(name)
            taken += clips[name]
    return test or {min(sorted(clips), key=clips.__getitem__)}


def clip_spans(
    dataset: str, listed: LongSource, source: Source, config: CorporaConfig
) -> list[Span]:
    """The clips of a source, at the spans that its inspection found."""
    settings: CnasConfig = config.entry(dataset)
    return [
        Span(
            dataset=dataset,
            speaker=listed.speaker,
            interval=f"{listed.name}_{number:04d}",
            source_id=listed.name,
            source=source,
            start=first / FPS,
            frames=settings.clip_frames,
            crop=Crop(left, top, side),
            speaking=settings.speaking_person,
            licence=licence_of(config, dataset),
        )
        for number, (first, left, top, side) in enumerate(source.spans)
    ]


def _rejected(dataset: str, listed: LongSource, reason: Rejection) -> ClipWork:
    return rejected_job(
        f"{dataset}/{listed.speaker}/{listed.name}",
        reason,
        speaker=listed.speaker,
        source=listed.path.name,
        source_id=listed.name,
        interval="source",
    )
