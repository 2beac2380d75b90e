"""The sections of the data stages: corpora, keypoints, PAR masks, shards."""

from __future__ import annotations

import re
import unicodedata
from typing import Annotated, Any, ClassVar, Literal, get_args

from pydantic import ConfigDict, Field, field_validator, model_validator

from paha_core.config.base import Section
from paha_core.config.columns import column_map_names, load_column_map
from paha_core.config.filters import FRAME_CHANGE, FilterConfig

Language = Literal["en", "zh"]
"""Languages of the studio's voices."""


class StudioConfig(Section):
    """The embedded corpus of drawn presenters (English in PATS form, Mandarin in CNAS form)."""

    programmes: int = Field(2, ge=1, description="programmes for each of the presenters")
    seconds: float = Field(20.0, gt=2, description="approximate length of a programme")
    height: int = Field(512, ge=128, description="frame height in pixels; frames are 16:9")
    seed: int = Field(0, description="of the sentences and of small movements")
    people: int = Field(
        0, ge=0, description="people drawn from seeds who speak in place of the four presenters"
    )
    people_seed: int = Field(0, ge=0, description="seed of the first of them; the others follow")


class ClipConfig(Section):
    """The format of the clips."""

    size: int = Field(
        512, ge=64, multiple_of=2, description="side of the square clip in pixels; video needs even"
    )
    max_source_seconds: float = Field(7200.0, gt=0)
    max_source_bytes: int = Field(8 << 30, gt=0)
    cache_bytes: int = Field(
        20 << 30, gt=0, description="bytes of local copies of sources in an object store"
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


class CorpusConfig(FilterConfig):
    """The settings of every corpus. Each kind, a way to read footage, is a subclass."""

    outside = frozenset({"kind", "syncnet"})

    kind: str
    language: str
    licence: str = Field("unknown: the footage belongs to its makers", description="for the card")
    speaking_person: bool = Field(
        False, description="of several people in the picture, cut clips of the one who speaks"
    )

    @property
    def has_footage(self) -> bool:
        """Whether the preset names footage; without, the studio's is taken."""
        raise NotImplementedError

    @property
    def splits_share_sources(self) -> bool:
        """Whether the published split has intervals of one source in train and in test."""
        return False


class PatsConfig(CorpusConfig):
    """Clips from a list of intervals: PATS's csv, or another through a column map. Null paths: the
    studio corpus' English footage."""

    kind: Literal["pats"] = "pats"
    csv: str | None = Field(None, description="the list: a file, with some column maps a folder")
    columns: str | None = Field(
        None, description="column map of another list: talkvid, …, or a .yaml; null: PATS's csv"
    )
    videos: str | None = None
    split_file: str | None = Field(
        None, description="S2G's json; null: the csv's own `dataset` column"
    )
    split: Literal["paper", "by_video"] = "paper"
    test_share: float = Field(
        0.1, ge=0, lt=1, description="of the speakers, where a list has no split of its own"
    )
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
        0.5, ge=0, le=1, description="share of probed frames with a whole face; null: not checked"
    )
    max_still_seconds: float | None = Field(
        1.0, gt=0, description="seconds that the picture may stand still; null: no limit"
    )
    language: str = Field("en", description="of the speech, for the data set card")
    licence: str = Field(
        "unknown: the videos belong to their makers", description="for the data set card"
    )

    @property
    def has_footage(self) -> bool:
        return bool(self.csv and self.videos)

    @property
    def splits_share_sources(self) -> bool:
        return self.split == "paper"

    @field_validator("crop_left")
    @classmethod
    def _with_the_papers(cls, value: dict[str, float | None]) -> dict[str, float | None]:
        named = {unicodedata.normalize("NFC", name): left for name, left in value.items()}
        return PAPER_CROP_LEFT | named


class CnasConfig(CorpusConfig):
    """Clips of one length from long sources, such as CNAS's news programmes. A null path: the
    studio corpus' Mandarin footage."""

    kind: Literal["cnas"] = "cnas"
    programmes: str | None = Field(None, description="folder or URL of the sources")
    speaker: str | None = Field(
        None, description="of all sources; null: the name of each source's folder"
    )
    clip_frames: int = Field(125, ge=8)
    test_share: float = Field(
        0.1, ge=0, lt=1, description="share of a speaker's clips held out, in whole sources"
    )
    region: tuple[int, int] = Field((512, 896), description="height and width around the anchor")
    # The filters' thresholds: null turns a filter off.
    min_speech_db: float | None = Field(
        -50.0, description="clips quieter than this mean level are rejected"
    )
    max_clipped_share: float | None = Field(
        0.001, ge=0, le=1, description="share of samples at full scale"
    )
    max_frame_change: float | None = Field(25.0, gt=0, description=FRAME_CHANGE)
    max_still_seconds: float | None = Field(
        1.0, gt=0, description="seconds that the picture may stand still"
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
        description="folder (or hub id) of DINOv2's weights; null: body parts are not checked",
    )
    min_part_share: float | None = Field(
        0.7, ge=0, le=1, description="share of body parts that look like themselves (DINOv2)"
    )
    language: str = Field("zh", description="of the speech, for the data set card")
    licence: str = Field(
        "unknown: the programmes belong to their makers", description="for the data set card"
    )

    @property
    def has_footage(self) -> bool:
        return bool(self.programmes)


# One class for each way to read footage, under the name of the corpus that it was written for.
AnyCorpus = PatsConfig | CnasConfig
CORPUS_KINDS: dict[str, type[CorpusConfig]] = {
    section.model_fields["kind"].default: section for section in get_args(AnyCorpus)
}


class CorporaConfig(Section):
    """Where clips come from: one entry for each corpus, by any name.

    An entry states its `kind` unless its name is that of a kind: `ted: {kind: pats, csv: …}`.
    Footage that an entry doesn't name is the studio's.
    """

    model_config = ConfigDict(extra="allow", frozen=True)
    __pydantic_extra__: dict[str, Annotated[AnyCorpus, Field(discriminator="kind")]]
    RESERVED: ClassVar[frozenset[str]] = frozenset({"all", "any", "none"})

    studio: StudioConfig | None = None
    clip: ClipConfig = ClipConfig()

    @property
    def datasets(self) -> list[str]:
        """The names of the corpora, in the preset's order."""
        return list(self.__pydantic_extra__)

    def entry(self, dataset: str) -> Any:
        """The section of the corpus `dataset`: a `CorpusConfig` of its kind.

        Raises `KeyError` for a name that the preset doesn't have.
        """
        return self.__pydantic_extra__[dataset]

    @model_validator(mode="before")
    @classmethod
    def _state_kinds(cls, value: Any) -> Any:
        """Null entries are absent ones, and an entry with a kind's name is of that kind."""
        if not isinstance(value, dict):
            return value
        stated: dict[str, Any] = {}
        for name, entry in value.items():
            if name not in cls.model_fields and isinstance(entry, dict):
                entry = _with_defaults(name, entry)
                kind = entry.get("kind", name)
                if kind not in CORPUS_KINDS:
                    known = ", ".join([*CORPUS_KINDS, *column_map_names()])
                    raise ValueError(f"{name} needs a `kind`, how its footage is read: {known}")
                stated[name] = entry | {"kind": kind}
            elif name in cls.model_fields or entry is not None:
                stated[name] = entry
        return stated

    @model_validator(mode="after")
    def _named_with_footage(self) -> CorporaConfig:
        if not self.datasets:
            raise ValueError(f"name at least one corpus, such as {' or '.join(CORPUS_KINDS)}")
        for name in self.datasets:
            if (
                name in self.RESERVED
                or "__" in name
                or not re.fullmatch(r"[A-Za-z0-9][\w-]*", name)
            ):
                raise ValueError(
                    f"a corpus can't be called {name!r}: letters, digits, - and single _ make a "
                    f"name, and {', '.join(sorted(self.RESERVED))} are taken"
                )
            if self.studio is None and not self.entry(name).has_footage:
                raise ValueError(
                    f"corpora.{name} names no footage (`csv` and `videos`, or `programmes`), and "
                    "there is no `studio` in its place"
                )
        return self


def _with_defaults(name: str, entry: dict[str, Any]) -> dict[str, Any]:
    """An entry whose kind, or whose name without one, is that of a column map is of the kind
    `pats`; settings that it doesn't give are the map's."""
    kind = entry.get("kind", name)
    if kind not in CORPUS_KINDS and kind in column_map_names():
        entry = entry | {"kind": "pats", "columns": kind}
    if not entry.get("columns"):
        return entry
    columns = load_column_map(entry["columns"])
    about = {"licence": columns.licence, "language": columns.language}
    return about | columns.entry | entry


class PoseConfig(Section):
    """Whole-body keypoints and face boxes (docs/design.md 5)."""

    added = frozenset({"keypoints_source"})

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
    keypoints_source: Literal["detector", "drawn"] = Field(
        "detector",
        description="drawn: the studio's own truth, in training alone; a metric that compares real "
        "with generated keypoints needs one detector for both",
    )
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
