"""Everything that is measured on one video, cached by content in `metrics/videos/`."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field
from io import BytesIO
from pathlib import PurePosixPath
from typing import TYPE_CHECKING, Any

import numpy as np

from paha_core.benchmark.measuring.extractors import Extractors
from paha_core.benchmark.measuring.videos import (
    KeypointSource,
    Video,
    at_clip_size,
    load_frames,
    load_picture,
)
from paha_core.media.frames import FPS, resize
from paha_core.metrics import beats, lips, video_quality
from paha_core.metrics.identity import descriptors, identity_similarity
from paha_core.metrics.pose_features import gesture_points
from paha_core.pose.layout import FACE, HANDS
from paha_core.store import Store, sha256_json

if TYPE_CHECKING:
    from paha_core.pose.keypoints import Keypoints

NO_REAL = "there is no real video of this voice"

Note = Callable[[str, float | None, str], None]
"""Takes a metric, its value, and the reason that holds when the value is None."""


@dataclass(frozen=True)
class Measured:
    """What one video's pictures and sound say. A metric stands in `values` or, with words, in
    `reasons`.
    """

    values: dict[str, float] = field(default_factory=dict)
    reasons: dict[str, str] = field(default_factory=dict)
    openness: list[float] | None = None  # the mouth's, for each frame
    strokes: list[float] | None = None  # where the gestures' end, in seconds


def measured_path(source: KeypointSource, extractors: Extractors, video: Video) -> str:
    """Where the numbers of a video are kept: by the content of all that they depend on."""
    key = {
        "protocol": extractors.protocol.sha256,
        "video": [video.sha256, video.frames, source.made_by],
        "is": [video.clip_id, video.shows],
        "audio": source.content(video.audio_path),
        "reference": source.content(video.reference),
        "keypoints": [source.sha256.get(video.shows), source.sha256.get(video.clip_id)],
        "faces": source.preset.pose.max_face_gap,
        "weights": extractors.per_video,
    }
    return f"metrics/videos/{sha256_json(key)}.json"


def measure(source: KeypointSource, extractors: Extractors, video: Video) -> Measured:
    """All that a video alone says; from the cache when nothing that it depends on has changed."""
    rel, store = measured_path(source, extractors, video), source.store
    if store.exists(rel):
        return Measured(**store.read_json(rel))
    measured = _measure(source, extractors, video)
    store.write_json(rel, asdict(measured))
    return measured


def _measure(source: KeypointSource, extractors: Extractors, video: Video) -> Measured:
    store = source.store
    values: dict[str, float] = {}
    reasons: dict[str, str] = {}

    def note(metric: str, value: float | None, reason: str) -> None:
        if value is None:
            reasons[metric] = reason
        else:
            values[metric] = value

    keypoints, real = source.of(video), source.real(video.clip_id, video.frames)
    if keypoints is None:
        return Measured(values, reasons | {"face_share": "the clip has no keypoints"})
    frames = at_clip_size(load_frames(store, video), extractors.protocol.size)
    note("face_share", video_quality.face_share(keypoints.scores), "")
    strokes = _measure_beats(store, video, keypoints, note)
    openness = lips.mouth_openness(keypoints.points, keypoints.scores)
    _measure_lips(video, openness, real, note)
    luma = video_quality.grey(frames)
    _measure_background(store, video, frames, luma, (keypoints, real), note)
    _measure_regions(luma, keypoints, note)
    _measure_identity(source, extractors, video, frames, keypoints, note)
    _measure_sync(store, extractors, video, frames, note)
    mouth = None if openness is None else [float(x) for x in openness]
    return Measured(values, reasons, mouth, strokes)


def _measure_beats(
    store: Store, video: Video, keypoints: Keypoints, note: Note
) -> list[float] | None:
    """Notes both scores; returns the ends of the strokes."""
    points = gesture_points(keypoints)
    if points is None:
        note("bas", None, "the shoulders are never seen")
        note("bas_aist", None, "the shoulders are never seen")
        return None
    heard, seen = beats.audio_beats(_wave(store, video)), beats.motion_beats(points)
    note("bas", beats.beat_alignment(heard, seen), "the audio has no beats")
    note("bas_aist", beats.beat_alignment(seen, heard), "the gestures have no beats")
    return [float(x) for x in beats.stroke_ends(points)]


def _wave(store: Store, video: Video) -> np.ndarray:
    """What is heard with the video: float32 mono at 16 kHz."""
    from paha_core.media.audio import read_audio

    with store.reading(video.audio_path) as path:
        return read_audio(path, 16_000)[: round(video.frames / FPS * 16_000)]


def _measure_sync(
    store: Store, extractors: Extractors, video: Video, frames: np.ndarray, note: Note
) -> None:
    network = extractors.syncnet
    if isinstance(network, str):
        return  # the whole column is missing: `Extractors.missing` says why
    from paha_core.metrics.sync import sync_score
    from paha_core.pose.face import detect_face_boxes

    rules = extractors.protocol
    pose = extractors.preset.pose.model_copy(update={"face_box_scale": 1.0})
    found = detect_face_boxes(frames, pose)
    boxes = np.where(found.found[:, None], found.boxes, np.nan)
    how = {"min_frames": rules.min_track, "min_size": rules.min_face}
    score = sync_score(network[0], frames, _wave(store, video), boxes, **how)
    why = f"no face track of {rules.min_track} frames and {rules.min_face} pixels"
    note("face_track", float(score is not None), "")
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
    picture = load_picture(source.store, video.reference)[None]
    picture = at_clip_size(picture, extractors.protocol.size)
    at = source.of_picture(video.reference)
    count = min(len(frames), len(keypoints))
    seen = keypoints.points[:count], keypoints.scores[:count]
    for metric, space in spaces.items():
        shown = descriptors(space, frames[:count], *seen)
        wanted = descriptors(space, picture, at.points, at.scores)
        why = "no face in the video or in the reference"
        note(metric, identity_similarity(shown, wanted), why)


def _measure_lips(
    video: Video, openness: np.ndarray | None, real: Keypoints | None, note: Note
) -> None:
    if video.shows == video.clip_id:
        note("lip_correlation", None, "1 by definition: the real video is what it compares with")
    elif real is None:
        note("lip_correlation", None, NO_REAL)
    elif openness is None:
        note("lip_correlation", None, "no face in most frames")
    else:
        truth = lips.mouth_openness(real.points, real.scores)
        if truth is None:
            note("lip_correlation", None, "no face in most frames of the real video")
        else:
            value = lips.lip_correlation(openness, truth)
            note("lip_correlation", value, "the real mouth never moves, or under 16 frames")


def _measure_background(
    store: Store,
    video: Video,
    frames: np.ndarray,
    luma: np.ndarray,
    people: tuple[Keypoints, Keypoints | None],
    note: Note,
) -> None:
    """Where neither the video's nor the real person ever is."""
    height, width = luma.shape[1:]
    found = [video_quality.person_cells(p.points, p.scores, p.size) for p in people if p]
    cells = [one for one in found if one is not None]
    mask = video_quality.background_mask(cells, (height, width)) if cells else None
    alone = "no background: the person fills the frame, or was not found"
    note("flicker", None if mask is None else video_quality.flicker(luma, mask), alone)
    if not video.reference or not store.exists(video.reference):
        note("background_psnr", None, "the reference picture is missing")
    elif mask is None:
        note("background_psnr", None, alone)
    else:
        reference = resize(load_picture(store, video.reference)[None], (height, width))[0]
        note("background_psnr", video_quality.background_psnr(frames, reference, mask), "")


def _measure_regions(luma: np.ndarray, keypoints: Keypoints, note: Note) -> None:
    count = min(len(luma), len(keypoints))
    shown = luma[:count], keypoints.points[:count], keypoints.scores[:count]
    for name, region in (("face", FACE), ("hands", HANDS)):
        note(f"sharpness_{name}", video_quality.sharpness(*shown, region), f"no {name} is seen")
        note(f"flicker_{name}", video_quality.region_flicker(*shown, region), f"no {name} is seen")


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
