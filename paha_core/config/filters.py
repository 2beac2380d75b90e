"""The filters that every corpus may have: a threshold each, and tiers that set them together."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import Field, model_validator

from paha_core.config.base import Section

FRAME_CHANGE = "mean change of grey in 0.4 s, 0-255, that is a switch of scene"

# The thresholds that a tier sets where the corpus' own keys are absent; a key of null remains off.
# docs/corpora.md has the source of each value.
_STANDARD: dict[str, float] = {
    "max_frame_change": 25.0,
    "min_source_fps": 24.0,
    "min_source_side": 256,
    "min_luma": 10.0,
    "max_luma": 210.0,
    "min_face_area": 0.0133,
    "min_facing": 70.0,
    "min_facing_least": 30.0,
    "max_text_area": 0.03,
    "min_lip_motion": 0.003,
    "max_unspoken": 1.0,
    "min_dnsmos_background": 2.9,
    "max_sync_offset": 3,
    "min_sync_c": 3.0,
}
QUALITY: dict[str, dict[str, float]] = {
    "standard": _STANDARD,
    "high": _STANDARD
    | {
        "min_source_side": 480,
        "min_detail": 0.12,
        "min_face_area": 0.0167,
        "min_face_sharpness": 15.0,
        "min_hand_sharpness": 10.0,
        "min_head_steadiness": 60.0,
        "max_text_area": 0.005,
        "max_camera_motion": 0.02,
        "max_unspoken": 0.6,
        "min_dnsmos_background": 3.2,
        "max_sync_offset": 1,
        "min_sync_c": 5.0,
    },
}


class FilterConfig(Section):
    """Thresholds of the filters; null turns one off, and its score isn't computed."""

    quality: Literal["standard", "high"] | None = Field(
        None, description="a tier: sets the thresholds that the corpus leaves out"
    )
    syncnet: str | None = Field(
        None, description="file of SyncNet's weights; null: the embedded estimate of the offset"
    )
    min_sync_c: float | None = Field(
        None, ge=0, description="SyncNet's confidence; not checked without its weights"
    )
    max_sync_offset: int | None = Field(
        None, ge=0, le=15, description="frames by which the sound may be late or early"
    )
    correct_sync_offset: int | None = Field(
        None,
        ge=1,
        le=15,
        description="offsets up to so many frames are corrected when the clip is cut",
    )
    min_sync_confidence: float | None = Field(
        None, ge=0, description="confidence that lips and sound belong together"
    )
    min_lip_motion: float | None = Field(
        None, ge=0, description="face heights a frame that lips move while there is speech"
    )
    max_lip_rest: float | None = Field(
        None, gt=0, description="lips' motion without speech over that with speech"
    )
    min_source_fps: float | None = Field(None, gt=0, description="frames a second of the source")
    min_source_side: int | None = Field(
        None, gt=0, description="pixels of the source along a side of the clip's square"
    )
    min_luma: float | None = Field(None, ge=0, le=255, description="of the darkest probed frame")
    max_luma: float | None = Field(None, ge=0, le=255, description="of the brightest probed frame")
    min_detail: float | None = Field(
        None, ge=0, le=1, description="share of contrast that half the resolution would lose"
    )
    min_face_area: float | None = Field(None, ge=0, le=1, description="share of the picture")
    min_face_sharpness: float | None = Field(
        None, ge=0, description="variance of the Laplacian on a face of 128 x 128 pixels"
    )
    min_hand_sharpness: float | None = Field(
        None, ge=0, description="the same of the hand that is less sharp"
    )
    min_facing: float | None = Field(
        None, ge=0, le=100, description="TalkVid's orientation: 100 faces the camera"
    )
    min_facing_least: float | None = Field(
        None, ge=0, le=100, description="the same in the clip's worst second"
    )
    min_head_steadiness: float | None = Field(
        None, ge=0, le=100, description="TalkVid's rotation: 100 less degrees turned in a second"
    )
    max_frame_change: float | None = Field(None, gt=0, description=FRAME_CHANGE)
    max_text_area: float | None = Field(
        None, ge=0, le=1, description="share of the picture that text covers: captions, tickers"
    )
    max_camera_motion: float | None = Field(
        None, gt=0, description="sides of the picture that the background moves in a second"
    )
    max_unspoken: float | None = Field(
        None, gt=0, description="seconds of speech on end during which the lips rest"
    )
    min_dnsmos_background: float | None = Field(
        None, ge=1, le=5, description="music, a second voice, noise (DNSMOS P.835 BAK; 5: none)"
    )

    @model_validator(mode="before")
    @classmethod
    def _with_the_tier(cls, value: Any) -> Any:
        if not isinstance(value, dict):
            return value
        return QUALITY.get(str(value.get("quality")), {}) | value
