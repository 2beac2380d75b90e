"""The stages `keypoints` and `face_boxes`: a Parquet file a clip, and a manifest of their quality.

Both read the kept rows of the stage `clips`. A clip without any body or any face is rejected, and
so is one that can't be decoded. One where a part is missing now and then is kept: its shares tell.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass
from functools import lru_cache
from typing import Any

import pyarrow as pa

from paha_core.config import PoseConfig
from paha_core.pose.detect import Detector, detector_sha256, open_detector
from paha_core.stages import Job, Rejection, StageResult, clip_key, kept_rows, run_stage
from paha_core.store import Store, sha256_file, sha256_json

KEYPOINTS, FACE_BOXES = "keypoints", "face_boxes"
CODE_VERSION = {KEYPOINTS: 2, FACE_BOXES: 1}  # raise one when its stage's results change

KEYPOINT_SCHEMA = pa.schema(
    [
        ("frames", pa.int32()),
        ("height", pa.int32()),
        ("width", pa.int32()),
        ("detector", pa.string()),
        ("detector_version", pa.string()),
        ("detector_sha256", pa.string()),
        ("face_share", pa.float32()),  # shares of frames with the part above the threshold
        ("left_hand_share", pa.float32()),
        ("right_hand_share", pa.float32()),
        ("body_share", pa.float32()),
        ("jitter", pa.float32()),  # median second difference over the shorter side
    ]
)
FACE_SCHEMA = pa.schema(
    [
        ("frames", pa.int32()),
        ("height", pa.int32()),
        ("width", pa.int32()),
        ("detector", pa.string()),
        ("detector_sha256", pa.string()),
        ("face_share", pa.float32()),  # share of frames with a box, detected or bridged
        ("union_box", pa.list_(pa.float32())),  # xyxy in pixels
    ]
)


def keypoints_stage(store: Store, dataset: str, config: PoseConfig, *, workers: int) -> StageResult:
    """Keypoints of every kept clip, as `keypoints/<clip key>.parquet`.

    Raises `FileNotFoundError` when the detector's weights are missing.
    """
    settings = config.settings()
    for other in (
        "face_box_scale",
        "max_face_gap",
        "batch",
        "device",
        "dwpose_pose",
        "dwpose_person",
    ):
        settings.pop(other)  # they change no keypoint; the weights count by their hash
    jobs = _jobs(store, KEYPOINTS, dataset, config, settings, detector_sha256(config))
    return run_stage(
        *(store, KEYPOINTS, dataset, jobs, find_keypoints),
        extra_schema=KEYPOINT_SCHEMA,
        workers=workers,
    )


def face_boxes_stage(
    store: Store, dataset: str, config: PoseConfig, *, workers: int
) -> StageResult:
    """Face boxes of every kept clip by MediaPipe, as `face_boxes/<clip key>.parquet`."""
    from paha_core.pose.face import face_detector_sha256

    settings = {"scale": config.face_box_scale, "max_gap": config.max_face_gap}
    jobs = _jobs(store, FACE_BOXES, dataset, config, settings, face_detector_sha256())
    return run_stage(
        *(store, FACE_BOXES, dataset, jobs, find_face_boxes),
        extra_schema=FACE_SCHEMA,
        workers=workers,
    )


@dataclass(frozen=True)
class ClipTask:
    """What a worker needs: the clip to read, the file to write."""

    store: Store
    clip: str
    target: str
    config: PoseConfig
    detector_sha256: str


def find_keypoints(task: ClipTask) -> dict[str, Any]:
    """One clip's work; the returned dict is its row's own columns."""
    keypoints = _detector(task.config).detect(_frames(task))
    quality = keypoints.quality()
    if quality.body == 0:
        raise Rejection("no body in any frame")
    shares = asdict(quality)
    return _publish(task, keypoints.save) | {
        "frames": len(keypoints),
        "height": keypoints.size[0],
        "width": keypoints.size[1],
        "detector": keypoints.detector,
        "detector_version": keypoints.version,
        "detector_sha256": keypoints.weights_sha256,
        "jitter": shares.pop("jitter"),
        **{f"{part}_share": share for part, share in shares.items()},
    }


def find_face_boxes(task: ClipTask) -> dict[str, Any]:
    """One clip's work; the returned dict is its row's own columns."""
    from paha_core.pose.face import detect_face_boxes

    faces = detect_face_boxes(_frames(task), task.config)
    if not faces.found.any():
        raise Rejection("no face in any frame")
    return _publish(task, faces.save) | {
        "frames": len(faces),
        "height": faces.size[0],
        "width": faces.size[1],
        "detector": faces.source,
        "detector_sha256": task.detector_sha256,
        "face_share": float(faces.found.mean()),
        "union_box": faces.union.tolist(),
    }


def _jobs(
    store: Store,
    stage: str,
    dataset: str,
    config: PoseConfig,
    settings: dict[str, Any],
    weights: str,
) -> list[Job]:
    jobs = []
    for row in kept_rows(store, "clips", [dataset]):
        clip_id = row["clip_id"]
        target = f"{stage}/{clip_key(clip_id)}.parquet"
        parts = [stage, CODE_VERSION[stage], settings, weights, row["sha256"]]
        columns = {"speaker": row["speaker"], "split": row["split"]}
        task = ClipTask(store, row["path"], target, config, weights)
        jobs.append(Job(clip_id, sha256_json(parts), task, columns))
    return jobs


def _frames(task: ClipTask) -> Any:
    from paha_core.media.ffmpeg import MediaError
    from paha_core.media.video import read_frames

    with task.store.reading(task.clip) as path:
        try:
            return read_frames(path)
        except MediaError as error:
            raise Rejection(f"the clip can't be decoded: {error}") from error


def _publish(task: ClipTask, save: Callable[[Any], None]) -> dict[str, str]:
    with task.store.writing(task.target) as path:
        save(path)
        sha256 = sha256_file(path)
    return {"path": task.target, "sha256": sha256}


@lru_cache(maxsize=1)
def _detector(config: PoseConfig) -> Detector:
    """The detector of this worker process, opened once."""
    return open_detector(config)
