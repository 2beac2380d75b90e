"""Everything that is measured on one video: one entry of `MEASURES` a metric.

A measure reads what it needs of `VideoInputs`, where each thing is loaded or computed once. What
has no value raises `NoValue` with the reason. Results are cached by content in `metrics/videos/`.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from io import BytesIO
from pathlib import Path, PurePosixPath
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np

from paha_core.benchmark.measuring.extractors import Extractors
from paha_core.benchmark.measuring.videos import (
    KeypointSource,
    Video,
    at_clip_size,
    even_sides,
    load_frames,
    load_picture,
)
from paha_core.media.frames import FPS, resize
from paha_core.metrics import beats, drift, face_dynamics, hands, lips, video_quality
from paha_core.metrics.identity import descriptors, identity_similarity
from paha_core.metrics.pose_features import gesture_points
from paha_core.metrics.registry import METRICS
from paha_core.metrics.row import Missing
from paha_core.pose.layout import FACE, HANDS, LEFT_HAND, RIGHT_HAND
from paha_core.store import Store, sha256_json

if TYPE_CHECKING:
    from paha_core.metrics.sync import SyncScore
    from paha_core.pose.keypoints import Keypoints

T = TypeVar("T")
NO_TRUTH = "no drawn truth for these clips"
UNDER_2_SECONDS = "under two seconds that show it"
ONE_CRF = 23  # x264's default
NO_FACE = "no face in most frames"
NO_REAL = "there is no real video of this voice"
NO_SHOULDERS = "the shoulders are never seen"
NO_REFERENCE = "the reference picture is missing"
NO_BACKGROUND = "no background: the person fills the frame, or was not found"


class NoValue(Exception):
    """The metric does not exist for this video; the message is the cell's reason."""


def required(value: T | None, reason: str) -> T:
    """`value`, or `NoValue` in the place of None."""
    if value is None:
        raise NoValue(reason)
    return value


@dataclass(frozen=True)
class Truth:
    """What the studio drew: the mouth `[frames]`, 0 to 1, and the gestures' beats in seconds."""

    openness: np.ndarray
    beats: np.ndarray


class VideoInputs:
    """What the measures of one video read. Properties raise `NoValue` where there is none."""

    def __init__(self, source: KeypointSource, extractors: Extractors, video: Video) -> None:
        self.source, self.extractors, self.video = source, extractors, video
        self.store = source.store

    @cached_property
    def keypoints(self) -> Keypoints:
        return required(self.source.of(self.video), "the clip has no keypoints")

    @cached_property
    def real(self) -> Keypoints:
        """Keypoints of the real video of this voice, equally long."""
        return required(self.source.real(self.video.clip_id, self.video.frames), NO_REAL)

    @cached_property
    def frames(self) -> np.ndarray:
        """uint8 RGB `[T, H, W, 3]` at the clip size; as many as there are keypoints."""
        count = len(self.keypoints)  # first: without them nothing need be decoded
        frames = load_frames(self.store, self.video)[:count]
        return at_clip_size(frames, self.extractors.protocol.size)

    @cached_property
    def luma(self) -> np.ndarray:
        return video_quality.grey(self.frames)

    @cached_property
    def points(self) -> np.ndarray:
        """`[T, 133, 2]`, as many as there are frames."""
        return self.keypoints.points[: len(self.frames)]

    @cached_property
    def scores(self) -> np.ndarray:
        """`[T, 133]`, as many as there are frames."""
        return self.keypoints.scores[: len(self.frames)]

    @cached_property
    def gestures(self) -> np.ndarray:
        """`[T, 49, 2]` in shoulder widths."""
        return required(gesture_points(self.keypoints), NO_SHOULDERS)

    @cached_property
    def mouth(self) -> np.ndarray:
        """Openness `[T]`."""
        found = lips.mouth_openness(self.keypoints.points, self.keypoints.scores)
        return required(found, NO_FACE)

    @cached_property
    def wave(self) -> np.ndarray:
        """float32 mono at 16 kHz, as long as the video."""
        from paha_core.media.audio import read_audio

        with self.store.reading(self.video.audio_path) as path:
            wave = read_audio(path, 16_000)[: round(self.video.frames / FPS * 16_000)]
        return np.clip(wave, -1, 1)  # decoded AAC overshoots; 16-bit samples can't

    @cached_property
    def audio_beats(self) -> np.ndarray:
        return beats.audio_beats(self.wave)

    @cached_property
    def motion_beats(self) -> np.ndarray:
        return beats.motion_beats(self.gestures)

    @cached_property
    def reference(self) -> np.ndarray:
        """uint8 RGB `[H, W, 3]`."""
        rel = self.video.reference
        if not rel or not self.store.exists(rel):
            raise NoValue(NO_REFERENCE)
        return load_picture(self.store, rel)

    @cached_property
    def background(self) -> np.ndarray:
        """True `[H, W]` where neither the video's nor the real person ever is."""
        real = self.source.real(self.video.clip_id, self.video.frames)
        people = [person for person in (self.keypoints, real) if person is not None]
        found = [video_quality.person_cells(p.points, p.scores, p.size) for p in people]
        cells = [one for one in found if one is not None]
        height, width = self.luma.shape[1:]
        mask = video_quality.background_mask(cells, (height, width)) if cells else None
        return required(mask, NO_BACKGROUND)

    @cached_property
    def truth(self) -> Truth:
        clip = self.source.clips.get(self.video.clip_id)
        return required(drawn_truth(self.store, clip, self.video.frames), NO_TRUTH)

    @cached_property
    def face(self) -> tuple[np.ndarray, np.ndarray]:
        """68 points `[n, 68, 2]`, and the frames `[n]` that show them."""
        found = face_dynamics.face_points(self.keypoints.points, self.keypoints.scores)
        return required(found, NO_FACE)

    @cached_property
    def speech(self) -> np.ndarray:
        """Whether somebody speaks in each frame `[T]` (Silero VAD)."""
        from paha_core.corpora.filters.sound import WINDOW, speech_probability

        probability = speech_probability(self.wave)
        at = ((np.arange(self.video.frames) + 0.5) / FPS * 16_000 / WINDOW).astype(int)
        if not len(probability):
            return np.zeros(len(at), bool)
        return probability[np.minimum(at, len(probability) - 1)] >= 0.5

    @cached_property
    def sync(self) -> SyncScore | None:
        """None without a face track."""
        return self._sync_score(self.frames, self.wave)

    @cached_property
    def sync_one_codec(self) -> SyncScore | None:
        """`sync` after one encoding for every video, H.264 at crf 23 and AAC: what a system was
        encoded by moves SyncNet's distances by itself.
        """
        from paha_core.media.audio import read_audio
        from paha_core.media.encode import write_video
        from paha_core.media.video import read_frames

        with TemporaryDirectory() as folder:
            path = Path(folder) / "one.mp4"
            write_video(path, even_sides(self.frames), wave=self.wave, crf=ONE_CRF)
            return self._sync_score(read_frames(path), read_audio(path, 16_000))

    def _sync_score(self, frames: np.ndarray, wave: np.ndarray) -> SyncScore | None:
        from paha_core.metrics.sync import sync_score

        rules, network = self.extractors.protocol, self.extractors.network("syncnet")
        return sync_score(
            network.model,
            frames,
            wave,
            self.source.face_boxes(self.video)[: len(frames)],
            min_frames=rules.min_track,
            min_size=rules.min_face,
        )


# --- measures -------------------------------------------------------------------------------------


def _bas(v: VideoInputs) -> float:
    moved = v.motion_beats  # first: without shoulders no sound need be decoded
    found = beats.beat_alignment(v.audio_beats, moved)
    return required(found, "the audio has no beats")


def _bas_aist(v: VideoInputs) -> float:
    return beats.beat_alignment(v.motion_beats, v.audio_beats) or 0.0  # without beats too: mint


def _bas_bailando(v: VideoInputs) -> float:
    moved = v.gestures
    return required(beats.bailando_score(moved, v.audio_beats), "the audio has no beats")


def _beat_error(v: VideoInputs) -> float:
    found = beats.beat_error(beats.stroke_ends(v.gestures), v.truth.beats)
    return required(found, "no drawn beats")


def _lip_correlation(v: VideoInputs) -> float:
    if v.video.shows == v.video.clip_id:
        raise NoValue("1 by definition: the real video is what it compares with")
    truth = lips.mouth_openness(v.real.points, v.real.scores)
    truth = required(truth, f"{NO_FACE} of the real video")
    why = "the real mouth never moves, or under 16 frames"
    return required(lips.lip_correlation(v.mouth, truth), why)


def _lip_correlation_truth(v: VideoInputs) -> float:
    found = lips.lip_correlation(v.mouth, v.truth.openness)
    return required(found, "the drawn mouth never moves")


def _sync(v: VideoInputs, score: SyncScore | None) -> SyncScore:
    rules = v.extractors.protocol
    why = f"no face track of {rules.min_track} frames and {rules.min_face} pixels"
    return required(score, why)


def _face_share(v: VideoInputs) -> float:
    return video_quality.face_share(v.keypoints.scores)


def _background_psnr(v: VideoInputs) -> float:
    height, width = v.luma.shape[1:]
    reference = resize(v.reference[None], (height, width))[0]
    return video_quality.background_psnr(v.frames, reference, v.background)


def _flicker(v: VideoInputs) -> float:
    return required(video_quality.flicker(v.luma, v.background), "under 3 frames")


def _hkc(region: slice) -> Callable[[VideoInputs], float]:
    def measure(v: VideoInputs) -> float:
        if v.keypoints.detector not in hands.PER_POINT:
            raise NoValue(f"needs pose.detector dwpose: {v.keypoints.detector} scores whole hands")
        return hands.hand_confidence(v.scores, region)

    return measure


def _hand_deviation(region: slice) -> Callable[[VideoInputs], float]:
    def measure(v: VideoInputs) -> float:
        found = hands.hand_deviation(v.points, v.scores, region)
        return required(found, "no hand or no shoulders are seen")

    return measure


def _lip_loudness_error(v: VideoInputs) -> float:
    face, frames = v.face
    openness = face_dynamics.lip_openness(face, v.keypoints.size)
    found = face_dynamics.lip_loudness_error(openness, frames, v.wave, v.speech)
    return required(found, "less than a tenth of the frames is speech")


def _head_motion(v: VideoInputs) -> float:
    return required(face_dynamics.head_motion(v.face[0], v.keypoints.size), "under 3 frames")


def _drift_sharpness(v: VideoInputs) -> float:
    def sharpness(part: slice) -> float | None:
        return video_quality.sharpness(v.luma[part], v.points[part], v.scores[part], FACE)

    return required(drift.sharpness_drift(sharpness, len(v.frames)), UNDER_2_SECONDS)


def _drift_identity(v: VideoInputs) -> float:
    network, shown = v.extractors.network("hog"), (v.frames, v.points, v.scores)

    def described(part: slice) -> np.ndarray:
        return descriptors(network, *(array[part] for array in shown))

    return required(drift.identity_drift(described, len(v.frames)), UNDER_2_SECONDS)


def _sharpness(name: str, region: slice) -> Callable[[VideoInputs], float]:
    def measure(v: VideoInputs) -> float:
        found = video_quality.sharpness(v.luma, v.points, v.scores, region)
        return required(found, f"no {name} is seen")

    return measure


def _region_flicker(name: str, region: slice) -> Callable[[VideoInputs], float]:
    def measure(v: VideoInputs) -> float:
        found = video_quality.region_flicker(v.luma, v.points, v.scores, region)
        return required(found, f"no {name} is seen")

    return measure


def _identity(reads: Any) -> Callable[[VideoInputs], float]:
    def measure(v: VideoInputs) -> float:
        network, shown = v.extractors.network(reads), (v.frames, v.points, v.scores)
        picture = at_clip_size(v.reference[None], v.extractors.protocol.size)
        at = v.source.of_picture(v.video.reference)
        wanted = descriptors(network, picture, at.points, at.scores)
        found = identity_similarity(descriptors(network, *shown), wanted)
        return required(found, "no face in the video or in the reference")

    return measure


MEASURES: dict[str, Callable[[VideoInputs], float]] = {
    "bas": _bas,
    "bas_aist": _bas_aist,
    "beat_error": _beat_error,
    "bas_bailando": _bas_bailando,
    "hkc[dwpose]": _hkc(HANDS),
    "hkc_left[dwpose]": _hkc(LEFT_HAND),
    "hkc_right[dwpose]": _hkc(RIGHT_HAND),
    "hand_deviation": _hand_deviation(HANDS),
    "hand_deviation_left": _hand_deviation(LEFT_HAND),
    "hand_deviation_right": _hand_deviation(RIGHT_HAND),
    "head_motion[pnp]": _head_motion,
    "eyebrows[68]": lambda v: required(face_dynamics.eyebrow_motion(v.face[0]), "under 2 frames"),
    "lip_dynamics[68]": lambda v: face_dynamics.lip_dynamics(v.face[0], v.keypoints.size),
    "lip_loudness_error[68]": _lip_loudness_error,
    "drift_colour": lambda v: required(drift.colour_drift(v.frames), UNDER_2_SECONDS),
    "drift_background": lambda v: required(
        drift.background_drift(v.luma, v.background), UNDER_2_SECONDS
    ),
    "drift_sharpness": _drift_sharpness,
    "drift_identity": _drift_identity,
    "lip_correlation": _lip_correlation,
    "lip_correlation_truth": _lip_correlation_truth,
    "sync_c": lambda v: _sync(v, v.sync).confidence,
    "sync_d": lambda v: _sync(v, v.sync).distance,
    "sync_c_codec": lambda v: _sync(v, v.sync_one_codec).confidence,
    "face_track": lambda v: float(v.sync is not None),
    "face_share": _face_share,
    "background_psnr": _background_psnr,
    "sharpness_face": _sharpness("face", FACE),
    "sharpness_hands": _sharpness("hands", HANDS),
    "flicker": _flicker,
    "flicker_face": _region_flicker("face", FACE),
    "flicker_hands": _region_flicker("hands", HANDS),
    "identity": _identity("arcface"),
    "identity_hog": _identity("hog"),
}
ON_CPU = sorted(name for name in MEASURES if METRICS[name].reads != "syncnet")
ON_DEVICE = sorted(MEASURES.keys() - set(ON_CPU))  # read a network that may lie on a GPU


# --- all of one video -----------------------------------------------------------------------------


@dataclass(frozen=True)
class Measured:
    """One video's metrics, and the curves that metrics across clips need."""

    values: dict[str, float | Missing] = field(default_factory=dict)
    mouth: list[float] | None = None  # its openness in each frame
    true_mouth: list[float] | None = None  # the drawn one's

    def to_json(self) -> dict[str, Any]:
        values = {m: v for m, v in self.values.items() if not isinstance(v, Missing)}
        reasons = {m: v.reason for m, v in self.values.items() if isinstance(v, Missing)}
        curves = {"mouth": self.mouth, "true_mouth": self.true_mouth}
        return {"values": values, "reasons": reasons} | curves

    @classmethod
    def from_json(cls, stored: Mapping[str, Any]) -> Measured:
        missing = {metric: Missing(reason) for metric, reason in stored["reasons"].items()}
        return cls(stored["values"] | missing, stored["mouth"], stored["true_mouth"])


def measured_path(
    source: KeypointSource, extractors: Extractors, video: Video, metrics: list[str]
) -> str:
    """Where these metrics of a video are cached: by the content of all that they depend on."""
    key = {
        "protocol": extractors.protocol.sha256,
        "metrics": sorted(metrics),
        "video": [video.sha256, video.frames, source.made_by],
        "is": [video.clip_id, video.shows],
        "audio": source.content(video.audio_path),
        "reference": source.content(video.reference),
        "keypoints": [source.sha256.get(video.shows), source.sha256.get(video.clip_id)],
        "truth": source.content(truth_path(source.clips.get(video.clip_id))),
        "faces": source.preset.pose.max_face_gap,
        "weights": extractors.weights(metrics),
    }
    return f"metrics/videos/{sha256_json(key)}.json"


def measure(
    source: KeypointSource, extractors: Extractors, video: Video, metrics: list[str]
) -> Measured:
    """These metrics of a video; from the cache when nothing that they depend on has changed."""
    rel, store = measured_path(source, extractors, video, metrics), source.store
    if store.exists(rel):
        return Measured.from_json(store.read_json(rel))
    inputs = VideoInputs(source, extractors, video)
    values = {metric: _value(metric, inputs) for metric in metrics}
    mouth = _or_none(lambda: inputs.mouth.tolist())
    true_mouth = _or_none(lambda: inputs.truth.openness.tolist())
    measured = Measured(values, mouth, true_mouth)
    store.write_json(rel, measured.to_json())
    return measured


def _value(metric: str, inputs: VideoInputs) -> float | Missing:
    if (missing := inputs.extractors.missing(metric)) is not None:
        return missing
    try:
        return float(MEASURES[metric](inputs))
    except NoValue as reason:
        return Missing(str(reason))


def _or_none(read: Callable[[], T]) -> T | None:
    try:
        return read()
    except NoValue:
        return None


def common_reason(missing: list[Missing]) -> Missing:
    """The reason that most clips share, with how many."""
    reason, count = Counter(missing).most_common(1)[0]
    of_all = f" ({count} of {len(missing)} clips)" if count < len(missing) else ""
    return Missing(reason.reason + of_all)


# --- the studio corpus' own truth -----------------------------------------------------------------


def truth_path(clip: Mapping[str, Any] | None) -> str:
    """The side file of a studio clip's programme; empty for a clip without a programme."""
    if clip is None or not clip.get("source_id"):
        return ""
    return f"sources/truth/{clip['speaker']}/{PurePosixPath(str(clip['source_id'])).stem}.npz"


def drawn_truth(store: Store, clip: Mapping[str, Any] | None, frames: int) -> Truth | None:
    """Truth of a studio clip's first `frames` frames; None for any other corpus."""
    rel = truth_path(clip)
    if clip is None or not rel or not store.exists(rel):
        return None
    with np.load(BytesIO(store.read_bytes(rel)), allow_pickle=False) as truth:
        openness, fps, times = truth["mouth_openness"], float(truth["fps"]), truth["beats"]
    start = float(clip["start"] if clip.get("cut_start") is None else clip["cut_start"])
    times = times[(times >= start) & (times < start + frames / FPS)] - start
    return Truth(lips.resample_to_clip(openness, fps, start, frames), times)
