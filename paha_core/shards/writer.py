"""Writes clips into shards, and the index of their byte ranges.

A shard's name ends with the start of its content's hash: same samples, same bytes, same name, and a
published shard never changes. Each clip's row has the shard, the byte range of its entries and
their hash, so that one clip is read (or copied to another shard) without the rest.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import tarfile
import tempfile
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from io import RawIOBase
from pathlib import Path
from typing import BinaryIO, cast

import numpy as np
import pyarrow as pa

from paha_core.engine.manifest_files import Row, manifest_path
from paha_core.engine.manifest_stage import KEPT, ManifestRow, kept_rows, stage_schema
from paha_core.shards.sample import ClipSample, SampleError, to_tar
from paha_core.store import Store

# The encoders that all clips have in common, and those that the clips of one data set do.
VISUAL_ENCODERS = ("codec", "codec_sha256", "reference_encoder", "reference_encoder_sha256")
AUDIO_ENCODERS = ("audio_encoder", "audio_encoder_sha256")
INDEX_SCHEMA = stage_schema(
    pa.schema(
        [
            ("key", pa.string()),
            ("shard", pa.string()),  # relative to the store; also the row's `path`
            ("offset", pa.int64()),  # of the clip's first tar entry
            ("bytes", pa.int64()),  # of all its entries
            ("checksum", pa.string()),  # of those bytes; `sha256` is the whole shard's
            ("frames", pa.int32()),
            *((name, pa.string()) for name in (*VISUAL_ENCODERS, *AUDIO_ENCODERS)),
        ]
    )
)


class IndexRow(ManifestRow):
    """A row of a shard index: the columns of every manifest, then those of `INDEX_SCHEMA`."""

    key: str
    shard: str
    offset: int
    bytes: int
    checksum: str
    frames: int
    codec: str
    codec_sha256: str
    reference_encoder: str
    reference_encoder_sha256: str
    audio_encoder: str
    audio_encoder_sha256: str


BLOCK_WORDS = 8192
_PIECE = 8 * BLOCK_WORDS * 8


@dataclass(frozen=True)
class Packed:
    """A clip's tar entries, and the columns of its row that do not depend on the shard."""

    data: bytes
    columns: Row


def pack(sample: ClipSample) -> Packed:
    """Serialise a sample for a shard; `meta` fills the columns of the same names."""
    named = {name: sample.meta.get(name, "") for name in INDEX_SCHEMA.names}
    columns = named | {"key": sample.key, "frames": sample.frames, "status": KEPT, "reason": ""}
    return Packed(to_tar(sample), columns)


def write_shards(
    store: Store,
    prefix: str,
    samples: Iterable[ClipSample],
    *,
    clips_per_shard: int,
    shard_bytes: int | None = None,
) -> list[IndexRow]:
    """Write `samples`, in their order, as `<prefix>-<nnnn>-<hash8>.tar`; one index row a clip.

    `meta` should hold clip_id, dataset, speaker, split, codec, audio_encoder and reference_encoder
    (and `fingerprint`, where the caller has one). A shard is full with that many clips or bytes,
    whichever comes first; its last clip may go past the bytes. Holds one sample in memory at a
    time. Raises `ValueError` for two samples of one key. `write_index` makes the rows a manifest.
    """
    packed = (pack(sample) for sample in samples)
    shards = write_packed(store, prefix, packed, clips_per_shard, shard_bytes)
    return [row for shard in shards for row in shard]


def write_packed(
    store: Store,
    prefix: str,
    packed: Iterable[Packed],
    clips_per_shard: int,
    shard_bytes: int | None = None,
    start: int = 0,
) -> Iterator[list[IndexRow]]:
    """Shards numbered from `start`; yields each shard's rows once it is published."""
    clips, number = iter(packed), start
    while first := next(clips, None):
        rest = _until_full(first, clips, clips_per_shard, shard_bytes)
        yield _write_shard(store, f"{prefix}-{number:04d}", first, rest)
        number += 1


def _until_full(
    first: Packed, clips: Iterator[Packed], most_clips: int, most_bytes: int | None
) -> Iterator[Packed]:
    """The rest of the shard that starts with `first`; never consumes a clip of the next shard."""
    count, size = 1, len(first.data)
    while count < most_clips and (most_bytes is None or size < most_bytes):
        clip = next(clips, None)
        if clip is None:
            return
        count, size = count + 1, size + len(clip.data)
        yield clip


def write_index(store: Store, stage: str, dataset: str, rows: list[IndexRow]) -> pa.Table:
    """Publish `rows` as the manifest of `stage` for `dataset`."""
    filled = [{name: row.get(name) for name in INDEX_SCHEMA.names} for row in rows]
    table = pa.Table.from_pylist(filled, schema=INDEX_SCHEMA)
    store.write_table(manifest_path(stage, dataset), table)
    return table


def index_rows(store: Store, stage: str, datasets: Sequence[str]) -> list[IndexRow]:
    """The rows of the clips that the shards of `stage` hold."""
    return cast(list[IndexRow], kept_rows(store, stage, datasets))


def encoders_of(rows: Iterable[IndexRow]) -> dict[str, str]:
    """Names and hashes of the encoders of an index's rows."""
    found: dict[str, set[str]] = {name: set() for name in (*VISUAL_ENCODERS, *AUDIO_ENCODERS)}
    for row in rows:
        for name, values in found.items():
            values.add(str(row.get(name) or ""))
    return {name: ", ".join(sorted(values)) for name, values in found.items()}


def read_packed(store: Store, row: IndexRow) -> bytes:
    """The tar entries of one clip, where its index row places them. `OSError` if absent."""
    start, stop = row["offset"], row["offset"] + row["bytes"]
    if store.is_local:  # ten times as fast as through fsspec
        with open(store.full(row["shard"]), "rb", buffering=0) as file:
            file.seek(start)
            data = file.read(row["bytes"])
    else:
        data = store.read_bytes(row["shard"], start, stop)
    if len(data) != row["bytes"]:
        raise OSError(f"ends at byte {start + len(data)}, before its clip {row['clip_id']} does")
    return data


def read_verified(store: Store, row: IndexRow) -> bytes | memoryview:
    """`read_packed`, with every byte checked. Raises `SampleError` when they have changed.

    Local files are read in pieces that are summed while they are in the processor's cache: one pass
    over the memory instead of two.
    """
    if not store.is_local:
        data: bytes | memoryview = read_packed(store, row)
        found = checksum(data)
    else:
        data, total = np.empty(row["bytes"], np.uint8).data, Checksum()
        with open(store.full(row["shard"]), "rb", buffering=0) as file:
            file.seek(row["offset"])
            for start in range(0, row["bytes"], _PIECE):
                piece = data[start : start + _PIECE]
                _read_into(file, piece, row)
                total.update(piece)
        data, found = data.toreadonly(), total.hexdigest()
    if found != row["checksum"]:
        raise SampleError("its bytes are not those that were written")
    return data


def _read_into(file: RawIOBase, piece: memoryview, row: IndexRow) -> None:
    """Fill the piece: one call may read fewer bytes than requested."""
    while len(piece):
        count = file.readinto(piece)
        if not count:
            raise OSError(f"ends at byte {file.tell()}, before its clip {row['clip_id']} does")
        piece = piece[count:]


def is_intact(data: bytes, row: IndexRow) -> bool:
    """Whether a clip's tar entries match their checksum."""
    return checksum(data) == row["checksum"]


class Checksum:
    """Hex hash of the sums of 64 KB blocks of 8-byte words; a clip's entries are a multiple of 512
    bytes.

    Damage by disks and networks (a flipped bit, lost or zeroed pages, blocks out of order) changes
    a sum. It runs at the speed of memory: hashing all bytes would take longer than reading them.
    """

    def __init__(self) -> None:
        self._digest, self._bytes = hashlib.sha256(), 0
        self._rest = np.uint64(0)

    def update(self, data: bytes | memoryview) -> None:
        """Each piece but the last is a multiple of 64 KB."""
        words = np.frombuffer(data, "<u8")
        whole = len(words) // BLOCK_WORDS * BLOCK_WORDS
        blocks = words[:whole].reshape(-1, BLOCK_WORDS).sum(axis=1, dtype=np.uint64)
        self._digest.update(blocks.tobytes())
        self._rest = words[whole:].sum(dtype=np.uint64)
        self._bytes += len(data)

    def hexdigest(self) -> str:
        digest = self._digest.copy()
        digest.update(self._rest.tobytes())
        digest.update(self._bytes.to_bytes(8, "little"))
        return digest.hexdigest()[:32]


def checksum(data: bytes | memoryview) -> str:
    """The `Checksum` of data in one piece."""
    total = Checksum()
    total.update(data)
    return total.hexdigest()


def _write_shard(store: Store, stem: str, first: Packed, rest: Iterable[Packed]) -> list[IndexRow]:
    """Written under a temporary name first: the final name needs the content's hash."""
    aside = Path(store.full(stem)).parent if store.is_local else None
    if aside is not None:
        os.makedirs(aside, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=".writing-", dir=aside) as folder:
        local = Path(folder) / "shard.tar"
        with local.open("wb") as file:
            rows, sha256 = _fill(file, [first], rest)
        shard = f"{stem}-{sha256[:8]}.tar"
        with store.writing(shard) as path:
            shutil.move(local, path)
    made = [row | {"shard": shard, "path": shard, "sha256": sha256} for row in rows]
    return cast(list[IndexRow], made)


def _fill(file: BinaryIO, first: list[Packed], rest: Iterable[Packed]) -> tuple[list[Row], str]:
    rows: list[Row] = []
    whole = hashlib.sha256()
    keys: set[str] = set()
    for clips in (first, rest):
        for clip in clips:
            key = clip.columns["key"]
            if key in keys:
                raise ValueError(f"two samples of the key {key} in one shard")
            keys.add(key)
            place = {"offset": file.tell(), "bytes": len(clip.data)}
            rows.append(clip.columns | place | {"checksum": checksum(clip.data)})
            file.write(clip.data)
            whole.update(clip.data)
    # Two empty blocks end a tar, and its length is a whole number of records.
    ending = 2 * tarfile.BLOCKSIZE
    ending += -(file.tell() + ending) % tarfile.RECORDSIZE
    file.write(bytes(ending))
    whole.update(bytes(ending))
    return rows, whole.hexdigest()
