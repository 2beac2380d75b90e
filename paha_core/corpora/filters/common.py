"""The filters that every kind of corpus may have; a null threshold turns one off."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from paha_core.config import CorpusConfig
from paha_core.corpora.filters.clip_data import Filter
from paha_core.corpora.filters.quality import (
    BrightEnough,
    Detailed,
    FacingCamera,
    LargeFace,
    LargeSource,
    NotOverexposed,
    SharpFace,
    SharpHands,
    SourceRate,
)
from paha_core.corpora.filters.sync import LipsMove, LipsRest, LipSync, SyncOffset


def common_filters(settings: CorpusConfig) -> tuple[Filter, ...]:
    """The filters that are on, cheap ones first."""
    choices: list[tuple[Callable[[Any], Filter], float | None]] = [
        (SourceRate, settings.min_source_fps),
        (LargeSource, settings.min_source_side),
        (BrightEnough, settings.min_luma),
        (NotOverexposed, settings.max_luma),
        (Detailed, settings.min_detail),
        (LargeFace, settings.min_face_area),
        (SharpFace, settings.min_face_sharpness),
        (SharpHands, settings.min_hand_sharpness),
        (FacingCamera, settings.min_facing),
        (LipsMove, settings.min_lip_motion),
        (LipsRest, settings.max_lip_rest),
        (LipSync, settings.min_sync_confidence),
        (SyncOffset, settings.max_sync_offset),
    ]
    return tuple(make(threshold) for make, threshold in choices if threshold is not None)
