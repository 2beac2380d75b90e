"""The stages `keypoints` and `face_boxes`: one Parquet file per clip, and their quality columns.

Both read the kept rows of the stage `clips`; face boxes may also be computed from keypoints. A clip
without any body or any face is rejected, and so is one that can't be decoded. A clip in which a
part is missing in some frames is kept; the share columns record it.

Where MediaPipe's face detection is the source of the boxes, its faces are found in the frames that
the stage `keypoints` decodes, and stored in the file of the keypoints: a clip is decoded once.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import cache, lru_cache
from importlib.metadata import version
from multiprocessing import current_process
from typing import TYPE_CHECKING, Any, TypedDict

import pyarrow as pa

from paha_core.config import PoseConfig
from paha_core.engine.manifest_stage import (
    ClipWork,
    Rejection,
    StageResult,
    clip_key,
    kept_rows,
    update_manifest,
)
from paha_core.engine.workers import Workers, cores
from paha_core.pose import drawn as drawing
from paha_core.pose.detect import Detector, detector_sha256, open_detector
from paha_core.pose.frames import VideoFrames
from paha_core.pose.keypoints import Keypoints
from paha_core.store import Store, sha256_file, sha256_json

if TYPE_CHECKING:
    from paha_core.pose.face import FaceBoxes

KEYPOINTS, FACE_BOXES = "keypoints", "face_boxes"
CODE_VERSION = {KEYPOINTS: 2, FACE_BOXES: 3}  # raise one when its stage's results change

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
        # the version of the face detection whose boxes the file has too; empty without
        ("face_detection", pa.string()),
    ]
)


class Published(TypedDict):
    """The file that a worker wrote."""

    path: str  # in the store
    sha256: str


class KeypointColumns(Published):
    """What `find_keypoints` adds to a row: `KEYPOINT_SCHEMA`, and the file it wrote."""

    frames: int
    height: int
    width: int
    detector: str
    detector_version: str
    detector_sha256: str
    face_share: float
    left_hand_share: float
    right_hand_share: float
    body_share: float
    jitter: float
    face_detection: str


FACE_SCHEMA = pa.schema(
    [
        ("frames", pa.int32()),
        ("height", pa.int32()),
        ("width", pa.int32()),
        ("detector", pa.string()),  # or `keypoints:` and the keypoint detector
        ("detector_version", pa.string()),
        ("detector_sha256", pa.string()),
        ("face_share", pa.float32()),  # share of frames with a box, detected or interpolated
        ("union_box", pa.list_(pa.float32())),  # xyxy in pixels
    ]
)


class FaceColumns(Published):
    """What `find_face_boxes` adds to a row: `FACE_SCHEMA`, and the file it wrote."""

    frames: int
    height: int
    width: int
    detector: str
    detector_version: str
    detector_sha256: str
    face_share: float
    union_box: list[float]


def keypoints_stage(
    store: Store,
    dataset: str,
    config: PoseConfig,
    *,
    workers: Workers,
    speakers: Collection[str] = (),
) -> StageResult:
    """Keypoints of every kept clip (of these `speakers`), as `keypoints/<clip key>.parquet`.

    The face boxes' detection shares the decoded frames, and the file. Raises `FileNotFoundError`
    when the detector's weights are missing.
    """
    # Keypoints depend on these settings and on the hash of the weights, on no other key of `pose`.
    settings: dict[str, Any] = {
        "detector": config.detector, "model_complexity": config.model_complexity
    }  # fmt: skip
    workers = pose_workers(config, workers, gpu_count)
    weights, drawn = "", config.keypoints_source == "drawn"
    if drawn:
        settings = {"source": drawing.NAME, "version": drawing.VERSION}
    else:
        weights = detector_sha256(config)
    threads = _threads(workers)
    face_detection = "" if drawn or config.faces_from_keypoints else face_detection_version()
    jobs = []
    for row in kept_rows(store, "clips", [dataset]):
        target = f"{KEYPOINTS}/{clip_key(row['clip_id'])}.parquet"
        task = KeypointTask(
            *(store, row["path"], row["sha256"], target, config, threads),
            drawn=row if drawn else None,
            face_detection=face_detection,
        )
        parts = [KEYPOINTS, CODE_VERSION[KEYPOINTS], settings, weights, row["sha256"]]
        jobs.append(_job(row, parts, task))
    return update_manifest(
        *(store, KEYPOINTS, dataset, jobs, find_keypoints),
        extra_schema=KEYPOINT_SCHEMA,
        workers=workers,
        speakers=speakers,
    )


def face_boxes_stage(
    store: Store,
    dataset: str,
    config: PoseConfig,
    *,
    workers: Workers,
    speakers: Collection[str] = (),
) -> StageResult:
    """Face boxes of every kept clip (of these `speakers`), as `face_boxes/<clip key>.parquet`.

    From the clips by MediaPipe's face detection, of the person that the clip's keypoints follow;
    or from the kept rows of the stage `keypoints` (`PoseConfig.face_source`).
    """
    settings: dict[str, Any] = {"scale": config.face_box_scale, "max_gap": config.max_face_gap}
    weights = face_detection = ""  # covered by the keypoints' sha256
    if config.faces_from_keypoints:
        settings["source"] = "keypoints"
    else:
        weights, face_detection = _face_weights(), face_detection_version()
    people = {row["clip_id"]: row for row in kept_rows(store, KEYPOINTS, [dataset])}
    from_keypoints = config.faces_from_keypoints
    rows = list(people.values()) if from_keypoints else kept_rows(store, "clips", [dataset])
    jobs = []
    for row in rows:
        target = f"{FACE_BOXES}/{clip_key(row['clip_id'])}.parquet"
        person = people.get(row["clip_id"])  # None: no body was found, the largest face counts
        followed = (person["path"], person["sha256"]) if person else ("", "")
        task = FaceTask(*(store, row["path"], row["sha256"], target, config, weights), *followed)
        if person and not from_keypoints and person.get("face_detection") == face_detection:
            task = replace(task, detected=True)
        parts = [FACE_BOXES, CODE_VERSION[FACE_BOXES], settings, weights, row["sha256"]]
        parts += [person["sha256"] if person else ""]
        jobs.append(_job(row, parts, task))
    return update_manifest(
        *(store, FACE_BOXES, dataset, jobs, find_face_boxes),
        extra_schema=FACE_SCHEMA,
        workers=workers,
        speakers=speakers,
    )


@dataclass(frozen=True)
class KeypointTask:
    """Input of `find_keypoints`: paths in the store, CPU threads of the network, the clip's row
    where its points are to be the drawn ones, and the version of the face detection that shares the
    frames, empty for none."""

    store: Store
    clip: str
    clip_sha256: str
    target: str
    config: PoseConfig
    threads: int
    drawn: dict[str, Any] | None = None
    face_detection: str = ""


@dataclass(frozen=True)
class FaceTask:
    """Input of `find_face_boxes`: `source` is a clip or its keypoints; `keypoints` those whose
    person's face is wanted, or empty; `detected`: their file has that face as it was detected."""

    store: Store
    source: str
    source_sha256: str
    target: str
    config: PoseConfig
    detector_sha256: str
    keypoints: str = ""
    keypoints_sha256: str = ""
    detected: bool = False


def find_keypoints(task: KeypointTask) -> KeypointColumns:
    """Process one clip; returns its columns."""
    faces: FaceBoxes | None = None
    if task.drawn is not None:
        keypoints = drawing.drawn_keypoints(task.store, task.drawn)
    else:
        detector = _detector(task.config, task.threads)
        with _video(task.store, task.clip, task.clip_sha256) as frames:
            if task.face_detection:
                keypoints, faces = _with_faces(detector, frames)
            else:
                keypoints = detector.detect(frames)
    quality = keypoints.quality()
    if quality.body == 0:
        raise Rejection("no body in any frame")
    others = [] if faces is None else [faces.to_table()]
    return {
        **_publish(task.store, task.target, lambda path: keypoints.save(path, *others)),
        "frames": len(keypoints),
        "height": keypoints.size[0],
        "width": keypoints.size[1],
        "detector": keypoints.detector,
        "detector_version": keypoints.version,
        "detector_sha256": keypoints.weights_sha256,
        "face_share": quality.face,
        "left_hand_share": quality.left_hand,
        "right_hand_share": quality.right_hand,
        "body_share": quality.body,
        "jitter": quality.jitter,
        "face_detection": task.face_detection,
    }


def _with_faces(detector: Detector, frames: VideoFrames) -> tuple[Keypoints, FaceBoxes]:
    """The keypoints of a clip, and the face of the person whom they follow."""
    from paha_core.pose.face import FaceSearch

    search = FaceSearch(frames)
    keypoints = detector.detect(search)
    return keypoints, search.detected(keypoints)


def find_face_boxes(task: FaceTask) -> FaceColumns:
    """Process one clip; returns its columns."""
    from paha_core.pose.face import (
        FaceBoxes,
        detect_face_boxes,
        face_boxes_from_keypoints,
        finished,
    )

    keypoints = detected = None
    if task.keypoints:
        with task.store.reading(task.keypoints, task.keypoints_sha256) as path:
            keypoints = Keypoints.load(path)
            detected = FaceBoxes.load(path) if task.detected else None
    if task.config.faces_from_keypoints:
        assert keypoints is not None
        faces = face_boxes_from_keypoints(keypoints, task.config)
        made_by = keypoints.version, keypoints.weights_sha256
    else:
        if detected is not None:
            faces = finished(detected, task.config)
        else:
            with _video(task.store, task.source, task.source_sha256) as frames:
                faces = detect_face_boxes(frames, task.config, keypoints)
        made_by = version("mediapipe"), task.detector_sha256
    if not faces.found.any():
        raise Rejection("no face in any frame")
    return {
        **_publish(task.store, task.target, faces.save),
        "frames": len(faces),
        "height": faces.size[0],
        "width": faces.size[1],
        "detector": faces.source,
        "detector_version": made_by[0],
        "detector_sha256": made_by[1],
        "face_share": float(faces.found.mean()),
        "union_box": faces.union.tolist(),
    }


def _job(row: dict[str, Any], parts: list[Any], task: Any) -> ClipWork:
    columns = {"speaker": row["speaker"], "split": row["split"]}
    return ClipWork(row["clip_id"], sha256_json(parts), task, columns)


@contextmanager
def _video(store: Store, clip: str, sha256: str) -> Iterator[VideoFrames]:
    """The clip's frames, decoded while they are iterated; a decoding error is a `Rejection`."""
    from paha_core.media.ffmpeg import MediaError
    from paha_core.media.video import HELD_BYTES

    with store.reading(clip, sha256) as path:
        try:
            yield VideoFrames(path, HELD_BYTES)
        except MediaError as error:
            raise Rejection(f"the clip can't be decoded: {error}") from error


def pose_workers(config: PoseConfig, workers: Workers, gpus: Callable[[], int]) -> Workers:
    """Local processes that detect keypoints: one per GPU where the detector runs on GPUs, since a
    session per core would take the memory of one of them many times."""
    on_gpu = config.detector == "dwpose" and config.device != "cpu"
    return max(1, gpus()) if on_gpu and isinstance(workers, int) and workers > 0 else workers


def gpu_count() -> int:
    """CUDA devices that this process may use."""
    import torch

    return torch.cuda.device_count()


def own_gpu(process: str, gpus: int) -> int:
    """The GPU of a worker process by its name: processes of a pool are numbered consecutively."""
    number = process.rpartition("-")[2]
    return int(number) % gpus if gpus > 1 and number.isdigit() else 0


def _threads(workers: Workers) -> int:
    """CPU threads per worker, so that all workers together use every core."""
    return 1 if workers == "ray" else max(1, cores() // max(1, workers))


def _publish(store: Store, target: str, save: Callable[[Any], None]) -> Published:
    with store.writing(target) as path:
        save(path)
        sha256 = sha256_file(path)
    return {"path": target, "sha256": sha256}


@cache
def _face_weights() -> str:
    from paha_core.pose.face import face_detector_sha256

    return face_detector_sha256()


def face_detection_version() -> str:
    """Changes with the results of MediaPipe's face detection."""
    return sha256_json([CODE_VERSION[FACE_BOXES], _face_weights()])


@lru_cache(maxsize=1)
def _detector(config: PoseConfig, threads: int) -> Detector:
    """One detector per worker process, on a GPU of its own where there is one for each."""
    on_gpu = config.detector == "dwpose" and config.device != "cpu"
    device = own_gpu(current_process().name, gpu_count()) if on_gpu else 0
    return open_detector(config, threads, device)
