"""The filters that every kind of corpus may have; a null threshold turns one off."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

from paha_core.config import CorpusConfig
from paha_core.corpora.filters.clip_data import Filter
from paha_core.corpora.filters.overlays import LittleText, SteadyCamera
from paha_core.corpora.filters.picture import OneScene
from paha_core.corpora.filters.quality import (
    AlwaysFacing,
    BrightEnough,
    Detailed,
    FacingCamera,
    LargeFace,
    LargeSource,
    NotOverexposed,
    SharpFace,
    SharpHands,
    SourceRate,
    SteadyHead,
)
from paha_core.corpora.filters.sound import CleanBackground
from paha_core.corpora.filters.sync import (
    LipsMove,
    LipsRest,
    LipsSpeak,
    LipSync,
    SyncC,
    SyncOffset,
)

Maker = Callable[[Any], Filter]


def common_filters(settings: CorpusConfig, *, without: Iterable[Maker] = ()) -> tuple[Filter, ...]:
    """The filters that are on, cheap ones first; `without`: filters that a kind applies before
    these."""
    choices: list[tuple[Maker, float | None]] = [
        (OneScene, settings.max_frame_change),
        (SourceRate, settings.min_source_fps),
        (LargeSource, settings.min_source_side),
        (BrightEnough, settings.min_luma),
        (NotOverexposed, settings.max_luma),
        (Detailed, settings.min_detail),
        (LargeFace, settings.min_face_area),
        (SharpFace, settings.min_face_sharpness),
        (SharpHands, settings.min_hand_sharpness),
        (CleanBackground, settings.min_dnsmos_background),
        (LittleText, settings.max_text_area),
        (SteadyCamera, settings.max_camera_motion),
        (FacingCamera, settings.min_facing),
        (AlwaysFacing, settings.min_facing_least),
        (SteadyHead, settings.min_head_steadiness),
        (LipsMove, settings.min_lip_motion),
        (LipsRest, settings.max_lip_rest),
        (LipsSpeak, settings.max_unspoken),
        (LipSync, settings.min_sync_confidence),
        (SyncC, settings.min_sync_c),
        (SyncOffset, settings.max_sync_offset),
    ]
    return tuple(
        make(threshold)
        for make, threshold in choices
        if threshold is not None and make not in without
    )
