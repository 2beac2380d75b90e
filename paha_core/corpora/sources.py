"""Source videos: what is in each, looked at once and remembered by its content.

The stage `sources` has one row a file. A file that can't be used is a rejected row there, and its
reason is what every clip that would come from it is rejected with.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import fsspec
import pyarrow as pa

from paha_core.config import ClipConfig
from paha_core.corpora.names import slug, unique
from paha_core.corpora.source_files import RemoteFile, SourceFile
from paha_core.media.ffmpeg import MediaError
from paha_core.media.video import MediaInfo, probe
from paha_core.stages import KEPT, Job, Rejection, run_stage
from paha_core.store import Store, sha256_file, sha256_json

STAGE = "sources"
HASHES = "manifests/sources/{dataset}.hashes.json"
CODE_VERSION = "sources-1"

SOURCE_SCHEMA = pa.schema(
    [
        ("name", pa.string()),
        ("source_sha256", pa.string()),  # of one in an object store: a hash of its listing
        ("width", pa.int32()),  # as displayed
        ("height", pa.int32()),
        ("fps", pa.float64()),  # average
        ("seconds", pa.float64()),
        ("codec", pa.string()),
        ("audio_rate", pa.int32()),  # Hz
        ("audio_channels", pa.int32()),
        ("square_pixels", pa.bool_()),
    ]
)


@dataclass(frozen=True)
class Source:
    """A source video that can be cut."""

    path: SourceFile
    sha256: str
    width: int
    height: int
    fps: float
    seconds: float
    audio_rate: int
    audio_channels: int
    square_pixels: bool


@dataclass(frozen=True)
class SourceTask:
    """What a look at one source needs."""

    file: SourceFile
    sha256: str
    limits: ClipConfig
    settings: Any = None  # of a corpus' own look

    @property
    def path(self) -> Path:
        """The local file, for looks that need one."""
        if isinstance(self.file, RemoteFile):
            raise TypeError(f"{self.file.url} is not local")
        return self.file


def look_at_source(task: SourceTask) -> dict[str, Any]:
    """The columns of `SOURCE_SCHEMA`. Raises `Rejection` for what can't be used at all."""
    size = task.file.size if isinstance(task.file, RemoteFile) else task.file.stat().st_size
    if size > task.limits.max_source_bytes:
        raise Rejection(f"the source is larger than {task.limits.max_source_bytes} bytes")
    try:
        info = _probe(task.file)
    except MediaError as error:
        raise Rejection(f"source: {error}") from None
    if info.duration > task.limits.max_source_seconds:
        raise Rejection(f"the source is longer than {task.limits.max_source_seconds:g} s")
    if not info.has_audio or not info.audio_rate:
        raise Rejection("the source has no audio")
    return {
        "path": "",
        "sha256": "",
        "name": task.file.name,
        "source_sha256": task.sha256,
        "width": info.width,
        "height": info.height,
        "fps": info.fps,
        "seconds": info.duration,
        "codec": info.video_codec,
        "audio_rate": info.audio_rate,
        "audio_channels": info.audio_channels,
        "square_pixels": info.square_pixels,
    }


def _probe(file: SourceFile) -> MediaInfo:
    if isinstance(file, Path):
        return probe(file)
    try:
        with fsspec.open(file.url, "rb") as opened:  # reads the index and a picture, not all of it
            return probe(opened)
    except OSError as error:
        raise Rejection(f"the source can't be fetched: {error.strerror or error}") from None


def look_at_sources(
    store: Store,
    dataset: str,
    files: Mapping[SourceFile, str],
    limits: ClipConfig,
    *,
    workers: int,
    look: Callable[[SourceTask], dict[str, Any]] = look_at_source,
    settings: Any = None,
    retry_rejected: bool = False,
) -> dict[SourceFile, Source | Rejection]:
    """Every file of `files` (path -> speaker) as a `Source`, or as the reason why it is none."""
    paths = sorted(files, key=str)
    hashes = content_hashes(store, dataset, paths)
    ids = unique(f"{dataset}/{slug(files[p])}/{slug(p.name)}" for p in paths)
    print_of = {"limits": limits.settings(), "settings": settings, "code": CODE_VERSION}
    jobs = [
        Job(
            clip_id=clip_id,
            fingerprint=sha256_json([hashes[path], print_of]),
            payload=SourceTask(path, hashes[path], limits, settings),
            columns={"speaker": slug(files[path]), "split": ""},
        )
        for path, clip_id in zip(paths, ids, strict=True)
    ]
    result = run_stage(
        store,
        STAGE,
        dataset,
        jobs,
        look,
        extra_schema=SOURCE_SCHEMA,
        workers=workers,
        retry_rejected=retry_rejected,
        limit_seconds=limits.timeout_seconds,
    )
    rows = result.table.to_pylist()
    return {path: _source(path, row) for path, row in zip(paths, rows, strict=True)}


def content_hashes(
    store: Store, dataset: str, paths: Sequence[SourceFile]
) -> dict[SourceFile, str]:
    """sha256 of each file. Remembered by path, size and time, so that gigabytes are read once.

    Of a file in an object store it is the hash of its listing (ETag, size, time): nothing is
    fetched for it.
    """
    rel = HASHES.format(dataset=dataset)
    known: dict[str, list[Any]] = store.read_json(rel) if store.exists(rel) else {}
    hashes: dict[SourceFile, str] = {}
    changed = False
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
    if changed:
        store.write_json(rel, known)
    return hashes


def _source(path: SourceFile, row: dict[str, Any]) -> Source | Rejection:
    if row["status"] != KEPT:
        return Rejection(row["reason"])
    return Source(
        path=path,
        sha256=row["source_sha256"],
        **{
            name: row[name]
            for name in ("width", "height", "fps", "seconds", "audio_rate", "audio_channels")
        },
        square_pixels=row["square_pixels"],
    )
