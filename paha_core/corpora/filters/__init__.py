"""Filters of clips: each gives a score, and a reason when the score is beyond its threshold.

A filter is a small frozen dataclass (its fields are its settings and part of a clip's fingerprint)
with a `name` and `check(clip) -> score`, which raises `FilterFailed`.
"""

from paha_core.corpora.filters.body import HandsVisible, WholeBody
from paha_core.corpora.filters.clip_data import (
    PROBES,
    ClipData,
    Filter,
    FilterFailed,
    apply_filters,
)
from paha_core.corpora.filters.common import common_filters
from paha_core.corpora.filters.detectors import find_faces
from paha_core.corpora.filters.parts import BodyParts
from paha_core.corpora.filters.picture import NotFrozen, OnePerson, OneScene, WholeFace
from paha_core.corpora.filters.sound import Audible, CleanSpeech, SpeechShare, Unclipped
from paha_core.corpora.filters.stability import StableDetections
from paha_core.corpora.filters.sync_network import NO_CHECK, SyncCheck, sync_check

__all__ = [
    "NO_CHECK",
    "PROBES",
    "Audible",
    "BodyParts",
    "CleanSpeech",
    "ClipData",
    "Filter",
    "FilterFailed",
    "HandsVisible",
    "NotFrozen",
    "OnePerson",
    "OneScene",
    "SpeechShare",
    "StableDetections",
    "SyncCheck",
    "Unclipped",
    "WholeBody",
    "WholeFace",
    "apply_filters",
    "common_filters",
    "find_faces",
    "sync_check",
]
