"""Near duplicates: the same moment twice, encoded again or uploaded under another name.

One studio and one face look alike in every clip, so a picture's hash alone proves nothing: a near
duplicate has the same pictures and the same sound at the same times.
"""

from __future__ import annotations

import itertools
from collections import defaultdict
from typing import Any

import imagehash
import numpy as np
from numpy.typing import NDArray
from PIL import Image

from paha_core.corpora.filters import ClipData
from paha_core.corpora.filters.sync_estimate import band_energy
from paha_core.engine.manifest_stage import KEPT

PICTURES = 3  # frames of a clip with a perceptual hash of 64 bits each
CELLS = 17  # parts of a clip's time in the sound's hash
BAND = 4  # hex digits of the sound's hash that candidates share
# Bits that may differ, of 64 and of 176. Encoded again, drawn clips differed in up to 16 and 10;
# other moments of the same person in as few as 6, and 83.
PICTURE_BITS, SOUND_BITS = 20, 30


def content_hash(clip: ClipData) -> str:
    """Hex digits: the perceptual hashes of `PICTURES` frames, a colon, the sound's; nothing for a
    clip of fewer than `CELLS` frames."""
    if len(clip.thumbnails) < CELLS:
        return ""
    picks = np.linspace(0, len(clip.probes) - 1, PICTURES + 2).round().astype(int)[1:-1]
    pictures = [str(imagehash.phash(Image.fromarray(clip.probes[n]))) for n in picks]
    energy = band_energy(clip.speech, len(clip.thumbnails))
    edges = np.linspace(0, energy.shape[1], CELLS + 1).astype(int)
    cells = np.stack([energy[:, a:b].mean(axis=1) for a, b in itertools.pairwise(edges)])
    bits = np.diff(np.diff(cells, axis=0), axis=1) > 0  # against the band above, a cell later
    return "".join(pictures) + ":" + np.packbits(bits.ravel()).tobytes().hex()


def mark_duplicates(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The rows of one speaker; `duplicate_of` names the first clip, by id, that a kept one repeats,
    and is empty elsewhere."""
    known = [row for row in rows if row["status"] == KEPT and row.get("content_hash")]
    bits = {row["clip_id"]: _bits(row["content_hash"]) for row in known}
    buckets: dict[tuple[int, str], list[str]] = defaultdict(list)
    originals: dict[str, str] = {}
    for row in sorted(known, key=lambda row: str(row["clip_id"])):
        clip_id, sound = row["clip_id"], row["content_hash"].partition(":")[2]
        keys = [(n, sound[n : n + BAND]) for n in range(0, len(sound), BAND)]
        candidates = {other for key in keys for other in buckets[key]}
        same = [other for other in candidates if _is_near(bits[clip_id], bits[other])]
        if same:
            originals[clip_id] = min(same)
            continue
        for key in keys:
            buckets[key].append(clip_id)
    return [row | {"duplicate_of": originals.get(row["clip_id"], "")} for row in rows]


def _bits(content: str) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    pictures, _, sound = content.partition(":")
    pixels, heard = (np.frombuffer(bytes.fromhex(part), np.uint8) for part in (pictures, sound))
    return np.unpackbits(pixels).reshape(PICTURES, -1), np.unpackbits(heard)


def _is_near(
    a: tuple[NDArray[np.uint8], NDArray[np.uint8]], b: tuple[NDArray[np.uint8], NDArray[np.uint8]]
) -> bool:
    pictures = (a[0] != b[0]).sum(axis=1).max()
    return bool(pictures <= PICTURE_BITS and (a[1] != b[1]).sum() <= SOUND_BITS)
