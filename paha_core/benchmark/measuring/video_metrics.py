"""The measures of one video: one entry of `MEASURES` per metric.

A measure reads what it needs of `VideoInputs`. Results are cached by content in `metrics/videos/`.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from paha_core.benchmark.measuring.extractors import Extractors
from paha_core.benchmark.measuring.videos import (
    KeypointSource,
    SystemVideo,
    at_clip_size,
)
from paha_core.media.frames import resize
from paha_core.metrics import beats, drift, face_dynamics, hands, lips, video_quality
from paha_core.metrics.identity import descriptors, identity_similarity
from paha_core.metrics.protocol import PROTOCOL
from paha_core.metrics.registry import METRICS
from paha_core.metrics.row import Missing
from paha_core.pose.drawn import truth_path
from paha_core.pose.layout import FACE, HANDS, LEFT_HAND, RIGHT_HAND
from paha_core.store import sha256_json

if TYPE_CHECKING:
    from paha_core.models.syncnet import SyncScore
from paha_core.benchmark.measuring.video_inputs import (
    NO_FACE,
    UNDER_2_SECONDS,
    NoValue,
    T,
    VideoInputs,
    required,
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


def _lpips(v: VideoInputs) -> float:
    """Mean over every eighth frame, each against the real clip's at the same time."""
    if v.video.shows == v.video.clip_id:
        raise NoValue("0 by definition: this is the real clip")
    made, real = (each[:: PROTOCOL.video_stride] for each in (v.frames, v.real_frames))
    count = min(len(made), len(real))
    network = v.extractors.network("lpips")
    return float(network.distances(made[:count], real[:count]).mean())


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
    "lpips": _lpips,
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
DEVICE_NETWORKS = ("syncnet", "lpips")  # may lie on a GPU
ON_CPU = sorted(name for name in MEASURES if METRICS[name].reads not in DEVICE_NETWORKS)
ON_DEVICE = sorted(MEASURES.keys() - set(ON_CPU))


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
    source: KeypointSource, extractors: Extractors, video: SystemVideo, metrics: list[str]
) -> str:
    """The cache path of these metrics of a video, hashed from the content of their inputs."""
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
    source: KeypointSource, extractors: Extractors, video: SystemVideo, metrics: list[str]
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
