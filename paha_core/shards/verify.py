"""Compares shards with their index, byte for byte, and names the damaged clips."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, field

from paha_core.shards.sample import SampleError, from_tar
from paha_core.shards.writer import IndexRow, index_rows, read_verified
from paha_core.store import Store

_PIECE = 1 << 22


@dataclass(frozen=True)
class Verified:
    """What was read; `problems`: shard -> what is wrong with it."""

    shards: int
    clips: int
    bytes: int
    problems: dict[str, str] = field(default_factory=dict)


def verify_shards(
    store: Store, datasets: Sequence[str], stage: str = "training_shards"
) -> Verified:
    """Read every shard of the stage and compare it with the index, one piece in memory at a time.

    A shard is intact when its sha256 is the index's; else it is read clip by clip, so that the
    damaged ones are named. An index with two hashes for one shard is a problem too.
    """
    rows = index_rows(store, stage, datasets)
    shards: dict[str, list[IndexRow]] = {}
    for row in rows:
        shards.setdefault(row["shard"], []).append(row)
    problems, size = {}, 0
    for shard, members in shards.items():
        try:
            sha256, length = _hash(store, shard)
        except FileNotFoundError:
            problems[shard] = f"missing, with {len(members)} clips"
            continue
        size += length
        if {row["sha256"] for row in members} != {sha256}:
            problems[shard] = _damage(store, members)
    return Verified(len(shards), len(rows), size, problems)


def _hash(store: Store, shard: str) -> tuple[str, int]:
    digest, length = hashlib.sha256(), 0
    with store.reading(shard) as path, open(path, "rb") as file:
        while piece := file.read(_PIECE):
            digest.update(piece)
            length += len(piece)
    return digest.hexdigest(), length


def _damage(store: Store, members: list[IndexRow]) -> str:
    harmed = [row["clip_id"] for row in members if not _readable(store, row)]
    if not harmed:
        return "not the bytes that were written, though every clip in it is intact"
    more = f" and {len(harmed) - 3} more" if len(harmed) > 3 else ""
    return (
        f"not the bytes that were written: {len(harmed)} of {len(members)} clips are harmed"
        f" ({', '.join(harmed[:3])}{more})"
    )


def _readable(store: Store, row: IndexRow) -> bool:
    try:
        return from_tar(read_verified(store, row)).key == row["key"]
    except (OSError, SampleError):
        return False
