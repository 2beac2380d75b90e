"""Near duplicates: the same moment twice, encoded again or uploaded under another name.

One studio and one face look alike in every clip, so a picture's hash alone proves nothing: a near
duplicate has the same pictures and the same sound at the same times.
"""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from paha_core.engine.manifest_files import Row, some_rows, with_column
from paha_core.engine.manifest_stage import KEPT

COLUMNS = ("clip_id", "status", "split", "speaker", "source_id", "content_hash")  # that are read
PICTURES = 3  # frames of a clip with a perceptual hash of 64 bits each
BAND = np.uint16  # part of the sound's hash that candidates share
# Bits that may differ, of 64 and of 176. Encoded again, drawn clips differed in up to 16 and 10;
# other moments of the same person in as few as 6, and 83.
PICTURE_BITS, SOUND_BITS = 20, 30
ONES = np.array([byte.bit_count() for byte in range(256)], np.uint8)

SourceKey = tuple[str, str]  # speaker and name


def mark_duplicates(table: pa.Table) -> pa.Table:
    """The rows of one corpus with two more columns, which may be empty.

    `duplicate_of`: the first clip, by id, that a kept one repeats. `in_train`: the training clip
    that a test clip repeats, or else the source that it shares with training clips.
    """
    rows = some_rows(table, COLUMNS)
    kept = {row["clip_id"]: row for row in rows if row["status"] == KEPT}
    pairs = near_clips(rows)
    originals: dict[str, str] = {}
    for first, repeated in pairs:
        if first not in originals:
            originals.setdefault(repeated, first)
    trained = {source_key(row) for row in kept.values() if row["split"] == "train"}
    known = {
        clip_id: row["source_id"]
        for clip_id, row in kept.items()
        if row["split"] == "test" and source_key(row) in trained
    }
    known |= _tested_in_train(kept, pairs)
    for name, found in (("duplicate_of", originals), ("in_train", known)):
        table = with_column(table, name, [found.get(row["clip_id"], "") for row in rows])
    return table


def in_train_of_any(rows: list[Row]) -> dict[str, str]:
    """The test clips that repeat a training clip, with that clip, among rows of several corpora."""
    kept = {row["clip_id"]: row for row in rows if row["status"] == KEPT}
    return _tested_in_train(kept, near_clips(rows))


def _tested_in_train(kept: Mapping[str, Row], pairs: Sequence[tuple[str, str]]) -> dict[str, str]:
    return {
        a: b
        for first, later in pairs
        for a, b in ((first, later), (later, first))
        if kept[a]["split"] == "test" and kept[b]["split"] == "train"
    }


def source_key(row: Row) -> SourceKey:
    """Speaker and name of a row's source: two speakers' sources may have the same name."""
    return row["speaker"], str(row["source_id"])


def repeated_sources(rows: list[Row]) -> dict[SourceKey, SourceKey]:
    """Maps each kept row's source to the first, by key, of the sources that repeat it, directly or
    through others; to itself where none does."""
    source = {row["clip_id"]: source_key(row) for row in rows if row["status"] == KEPT}
    group = {key: key for key in source.values()}
    for a, b in near_clips(rows):
        one, other = sorted((group[source[a]], group[source[b]]))
        if one != other:
            group = {key: one if first == other else first for key, first in group.items()}
    return group


def near_clips(rows: list[Row]) -> list[tuple[str, str]]:
    """The pairs of kept clips, by id, of which the later one repeats the earlier."""
    hashed = [row for row in rows if row["status"] == KEPT and row.get("content_hash")]
    hashed.sort(key=lambda row: str(row["clip_id"]))
    ids = [row["clip_id"] for row in hashed]
    return [(ids[a], ids[b]) for a, b in near_pairs([row["content_hash"] for row in hashed])]


def near_pairs(hashes: Sequence[str]) -> list[tuple[int, int]]:
    """The hashes of the same moment: pairs (earlier, later) of their indices, in the order of the
    later ones. Candidates share a part of the sound's hash, so their number stays small."""
    if not hashes:
        return []
    pictures, sounds = (
        np.frombuffer(bytes.fromhex("".join(part)), np.uint8).reshape(len(hashes), -1)
        for part in zip(*(each.split(":") for each in hashes), strict=True)
    )
    found: set[tuple[int, int]] = set()
    for keys in sounds.view(BAND).T:
        order = np.argsort(keys, kind="stable")
        left = np.arange(len(hashes) - 1)  # places in the order whose neighbour may be a candidate
        for apart in itertools.count(1):
            left = left[: np.searchsorted(left, len(hashes) - apart)]
            left = left[keys[order[left]] == keys[order[left + apart]]]
            if not len(left):
                break
            earlier, later = order[left], order[left + apart]
            near = _are_near(pictures, sounds, earlier, later)
            found.update(zip(earlier[near].tolist(), later[near].tolist(), strict=True))
    return sorted(found, key=lambda pair: (pair[1], pair[0]))


def _are_near(
    pictures: NDArray[np.uint8],
    sounds: NDArray[np.uint8],
    a: NDArray[np.intp],
    b: NDArray[np.intp],
) -> NDArray[np.bool_]:
    near = ONES[sounds[a] ^ sounds[b]].sum(axis=1) <= SOUND_BITS
    a, b = a[near], b[near]  # few are left
    bits = ONES[pictures[a] ^ pictures[b]].reshape(len(a), PICTURES, pictures.shape[1] // PICTURES)
    near[np.flatnonzero(near)] = bits.sum(axis=2).max(axis=1) <= PICTURE_BITS
    return np.asarray(near)
