"""CNAS: clips of exactly `clip_frames` frames from raw programmes, `<speaker>/<programme>.*`.

CNAS was never released; this builds a data set of its form. A programme that can't be used is one
rejected row (`cnas/<speaker>/<programme>`), each span of a usable one is a row of its own
(`…/<programme>_0007`).
"""

from __future__ import annotations

import hashlib
from collections import defaultdict
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from paha_core.config import CnasConfig, CorporaConfig
from paha_core.corpora.clips import (
    CLIP_SCHEMA,
    FPS,
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
    HandsSeen,
    OnePerson,
    OneScene,
    SpeechShare,
    Steady,
    Unclipped,
    WholeBody,
    WholeFace,
    find_faces,
)
from paha_core.corpora.filters.parts import dinov2
from paha_core.corpora.names import slug, unique
from paha_core.corpora.regions import centre_crop
from paha_core.corpora.source_files import SourceFile, list_sources, local_file, relative_parts
from paha_core.corpora.sources import Source, SourceTask, look_at_source, look_at_sources
from paha_core.errors import UserError
from paha_core.media.ffmpeg import MediaError
from paha_core.media.video import iter_frames
from paha_core.pretrained import weights_sha256
from paha_core.stages import Job, Rejection, StageResult, run_stage
from paha_core.store import Store

DATASET = "cnas"
LOOKS = 8  # moments of a programme that are searched for a face before anything is cut


@dataclass(frozen=True)
class Programme:
    """One raw file and its names in ids."""

    path: SourceFile
    speaker: str
    name: str


def ingest_cnas(
    store: Store,
    config: CorporaConfig,
    programmes: str | Path,
    *,
    workers: int = 1,
    retry_rejected: bool = False,
) -> StageResult:
    """Bring the clips of CNAS in `store` up to date with the folder or fsspec URL `programmes`.

    Raises `FileNotFoundError` when the folder doesn't exist.
    """
    settings = config.cnas
    if settings is None:
        raise UserError("the corpora have no section `cnas`")
    listed = list_programmes(programmes)
    sources = look_at_sources(
        store,
        DATASET,
        {p.path: p.speaker for p in listed},
        config.clip,
        workers=workers,
        look=look_at_programme,
        settings={"clip_frames": settings.clip_frames},
        retry_rejected=retry_rejected,
    )
    usable = [p for p in listed if isinstance(sources[p.path], Source)]
    test = choose_test(((p.speaker, p.name) for p in usable), settings.test_share)

    filters = anchor_filters(settings)
    jobs: list[Job] = []
    for programme in listed:
        source = sources[programme.path]
        if isinstance(source, Rejection):
            jobs.append(_rejected(programme, source))
            continue
        split = "test" if (programme.speaker, programme.name) in test else "train"
        spans = programme_spans(programme, source, settings, split)
        jobs += [clip_job(store, span, config.clip, filters) for span in spans]
    return run_stage(
        store,
        STAGE,
        DATASET,
        jobs,
        cut_clip,
        extra_schema=CLIP_SCHEMA,
        workers=workers,
        retry_rejected=retry_rejected,
        limit_seconds=2 * config.clip.timeout_seconds,
    )


def anchor_filters(settings: CnasConfig) -> tuple[Filter, ...]:
    """The filters of appendix C that are on, cheap ones first; a null threshold turns one off."""
    choices: list[tuple[Callable[[float], Filter], float | None]] = [
        (Audible, settings.min_speech_db),
        (Unclipped, settings.max_clipped_share),
        (OneScene, settings.max_frame_change),
        (WholeFace, settings.min_face_share),
        (OnePerson, settings.max_crowd_share),
        (WholeBody, settings.min_body_share),
        (HandsSeen, settings.min_hand_share),
        (Steady, settings.max_jitter),
        (SpeechShare, settings.min_speech_share),
        (CleanSpeech, settings.min_dnsmos),
    ]
    filters = [make(threshold) for make, threshold in choices if threshold is not None]
    if settings.min_part_share is not None:
        filters.append(_body_parts(settings.min_part_share, settings.dinov2))
    return tuple(filters)


def _body_parts(min_share: float, weights: str | None) -> Filter:
    """Loads the network, so that a wrong folder is told before anything is cut."""
    sha256 = weights_sha256(dinov2(weights)) if weights else ""
    return BodyParts(min_share, weights, sha256)


def list_programmes(folder: str | Path) -> list[Programme]:
    """Every visible file in the speakers' folders, in order of its path."""
    parts = {file: relative_parts(file, folder) for file in list_sources(folder)}
    files = [file for file, names in parts.items() if len(names) == 2]
    names = unique(f"{slug(parts[f][0])}/{slug(f.stem)}" for f in files)
    return [Programme(f, *name.split("/")) for f, name in zip(files, names, strict=True)]


def choose_test(programmes: Iterable[tuple[str, str]], share: float) -> set[tuple[str, str]]:
    """The (speaker, programme) pairs held out: `share` of each speaker's, at least one of two.

    Taken in the order of a hash, so that a new programme moves at most one other.
    """
    by_speaker: dict[str, list[str]] = defaultdict(list)
    for speaker, name in programmes:
        by_speaker[speaker].append(name)
    test = set()
    for speaker, names in by_speaker.items():
        ordered = sorted(names, key=lambda n: hashlib.sha256(f"{speaker}/{n}".encode()).digest())
        count = min(max(1, round(share * len(names))), len(names) - 1) if share else 0
        test |= {(speaker, name) for name in ordered[:count]}
    return test


def programme_spans(
    programme: Programme, source: Source, settings: CnasConfig, split: str
) -> list[Span]:
    """Consecutive spans of exactly `clip_frames` frames; a shorter rest is left out."""
    count = int(source.seconds * FPS + 0.5) // settings.clip_frames
    crop = centre_crop(source.width, source.height, settings.region)
    return [
        Span(
            dataset=DATASET,
            speaker=programme.speaker,
            interval=f"{programme.name}_{n:04d}",
            programme=programme.name,
            split=split,
            source=source,
            start=n * settings.clip_frames / FPS,
            frames=settings.clip_frames,
            crop=crop,
            follows_face=True,
        )
        for n in range(count)
    ]


def look_at_programme(task: SourceTask) -> dict[str, Any]:
    """`look_at_source`, and a face must be there at one of a few moments at least."""
    row = look_at_source(task)
    needed = task.settings["clip_frames"] / FPS
    if row["seconds"] + 0.5 / FPS < needed:
        raise Rejection(f"too short: {row['seconds']:.2f} s, one clip takes {needed:.2f} s")
    try:
        with local_file(task.file, task.limits.cache_bytes) as path:
            for n in range(LOOKS):
                moment = row["seconds"] * (n + 0.5) / LOOKS
                frame = next(iter_frames(path, start=moment), None)
                if frame is not None and find_faces(frame):
                    return row
    except MediaError as error:
        raise Rejection(f"source: {error}") from None
    raise Rejection(f"no face at any of {LOOKS} moments")


def _rejected(programme: Programme, reason: Rejection) -> Job:
    return rejected_job(
        f"{DATASET}/{programme.speaker}/{programme.name}",
        reason,
        speaker=programme.speaker,
        split="train",
        source=programme.path.name,
        programme=programme.name,
        interval="programme",
    )
