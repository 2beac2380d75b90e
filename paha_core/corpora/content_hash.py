"""The perceptual hash of a clip's pictures and sound, by which near duplicates are found."""

from __future__ import annotations

import itertools

import imagehash
import numpy as np
from PIL import Image

from paha_core.corpora.duplicates import PICTURES
from paha_core.corpora.filters import ClipData
from paha_core.corpora.filters.sync_estimate import band_energy

CELLS = 17  # parts of a clip's time in the sound's hash


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
