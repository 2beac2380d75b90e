"""The sections of the data stages: corpora, keypoints, PAR masks, shards."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, field_validator, model_validator

from paha_core.config.base import Section


class StudioConfig(Section):
    """The embedded corpus of drawn presenters (English in PATS form, Mandarin in CNAS form)."""

    programmes: int = Field(2, ge=1, description="programmes for each of the presenters")
    seconds: float = Field(20.0, gt=2, description="approximate length of a programme")
    height: int = Field(512, ge=128, description="frame height in pixels; frames are 16:9")
    seed: int = Field(0, description="of what is said and of small movements")
    people: int = Field(
        0, ge=0, description="people drawn from seeds who speak in place of the four presenters"
    )
    people_seed: int = Field(0, ge=0, description="seed of the first of them; the others follow")


class ClipConfig(Section):
    """What every kept clip looks like."""

    size: int = Field(
        512, ge=64, multiple_of=2, description="side of the square clip in pixels; video needs even"
    )
    max_source_seconds: float = Field(7200.0, gt=0)
    max_source_bytes: int = Field(8 << 30, gt=0)
    cache_bytes: int = Field(
        20 << 30, gt=0, description="local copies of sources that lie in an object store"
    )
    timeout_seconds: float = Field(600.0, gt=0, description="limit for one ffmpeg call")
    crf: int = Field(
        12, ge=0, le=30, description="x264 quality of stored clips; 12 is visually lossless"
    )


# The four speakers of S2G's subset.
PAPER_CROP_LEFT: dict[str, float | None] = {
    "oliver": 0.38,
    "seth": 0.395,
    "chemistry": 0.031,
    "jon": None,
}


class PatsConfig(Section):
    """Clips from PATS's own interval csv. Null paths: the studio corpus' English programmes."""

    csv: str | None = None
    videos: str | None = None
    split_file: str | None = Field(
        None, description="S2G's json; null: the csv's own `dataset` column"
    )
    split: Literal["paper", "by_video"] = "paper"
    min_seconds: float = Field(4.0, gt=0)
    max_seconds: float = Field(15.0, gt=0)
    too_long: Literal["cut", "reject"] = Field(
        "cut", description="cut: the first `max_seconds` of a longer interval, as S2G takes them"
    )
    crop_left: dict[str, Annotated[float, Field(ge=0, lt=1)] | None] = Field(
        PAPER_CROP_LEFT,
        description="left edge of a speaker's square as a share of the width, null: at the right; "
        "added to the paper's four speakers",
    )
    min_face_share: float | None = Field(
        0.5, ge=0, le=1, description="share of probed frames with a whole face; null: don't look"
    )
    max_still_seconds: float | None = Field(
        1.0, gt=0, description="how long the picture may stand still; null: as long as it likes"
    )
    language: str = Field("en", description="of the speech, for the data set card")
    licence: str = Field(
        "unknown: the videos belong to their makers", description="for the data set card"
    )

    @field_validator("crop_left")
    @classmethod
    def _with_the_papers(cls, value: dict[str, float | None]) -> dict[str, float | None]:
        return PAPER_CROP_LEFT | value


class CnasConfig(Section):
    """Clips from raw anchor programmes. A null path: the studio corpus' Mandarin programmes."""

    programmes: str | None = None
    speaker: str | None = Field(
        None, description="of all programmes; null: the name of the folder that each lies in"
    )
    clip_frames: int = Field(125, ge=8)
    test_share: float = Field(
        0.1, ge=0, lt=1, description="share of a speaker's clips held out, in whole programmes"
    )
    region: tuple[int, int] = Field((512, 896), description="height and width around the anchor")
    # The filters' thresholds: null turns a filter off.
    min_speech_db: float | None = Field(
        -50.0, description="clips quieter than this mean level are rejected"
    )
    max_clipped_share: float | None = Field(
        0.001, ge=0, le=1, description="share of samples at full scale"
    )
    max_frame_change: float | None = Field(
        25.0, gt=0, description="mean change of grey in 0.4 s, 0-255, that is a switch of scene"
    )
    max_still_seconds: float | None = Field(
        1.0, gt=0, description="how long the picture may stand still"
    )
    min_face_share: float | None = Field(
        0.9, ge=0, le=1, description="share of probed frames with a whole face"
    )
    max_crowd_share: float | None = Field(
        0.1, ge=0, le=1, description="share of probed frames with more than one face"
    )
    min_body_share: float | None = Field(
        0.9, ge=0, le=1, description="share of probed frames with both shoulders"
    )
    max_hand_gap: float | None = Field(
        2.5, gt=0, description="seconds without a hand in the picture"
    )
    max_jitter: float | None = Field(
        0.02, gt=0, description="how far the face's points jump, in widths of the face"
    )
    min_speech_share: float | None = Field(
        0.5, ge=0, le=1, description="share of the time that holds speech (Silero VAD)"
    )
    min_dnsmos: float | None = Field(
        2.0, ge=1, le=5, description="overall quality of the speech (DNSMOS P.835 OVRL)"
    )
    dinov2: str | None = Field(
        None,
        description="folder (or hub id) of DINOv2's weights; null: body parts aren't looked at",
    )
    min_part_share: float | None = Field(
        0.7, ge=0, le=1, description="share of body parts that look like themselves (DINOv2)"
    )
    language: str = Field("zh", description="of the speech, for the data set card")
    licence: str = Field(
        "unknown: the programmes belong to their makers", description="for the data set card"
    )


class CorporaConfig(Section):
    """Where clips come from: footage of one's own, or the studio in its place."""

    studio: StudioConfig | None = None
    clip: ClipConfig = ClipConfig()
    pats: PatsConfig | None = None
    cnas: CnasConfig | None = None

    @property
    def datasets(self) -> list[str]:
        return [name for name in ("pats", "cnas") if getattr(self, name) is not None]

    @model_validator(mode="after")
    def _has_sources(self) -> CorporaConfig:
        if not self.datasets:
            raise ValueError("corpora needs `pats`, `cnas` or both")
        if self.studio is None:
            if self.pats and not (self.pats.csv and self.pats.videos):
                raise ValueError("corpora.pats needs `csv` and `videos` when there is no `studio`")
            if self.cnas and not self.cnas.programmes:
                raise ValueError("corpora.cnas needs `programmes` when there is no `studio`")
        return self


class PoseConfig(Section):
    """Whole-body keypoints and face boxes (DESIGN 5)."""

    detector: Literal["mediapipe", "dwpose"] = "mediapipe"
    dwpose_pose: str | None = Field(None, description="path or URL of the DWPose-l 384x288 ONNX")
    dwpose_person: str | None = Field(None, description="path or URL of the YOLOX ONNX file")
    device: Literal["cpu", "cuda", "tensorrt"] = "cpu"
    batch: int = Field(16, ge=1, description="crops per network call (dwpose)")
    model_complexity: int = Field(
        1, ge=0, le=2, description="mediapipe's pose network: 0 light … 2 heavy"
    )
    face_box_scale: float = Field(1.2, ge=1)
    max_face_gap: int = Field(5, ge=0, description="frames of a face dropout that are bridged")
    face_source: Literal["auto", "mediapipe", "keypoints"] = Field(
        "auto", description="what face boxes come from; auto: keypoints if they are DWPose's"
    )

    @model_validator(mode="after")
    def _weights(self) -> PoseConfig:
        if self.detector == "dwpose" and not (self.dwpose_pose and self.dwpose_person):
            raise ValueError("pose.detector dwpose needs `dwpose_pose` and `dwpose_person`")
        return self

    @property
    def faces_from_keypoints(self) -> bool:
        """Whether face boxes are the extent of the 68 face points, and not MediaPipe's own."""
        if self.face_source == "auto":
            return self.detector == "dwpose"
        return self.face_source == "keypoints"


class ParConfig(Section):
    """Equations 2 and 3; pixel numbers are at 512x512 and scale with the clip."""

    threshold: float = Field(0.8, ge=0, lt=1)  # tau_j
    radius: float = Field(10.0, gt=0)  # r
    hand_face_weight: float = Field(10.0, gt=0)  # omega_1
    body_weight: float = Field(2.0, ge=1)  # omega_2
    cap: float | None = Field(
        None, gt=1, description="upper bound of the weight; the paper has none"
    )


class ShardConfig(Section):
    """How training clips are packed."""

    clips_per_shard: int = Field(64, ge=1)
    shard_bytes: int = Field(
        256 << 20, ge=1, description="a shard that has this many is full; the last clip may exceed"
    )
    reference_frames: int = Field(
        8, ge=1, description="frames of a clip with a stored image embedding"
    )
    on_bad_shard: Literal["stop", "skip"] = "stop"
