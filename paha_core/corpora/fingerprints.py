"""Fingerprints of clips: the hash of what a clip is made from.

A list may have 100,000 rows, so the json of what the clips of a corpus have in common is made once.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict
from functools import lru_cache
from typing import Any

from paha_core.corpora.filters import Filter, SyncCheck
from paha_core.corpora.regions import Crop

CommonJson = tuple[str, str, str]


@lru_cache
def common_json(
    code: str,
    size: int,
    crf: int,
    filters: tuple[Filter, ...],
    sync: SyncCheck,
    follow_face: bool,
    speaking: Any,
) -> CommonJson:
    """The canonical json of a clip's code and settings: the text before its source's hash, from
    there to its span, and behind that. `speaking`: version of the choice of the speaker, or None.
    """
    settings: dict[str, Any] = {
        "span": "@span",
        "clip": [size, crf],
        "filters": {f.name: asdict(f) for f in filters},  # type: ignore[call-overload]
    }
    settings |= {"follow_face": True} if follow_face else {}
    settings |= sync.settings()
    settings |= {"speaking": speaking} if speaking else {}
    text = json.dumps(["@source", settings, code], sort_keys=True, default=str)
    before, rest = text.split('"@source"')
    between, after = rest.split('"@span"')
    return before, between, after


def clip_fingerprint(source: str, start: float, frames: int, crop: Crop, common: CommonJson) -> str:
    """`sha256_json` of source, settings with the span, and code."""
    before, between, after = common
    square = f'{{"left": {crop.left}, "side": {crop.side}, "top": {crop.top}}}'
    span = f"[{start}, {frames}, {square}]"
    text = f"{before}{json.dumps(source)}{between}{span}{after}"
    return hashlib.sha256(text.encode()).hexdigest()
