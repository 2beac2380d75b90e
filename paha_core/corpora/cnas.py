"""CNAS: clips of exactly `clip_frames` frames from raw programmes, `<speaker>/<programme>.*`.

CNAS was never released; this builds a data set of its form. A programme that can't be used is one
rejected row (`cnas/<speaker>/<programme>`), each span of a usable one is a row of its own
(`…/<programme>_0007`).
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import partial
from pathlib import Path

from paha_core.config import CnasConfig, CorporaConfig
from paha_core.corpora.clips import (
    CLIP_SCHEMA,
    STAGE,
    Span,
    clip_job,
    cut_clip,
    rejected_job,
)
from paha_core.corpora.filters import (
    Audible,
    BodyParts,
    CleanSpeech,
    Filter,
    HandsStay,
    OnePerson,
    OneScene,
    SpeechShare,
    Steady,
    Unclipped,
    Unfrozen,
    WholeBody,
    WholeFace,
)
from paha_core.corpora.programmes import (
    STRAY,
    Programme,
    list_programmes,
    look_at_programme,
    look_settings,
)
from paha_core.corpora.record import licence_of, write_record
from paha_core.corpora.regions import Crop
from paha_core.corpora.sources import Source, look_at_sources
from paha_core.engine.manifest_stage import KEPT, Job, Rejection, Row, StageResult, update_manifest
from paha_core.engine.workers import Workers
from paha_core.errors import UserError
from paha_core.media import FPS
from paha_core.store import Store

DATASET = "cnas"


def ingest_cnas(
    store: Store,
    config: CorporaConfig,
    programmes: str | Path,
    *,
    workers: Workers = 1,
    retry_rejected: bool = False,
    prune: bool = False,
) -> StageResult:
    """Bring the clips of CNAS in `store` up to date with the folder or fsspec URL `programmes`.

    Clips of programmes that are not there stay, unless `prune`. Raises `FileNotFoundError` when the
    folder doesn't exist, `UserError` when it is empty.
    """
    settings = config.cnas
    if settings is None:
        raise UserError("the corpora have no section `cnas`")
    filters = anchor_filters(settings)
    listed = list_programmes(programmes, settings.speaker)
    limit = 2 * config.clip.timeout_seconds
    store.tidy(f"clips/{DATASET}", limit)  # a clip takes no longer
    sources = look_at_sources(
        store,
        DATASET,
        {p.path: p.speaker for p in listed if not p.problem},
        config.clip,
        workers=workers,
        look=look_at_programme,
        settings=look_settings(settings),
        limit_seconds=limit + config.clip.max_source_seconds,  # a programme is seen as a whole
        retry_rejected=retry_rejected,
    )
    jobs: list[Job] = []
    for programme in listed:
        source = Rejection(programme.problem) if programme.problem else sources[programme.path]
        if isinstance(source, Rejection):
            jobs.append(_rejected(programme, source))
        else:
            spans = programme_spans(programme, source, config)
            jobs += [clip_job(store, span, config.clip, filters) for span in spans]
    mine = {(p.speaker, p.name) for p in listed}

    def keep_row(row: Row) -> bool:
        """Another folder's; not one that lay astray and may have been moved."""
        return (row["speaker"], row["programme"]) not in mine and row["speaker"] != STRAY

    result = update_manifest(
        store,
        STAGE,
        DATASET,
        jobs,
        cut_clip,
        extra_schema=CLIP_SCHEMA,
        workers=workers,
        retry_rejected=retry_rejected,
        limit_seconds=limit,
        keep_row=lambda row: not prune and keep_row(row),
        finish=partial(hold_out, share=settings.test_share),
    )
    write_record(store, config, DATASET)
    usable = [s for s in sources.values() if isinstance(s, Source)]
    used = sum(len(s.spans) for s in usable) * settings.clip_frames / FPS
    between = sum(s.info.duration for s in usable) - used
    return replace(result, figures={"seconds between clips, which are left out": between})


def anchor_filters(settings: CnasConfig) -> tuple[Filter, ...]:
    """The filters of appendix C that are on, cheap ones first; a null threshold turns one off."""
    choices: list[tuple[Callable[[float], Filter], float | None]] = [
        (Audible, settings.min_speech_db),
        (Unclipped, settings.max_clipped_share),
        (OneScene, settings.max_frame_change),
        (Unfrozen, settings.max_still_seconds),
        (WholeFace, settings.min_face_share),
        (OnePerson, settings.max_crowd_share),
        (SpeechShare, settings.min_speech_share),
        (CleanSpeech, settings.min_dnsmos),
        (WholeBody, settings.min_body_share),
        (HandsStay, settings.max_hand_gap),
        (Steady, settings.max_jitter),
    ]
    filters = [make(threshold) for make, threshold in choices if threshold is not None]
    if settings.min_part_share is not None:
        filters.append(_body_parts(settings.min_part_share, settings.dinov2))
    return tuple(filters)


def _body_parts(min_share: float, weights: str | None) -> Filter:
    """Loads the network, so that a wrong folder is told before anything is cut."""
    if not weights:
        return BodyParts(min_share)
    from paha_core.corpora.filters.parts import dinov2
    from paha_core.pretrained import weights_sha256

    return BodyParts(min_share, weights, weights_sha256(dinov2(weights)))


def hold_out(rows: list[Row], share: float) -> list[Row]:
    """The rows of one speaker, each on its side: whole programmes, by what was kept of them."""
    clips = Counter(row["programme"] for row in rows if row["status"] == KEPT)
    test = choose_test(clips, share)
    return [row | {"split": "test" if row["programme"] in test else "train"} for row in rows]


def choose_test(clips: Mapping[str, int], share: float) -> set[str]:
    """Of a speaker's programmes (name -> clips) those held out: `share` of the clips as nearly as
    whole programmes give it, at least one programme of two.

    In the order of a hash, so that a new programme moves few others.
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


def programme_spans(programme: Programme, source: Source, config: CorporaConfig) -> list[Span]:
    """The clips that a look at the programme found room for."""
    assert config.cnas is not None
    return [
        Span(
            dataset=DATASET,
            speaker=programme.speaker,
            interval=f"{programme.name}_{number:04d}",
            programme=programme.name,
            source=source,
            start=first / FPS,
            frames=config.cnas.clip_frames,
            crop=Crop(left, top, side),
            licence=licence_of(config, DATASET),
        )
        for number, (first, left, top, side) in enumerate(source.spans)
    ]


def _rejected(programme: Programme, reason: Rejection) -> Job:
    return rejected_job(
        f"{DATASET}/{programme.speaker}/{programme.name}",
        reason,
        speaker=programme.speaker,
        source=programme.path.name,
        programme=programme.name,
        interval="programme",
    )
