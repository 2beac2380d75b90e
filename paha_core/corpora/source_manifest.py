"""The manifest of source videos: each is inspected once, and known by its content afterwards.

The stage `sources` has one row a file. A file that can't be used is a rejected row there, and its
reason rejects every clip that would come from it.
"""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, fields
from functools import cached_property
from pathlib import Path
from typing import Any, TypeVar, cast

import fsspec
import pyarrow as pa

from paha_core.config import ClipConfig
from paha_core.corpora.clock import SPLICED, UNTIMED, clock_breaks, container_of
from paha_core.corpora.names import slug, unique
from paha_core.corpora.source_cache import local_file, timed_file
from paha_core.corpora.source_files import RemoteFile, SourceFile, asking
from paha_core.engine.manifest_stage import (
    KEPT,
    NO_FINGERPRINT,
    ClipWork,
    ManifestRow,
    Rejection,
    TransientError,
    read_manifest,
    update_manifest,
)
from paha_core.engine.progress import Progress
from paha_core.engine.workers import Workers
from paha_core.errors import UserError
from paha_core.media.ffmpeg import Media, MediaError
from paha_core.media.probe import MediaInfo, probe
from paha_core.store import Store, sha256_file, sha256_json

T = TypeVar("T")
STAGE = "sources"
HASHES = "manifests/sources/{dataset}.hashes.json"
CODE_VERSION = "sources-3"

# Beside them `sha256`, which is the source's own here; of one in an object store, a hash of its
# listing.
SOURCE_SCHEMA = pa.schema(
    [
        ("name", pa.string()),
        ("width", pa.int32()),  # as displayed
        ("height", pa.int32()),
        ("fps", pa.float64()),  # average
        ("duration", pa.float64()),  # seconds
        ("frames", pa.int64()),
        ("has_audio", pa.bool_()),
        ("audio_rate", pa.int32()),  # Hz
        ("audio_channels", pa.int32()),
        ("video_codec", pa.string()),
        ("square_pixels", pa.bool_()),
        ("breaks", pa.string()),  # json: seconds at which its clock jumps; null: it is its own
        ("spans", pa.string()),  # json: what is cut from it, where the inspection decides that
    ]
)


class SourceRow(ManifestRow):
    """A row of the sources' manifest: the columns of every manifest, then `SOURCE_SCHEMA`."""

    name: str
    width: int
    height: int
    fps: float
    duration: float
    frames: int
    has_audio: bool
    audio_rate: int
    audio_channels: int
    video_codec: str
    square_pixels: bool
    breaks: str | None
    spans: str


@dataclass(frozen=True)
class Source:
    """A source video that can be cut."""

    path: SourceFile
    sha256: str
    info: MediaInfo
    spans: Any = None
    breaks: tuple[float, ...] | None = None  # of a rebuilt clock; None: the file is read as it is

    @cached_property
    def id(self) -> str:
        """Its name in ids."""
        return slug(self.path.stem)

    @contextmanager
    def opened(self, cache_bytes: int) -> Iterator[Path]:
        """A local file of the source, with one continuous clock."""
        with local_file(self.path, cache_bytes) as local:
            if self.breaks is None:
                yield local
            else:
                with timed_file(local, self.sha256, cache_bytes) as timed:
                    yield timed


@dataclass(frozen=True)
class SourceTask:
    """What a worker needs to inspect one source."""

    file: SourceFile
    sha256: str
    limits: ClipConfig
    settings: Any = None  # of the kind's own inspection


def inspect_source(task: SourceTask) -> dict[str, Any]:
    """The columns of `SOURCE_SCHEMA`. Raises `Rejection` for what can't be used at all."""
    size = task.file.size if isinstance(task.file, RemoteFile) else task.file.stat().st_size
    if size > task.limits.max_source_bytes:
        raise Rejection(f"the source is larger than {task.limits.max_source_bytes} bytes")
    breaks: list[float] | None = None
    try:
        container = _read(task.file, container_of)
        if container in UNTIMED | SPLICED:
            with local_file(task.file, task.limits.cache_bytes) as local:
                breaks = clock_breaks(local) if container in SPLICED else []
                rebuilt = breaks or container in UNTIMED
                if rebuilt:
                    with timed_file(local, task.sha256, task.limits.cache_bytes) as timed:
                        info = probe(timed)
                else:
                    breaks, info = None, probe(local)
        else:
            info = _read(task.file, probe)
    except MediaError as error:
        raise Rejection(f"source: {error}") from None
    if info.duration > task.limits.max_source_seconds:
        raise Rejection(f"the source is longer than {task.limits.max_source_seconds:g} s")
    if not info.audio_rate:
        raise Rejection("the source has no audio")
    return {
        **{"path": "", "sha256": task.sha256, "name": task.file.name},
        **asdict(info),
        "breaks": None if breaks is None else json.dumps(breaks),
    }


def _read(file: SourceFile, reader: Callable[[Media], T]) -> T:
    """The result of `reader` on a source; of a remote source only what it reads is fetched."""
    if isinstance(file, Path):
        return reader(file)
    try:
        with asking(file.url), fsspec.open(file.url, "rb") as opened:
            return reader(opened)
    except MediaError:
        raise
    except (OSError, UserError) as error:
        raise TransientError(f"the source can't be fetched: {error}") from None


def inspect_sources(
    store: Store,
    dataset: str,
    files: Mapping[SourceFile, str],
    limits: ClipConfig,
    *,
    workers: Workers,
    inspect: Callable[[SourceTask], dict[str, Any]] = inspect_source,
    settings: Any = None,
    limit_seconds: float | None = None,
    retry_rejected: bool = False,
) -> dict[SourceFile, Source | Rejection]:
    """Every file of `files` (path -> speaker) as a `Source`, or the reason why it can't be used.

    Rows of other files stay (`known_sources`).
    """
    paths = sorted(files, key=str)
    hashes = content_hashes(store, dataset, paths)
    ids = unique(f"{dataset}/{slug(files[p])}/{slug(p.name)}" for p in paths)
    print_of = {"limits": limits.settings(), "settings": settings, "code": CODE_VERSION}
    jobs = [
        ClipWork(
            clip_id=clip_id,
            fingerprint=sha256_json([hashes[path], print_of]),
            payload=SourceTask(path, hashes[path], limits, settings),
            columns={"speaker": slug(files[path])},
        )
        for path, clip_id in zip(paths, ids, strict=True)
    ]
    result = update_manifest(
        store,
        STAGE,
        dataset,
        jobs,
        inspect,
        extra_schema=SOURCE_SCHEMA,
        workers=workers,
        retry_rejected=retry_rejected,
        limit_seconds=limit_seconds or limits.timeout_seconds,
        keep_row=lambda row: True,
    )
    rows = cast(list[SourceRow], result.table.to_pylist())
    return {path: _source(path, row) for path, row in zip(paths, rows, strict=True)}


def known_sources(store: Store, dataset: str) -> dict[str, dict[SourceFile, Source]]:
    """The sources of earlier runs, by speaker and bare file name: a clip stays although its source
    is gone."""
    known: dict[str, dict[SourceFile, Source]] = defaultdict(dict)
    for row in cast(list[SourceRow], read_manifest(store, STAGE, dataset)):
        if row["status"] == KEPT:
            path = Path(row["name"])
            known[row["speaker"]][path] = source_of(path, row)
    return known


def content_hashes(
    store: Store, dataset: str, paths: Sequence[SourceFile]
) -> dict[SourceFile, str]:
    """sha256 of each file, cached by path, size and time, so that gigabytes are read once.

    Of a file in an object store it is the hash of its listing (ETag, size, time): nothing is
    fetched for it.
    """
    rel = HASHES.format(dataset=dataset)
    known: dict[str, list[Any]] = store.read_json(rel, absent={})
    hashes: dict[SourceFile, str] = {}
    changed = False
    with Progress(len(paths), f"hashes of {dataset}", unit="file") as progress:
        for path in paths:
            if isinstance(path, RemoteFile):
                hashes[path] = path.stamp
                continue
            stat = path.stat()
            key, stamp = str(path.absolute()), [stat.st_size, stat.st_mtime_ns]
            if known.get(key, [])[:2] != stamp:
                known[key] = [*stamp, sha256_file(path)]
                changed = True
            hashes[path] = known[key][2]
            progress.update()
    if changed:
        store.write_json(rel, known)
    return hashes


def source_of(path: SourceFile, row: SourceRow) -> Source:
    """The source that a kept row describes."""
    spans = json.loads(row.get("spans") or "null")
    breaks = row.get("breaks")
    where = None if breaks is None else tuple(json.loads(breaks))
    return Source(path, row["sha256"], _info(row), spans, where)


def _source(path: SourceFile, row: SourceRow) -> Source | Rejection:
    if row["status"] != KEPT:
        again = row["fingerprint"] == NO_FINGERPRINT
        return TransientError(row["reason"]) if again else Rejection(row["reason"])
    return source_of(path, row)


def _info(row: SourceRow) -> MediaInfo:
    named = cast(dict[str, Any], row)
    return MediaInfo(**{field.name: named[field.name] for field in fields(MediaInfo)})
