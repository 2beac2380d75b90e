"""Everything that is measured on one video, cached by content in `metrics/videos/`."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field
from io import BytesIO
from pathlib import PurePosixPath
from typing import TYPE_CHECKING, Any

import numpy as np

from paha_core.benchmark.extractors import Extractors
from paha_core.benchmark.videos import (
    FPS,
    KeypointSource,
    Video,
    at_clip_size,
    load_frames,
    load_picture,
)
from paha_core.config import Preset
from paha_core.media.frames import resize
from paha_core.metrics import beats, lips, video_quality
from paha_core.metrics.identity import descriptors, identity_similarity
from paha_core.metrics.pose_features import gesture_points
from paha_core.metrics.row import PROTOCOL
from paha_core.metrics.time_cost import PARTS, time_cost
from paha_core.store import Store, sha256_json

if TYPE_CHECKING:
    from paha_core.pose.keypoints import Keypoints

NO_REAL = "there is no real video of this voice"

Note = Callable[[str, float | None, str], None]
"""Takes a metric, its value, and the reason that holds when the value is None."""


@dataclass(frozen=True)
class Measured:
    """The numbers of one video. A metric stands in `values` or, with words, in `reasons`."""

    values: dict[str, float] = field(default_factory=dict)
    reasons: dict[str, str] = field(default_factory=dict)
    openness: list[float] | None = None  # the mouth's, for each frame
    beats: list[float] | None = None  # the gestures', in seconds


def measured_path(source: KeypointSource, extractors: Extractors, video: Video) -> str:
    """Where the numbers of a video are kept: by its content and all that they depend on."""
    preset = source.preset
    key = {
        "protocol": PROTOCOL,
        "video": [video.shows, video.sha256, video.frames, video.clip_id],
        "audio": video.audio_path,
        "reference": video.reference,
        "real": source.sha256.get(video.clip_id),
        "size": preset.corpora.clip.size,
        "pose": preset.pose.settings(),
        "timing": sha256_json(dict(video.timing)) if video.timing else None,
        "weights": extractors.per_video,
    }
    return f"metrics/videos/{sha256_json(key)}.json"


def measure(
    store: Store, preset: Preset, source: KeypointSource, extractors: Extractors, video: Video
) -> Measured:
    """All per-video metrics; from the cache when video, clip and settings are unchanged."""
    rel = measured_path(source, extractors, video)
    if store.exists(rel):
        return Measured(**store.read_json(rel))
    measured = _measure(store, preset, source, extractors, video)
    store.write_json(rel, asdict(measured))
    return measured


def _measure(
    store: Store, preset: Preset, source: KeypointSource, extractors: Extractors, video: Video
) -> Measured:
    values: dict[str, float] = {}
    reasons: dict[str, str] = {}

    def note(metric: str, value: float | None, reason: str) -> None:
        if value is None:
            reasons[metric] = reason
        else:
            values[metric] = value

    keypoints, real = source.of(video), source.real(video.clip_id, video.frames)
    _measure_time(video, note)
    if keypoints is None:
        return Measured(values, reasons | {"face_share": "the clip has no keypoints"})
    frames = load_frames(store, video)
    note("face_share", video_quality.face_share(keypoints.scores), "")
    seen = _measure_beats(store, video, keypoints, note)
    openness = lips.mouth_openness(keypoints.points, keypoints.scores)
    _measure_lips(video, openness, real, note)
    _measure_pixels(store, preset, video, frames, keypoints, real, note)
    _measure_identity(source, extractors, video, frames, keypoints, note)
    _measure_sync(store, preset, extractors, video, frames, note)
    mouth = None if openness is None else [float(x) for x in openness]
    return Measured(values, reasons, mouth, seen)


def _measure_time(video: Video, note: Note) -> None:
    costs = time_cost(video.timing) if video.timing else {}
    why = "the manifest does not split it" if costs else "real videos are not generated"
    if not costs and not video.shows:
        why = "nobody told how long its generation took"
    for metric in ("tc", *(f"tc_{part}" for part in PARTS)):
        note(metric, costs.get(metric), why)


def _measure_beats(
    store: Store, video: Video, keypoints: Keypoints, note: Note
) -> list[float] | None:
    """Notes both scores; returns the gestures' beats."""
    points = gesture_points(keypoints)
    if points is None:
        note("bas", None, "the shoulders are never seen")
        note("bas_aist", None, "the shoulders are never seen")
        return None
    heard, seen = beats.audio_beats(_wave(store, video)), beats.motion_beats(points)
    note("bas", beats.beat_alignment(heard, seen), "the audio has no beats")
    note("bas_aist", beats.beat_alignment(seen, heard), "the gestures have no beats")
    return [float(x) for x in seen]


def _wave(store: Store, video: Video) -> np.ndarray:
    """What is heard with the video: float32 mono at 16 kHz."""
    from paha_core.media.audio import read_audio

    with store.reading(video.audio_path) as path:
        return read_audio(path, 16_000)[: round(video.frames / FPS * 16_000)]


def _measure_sync(
    store: Store,
    preset: Preset,
    extractors: Extractors,
    video: Video,
    frames: np.ndarray,
    note: Note,
) -> None:
    network = extractors.syncnet
    if isinstance(network, str):
        return  # the whole column is missing: `Extractors.missing` says why
    from paha_core.metrics.sync import sync_score
    from paha_core.pose.face import detect_face_boxes

    settings = preset.benchmark
    sized = at_clip_size(frames, preset.corpora.clip.size)
    found = detect_face_boxes(sized, preset.pose.model_copy(update={"face_box_scale": 1.0}))
    boxes = np.where(found.found[:, None], found.boxes, np.nan)
    score = sync_score(
        network[0],
        sized,
        _wave(store, video),
        boxes,
        min_frames=settings.min_track,
        min_size=settings.min_face,
    )
    why = f"no face track of {settings.min_track} frames and {settings.min_face} pixels"
    note("sync_c", score.confidence if score else None, why)
    note("sync_d", score.distance if score else None, why)


def _measure_identity(
    source: KeypointSource,
    extractors: Extractors,
    video: Video,
    frames: np.ndarray,
    keypoints: Keypoints,
    note: Note,
) -> None:
    spaces = {m: s for m, s in extractors.faces.items() if not isinstance(s, str)}
    if not video.reference or not source.store.exists(video.reference):
        for metric in spaces:
            note(metric, None, "the reference picture is missing")
        return
    size = source.preset.corpora.clip.size
    picture = at_clip_size(load_picture(source.store, video.reference)[None], size)
    at = source.of_picture(video.reference)
    sized = at_clip_size(frames, size)
    count = min(len(sized), len(keypoints))
    for metric, space in spaces.items():
        shown = descriptors(
            space, sized[:count], keypoints.points[:count], keypoints.scores[:count]
        )
        wanted = descriptors(space, picture, at.points, at.scores)
        why = "no face in the video or in the reference"
        note(metric, identity_similarity(shown, wanted), why)


def _measure_lips(
    video: Video, openness: np.ndarray | None, real: Keypoints | None, note: Note
) -> None:
    if video.system == "real":
        note("lip_correlation", None, "1 by definition: the real video is what it compares with")
    elif real is None:
        note("lip_correlation", None, NO_REAL)
    elif openness is None:
        note("lip_correlation", None, "no face in most frames")
    else:
        truth = lips.mouth_openness(real.points, real.scores) if real else None
        if truth is None:
            note("lip_correlation", None, "no face in most frames of the real video")
        else:
            value = lips.lip_correlation(openness, truth)
            note("lip_correlation", value, "the real mouth never moves, or under 16 frames")


def _measure_pixels(
    store: Store,
    preset: Preset,
    video: Video,
    frames: np.ndarray,
    keypoints: Keypoints,
    real: Keypoints | None,
    note: Note,
) -> None:
    height, width = frames.shape[1:3]
    people = []
    for found in (keypoints, real):
        if found is not None:
            cells = video_quality.person_cells(found.points, found.scores, found.size)
            people += [cells] if cells is not None else []
    mask = video_quality.background_mask(people, (height, width)) if people else None
    alone = "no background: the person fills the frame, or was not found"
    flicker = None if mask is None else video_quality.flicker(video_quality.grey(frames), mask)
    note("flicker", flicker, alone)
    if not video.reference or not store.exists(video.reference):
        note("background_psnr", None, "the reference picture is missing")
    elif mask is None:
        note("background_psnr", None, alone)
    else:
        reference = resize(load_picture(store, video.reference)[None], (height, width))[0]
        note("background_psnr", video_quality.background_psnr(frames, reference, mask), "")
    # Every system is judged at the clip's size, or a small soft picture would count as sharp.
    luma = video_quality.grey(at_clip_size(frames, preset.corpora.clip.size))
    count = min(len(luma), len(keypoints))
    for name in ("face", "hands"):
        region = video_quality.FACE if name == "face" else video_quality.HANDS
        value = video_quality.sharpness(
            luma[:count], keypoints.points[:count], keypoints.scores[:count], region
        )
        note(f"sharpness_{name}", value, f"no frame shows the {name}")


# --- the studio corpus' own truth -----------------------------------------------------------------


@dataclass(frozen=True)
class Truth:
    """What the studio drew: the mouth `[frames]`, 0 to 1, and the gestures' beats in seconds."""

    openness: np.ndarray
    beats: np.ndarray


def drawn_truth(store: Store, clip: Mapping[str, Any] | None, frames: int) -> Truth | None:
    """Of the first `frames` frames of a studio clip; None for any other corpus."""
    if clip is None or not clip.get("programme"):
        return None
    programme = PurePosixPath(str(clip["programme"])).stem
    rel = f"sources/truth/{clip['speaker']}/{programme}.npz"
    if not store.exists(rel):
        return None
    with np.load(BytesIO(store.read_bytes(rel)), allow_pickle=False) as truth:
        openness, fps, times = truth["mouth_openness"], float(truth["fps"]), truth["beats"]
    start = float(clip["start"])
    times = times[(times >= start) & (times < start + frames / FPS)] - start
    return Truth(lips.resample_to_clip(openness, fps, start, frames), times)


def common_reason(reasons: list[str]) -> str:
    """The reason that most clips share, with how many."""
    reason, count = Counter(reasons).most_common(1)[0]
    return reason if count == len(reasons) else f"{reason} ({count} of {len(reasons)} clips)"
