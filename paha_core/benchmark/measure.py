"""Everything that is measured on one video, cached by content in `metrics/videos/`."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field
from io import BytesIO
from pathlib import PurePosixPath
from typing import TYPE_CHECKING, Any

import numpy as np

from paha_core.benchmark.videos import (
    FPS,
    KeypointSource,
    Video,
    at_clip_size,
    load_frames,
    load_picture,
    resize,
)
from paha_core.config import Preset
from paha_core.metrics import beats, lips, video_quality
from paha_core.metrics.pose_features import gesture_points
from paha_core.metrics.row import PROTOCOL
from paha_core.metrics.time_cost import PARTS, time_cost
from paha_core.store import Store, sha256_json

if TYPE_CHECKING:
    from paha_core.pose.keypoints import Keypoints

Note = Callable[[str, float | None, str], None]
"""Takes a metric, its value, and the reason that holds when the value is None."""


@dataclass(frozen=True)
class Measured:
    """The numbers of one video. A metric stands in `values` or, with words, in `reasons`."""

    values: dict[str, float] = field(default_factory=dict)
    reasons: dict[str, str] = field(default_factory=dict)
    openness: list[float] | None = None  # the mouth's, for each frame


def measure(store: Store, preset: Preset, source: KeypointSource, video: Video) -> Measured:
    """All per-video metrics; from the cache when video, clip and settings are unchanged."""
    key = {
        "protocol": PROTOCOL,
        "video": [video.system == "real", video.sha256, video.frames, video.clip_id],
        "audio": video.audio_path,
        "reference": video.reference,
        "real": source.sha256.get(video.clip_id),
        "size": preset.corpora.clip.size,
        "pose": preset.pose.settings(),
        "timing": sha256_json(dict(video.timing)) if video.timing else None,
    }
    rel = f"metrics/videos/{sha256_json(key)}.json"
    if store.exists(rel):
        return Measured(**store.read_json(rel))
    measured = _measure(store, preset, source, video)
    store.write_json(rel, asdict(measured))
    return measured


def _measure(store: Store, preset: Preset, source: KeypointSource, video: Video) -> Measured:
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
    note("face_share", video_quality.face_share(keypoints.scores), "")
    _measure_beats(store, video, keypoints, note)
    openness = lips.mouth_openness(keypoints.points, keypoints.scores)
    _measure_lips(video, openness, real, note)
    _measure_pixels(store, preset, video, keypoints, real, note)
    return Measured(values, reasons, None if openness is None else [float(x) for x in openness])


def _measure_time(video: Video, note: Note) -> None:
    costs = time_cost(video.timing) if video.timing else {}
    why = "the manifest does not split it" if costs else "real videos are not generated"
    for metric in ("tc", *(f"tc_{part}" for part in PARTS)):
        note(metric, costs.get(metric), why)


def _measure_beats(store: Store, video: Video, keypoints: Keypoints, note: Note) -> None:
    from paha_core.media.audio import read_audio

    points = gesture_points(keypoints)
    if points is None:
        note("bas", None, "the shoulders are never seen")
        note("bas_aist", None, "the shoulders are never seen")
        return
    with store.reading(video.audio_path) as path:
        wave = read_audio(path, 16_000)[: round(video.frames / FPS * 16_000)]
    heard, seen = beats.audio_beats(wave), beats.motion_beats(points)
    note("bas", beats.beat_alignment(heard, seen), "the audio has no beats")
    note("bas_aist", beats.beat_alignment(seen, heard), "the gestures have no beats")


def _measure_lips(
    video: Video, openness: np.ndarray | None, real: Keypoints | None, note: Note
) -> None:
    if video.system == "real":
        note("lip_correlation", None, "1 by definition: the real video is what it compares with")
    elif openness is None:
        note("lip_correlation", None, "no face in most frames")
    else:
        truth = lips.mouth_openness(real.points, real.scores) if real else None
        if truth is None:
            note("lip_correlation", None, "no face in most frames of the real video")
        else:
            value = lips.lip_correlation(openness, truth)
            note("lip_correlation", value, "a mouth never moves, or under 16 frames")


def _measure_pixels(
    store: Store,
    preset: Preset,
    video: Video,
    keypoints: Keypoints,
    real: Keypoints | None,
    note: Note,
) -> None:
    frames = load_frames(store, video)
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


def truth_openness(store: Store, clip: Mapping[str, Any] | None, frames: int) -> np.ndarray | None:
    """The drawn mouth's openness `[frames]` of a studio clip, 0 to 1; None for any other corpus."""
    if clip is None or not clip.get("programme"):
        return None
    programme = PurePosixPath(str(clip["programme"])).stem
    rel = f"sources/truth/{clip['speaker']}/{programme}.npz"
    if not store.exists(rel):
        return None
    with np.load(BytesIO(store.read_bytes(rel)), allow_pickle=False) as truth:
        openness, fps = truth["mouth_openness"], float(truth["fps"])
    return lips.resample_to_clip(openness, fps, float(clip["start"]), frames)


def common_reason(reasons: list[str]) -> str:
    """The reason that most clips share, with how many."""
    reason, count = Counter(reasons).most_common(1)[0]
    return reason if count == len(reasons) else f"{reason} ({count} of {len(reasons)} clips)"
