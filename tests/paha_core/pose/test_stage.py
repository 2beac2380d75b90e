"""The stages over a store: files, manifests, rejections, and not doing work twice."""

from importlib.metadata import version
from io import BytesIO

import numpy as np
import pyarrow as pa
import pytest
from PIL import Image

from paha_core.config import ParConfig, PoseConfig
from paha_core.engine.manifest_files import manifest_path
from paha_core.engine.manifest_stage import BASE_SCHEMA, stage_schema
from paha_core.media import video
from paha_core.media.encode import write_video
from paha_core.par import par_weights
from paha_core.par.stage import PAR_SCHEMA, par_masks_stage
from paha_core.pose import Keypoints
from paha_core.pose.detect import detector_sha256
from paha_core.pose.face import FaceBoxes, detect_face_boxes, face_boxes_from_keypoints
from paha_core.pose.frames import VideoFrames
from paha_core.pose.stage import (
    FACE_SCHEMA,
    KEYPOINT_SCHEMA,
    face_boxes_stage,
    keypoints_stage,
)
from paha_core.stages import pictures
from paha_core.store import Store, sha256_file

PRESENTER, EMPTY, BROKEN = "pats/lin/one", "pats/lin/empty", "pats/lin/broken"


@pytest.fixture
def store(tmp_path, presenter):
    store = Store(str(tmp_path / "store"))
    write_video(tmp_path / "one.mp4", presenter[0][:8])
    write_video(tmp_path / "empty.mp4", np.full((4, 128, 128, 3), 90, np.uint8))
    (tmp_path / "broken.mp4").write_bytes(b"not a video")
    rows = []
    for clip_id in (PRESENTER, EMPTY, BROKEN):
        file = tmp_path / f"{clip_id.split('/')[-1]}.mp4"
        path = f"clips/{file.name}"
        store.write_bytes(path, file.read_bytes())
        row = {"clip_id": clip_id, "dataset": "pats", "speaker": "lin", "split": "train"}
        row |= {"status": "kept", "reason": "", "fingerprint": "x", "path": path}
        rows.append(row | {"sha256": sha256_file(file), "frames": 8, "fps": 25.0})
    extra = pa.schema([("frames", pa.int32()), ("fps", pa.float64())])
    table = pa.Table.from_pylist(rows, schema=stage_schema(extra))
    store.write_table(manifest_path("clips", "pats"), table)
    return store


def row_of(result, clip_id):
    return next(row for row in result.table.to_pylist() if row["clip_id"] == clip_id)


def test_from_clips_to_masks(store, presenter):
    config = PoseConfig()
    keypoints = keypoints_stage(store, "pats", config, workers=0)
    assert keypoints.table.schema.names == [*BASE_SCHEMA.names, *KEYPOINT_SCHEMA.names]
    assert (keypoints.kept, keypoints.rejected) == (1, 2)
    row = row_of(keypoints, PRESENTER)
    assert (row["speaker"], row["split"], row["detector"]) == ("lin", "train", "mediapipe")
    assert (row["frames"], row["face_share"], row["body_share"]) == (8, 1, 1)
    assert row["detector_version"] == version("mediapipe")
    assert row["detector_sha256"] == detector_sha256(config)
    assert 0 < row["jitter"] < 0.01
    assert row["path"] == "keypoints/pats__lin__one.parquet"
    assert row_of(keypoints, EMPTY)["reason"] == "no body in any frame"
    assert "can't be decoded" in row_of(keypoints, BROKEN)["reason"]

    faces = face_boxes_stage(store, "pats", config, workers=0)
    assert faces.table.schema.names == [*BASE_SCHEMA.names, *FACE_SCHEMA.names]
    assert row_of(faces, EMPTY)["reason"] == "no face in any frame"
    row = row_of(faces, PRESENTER)
    with store.reading(row["path"]) as path:
        np.testing.assert_array_equal(FaceBoxes.load(path).union, np.float32(row["union_box"]))

    masks = par_masks_stage(store, "pats", ParConfig(), 8, workers=0)
    assert masks.table.schema.names == [*BASE_SCHEMA.names, *PAR_SCHEMA.names]
    row = row_of(masks, PRESENTER)
    with store.reading(row["path"]) as path, np.load(path, allow_pickle=False) as file:
        weights, regions = file["weights"], file["regions"]
    with store.reading("keypoints/pats__lin__one.parquet") as path:
        loaded = Keypoints.load(path)
    exact = par_weights(loaded.points, loaded.scores, loaded.size, ParConfig(), 8)
    np.testing.assert_array_equal(weights, exact.astype(np.float16))
    assert (regions.dtype, regions.shape) == (np.uint8, (8, 8, 8))
    assert row["max_weight"] > 2
    assert row["face_share"] > 0

    # a strip of six frames for the one clip
    for draw in (pictures.poses, pictures.faces, pictures.masks):
        png = store.read_bytes(draw(store, "pats", fresh=True))
        shown = np.asarray(Image.open(BytesIO(png)))
        assert shown.shape == (pictures.SIDE, 6 * pictures.SIDE, 3)
        plain = pictures._tile(presenter[0][0]).astype(int)
        assert np.abs(shown[:, : pictures.SIDE] - plain).max() > 60  # something is drawn on it

    # nothing is done twice, and only what a changed setting touches is done again
    assert keypoints_stage(store, "pats", config, workers=0).computed == 0
    assert par_masks_stage(store, "pats", ParConfig(), 8, workers=0).computed == 0
    wider = PoseConfig(face_box_scale=1.5)
    assert keypoints_stage(store, "pats", wider, workers=0).computed == 0
    assert face_boxes_stage(store, "pats", wider, workers=0).computed == 3
    before = row["sha256"]
    assert par_masks_stage(store, "pats", ParConfig(cap=20.0), 8, workers=0).computed == 1
    again = par_masks_stage(store, "pats", ParConfig(), 8, workers=0)
    assert row_of(again, PRESENTER)["sha256"] == before  # same input, same bytes


def test_both_detectors_share_one_decoding(store, monkeypatch):
    decoded = []
    plain = video.iter_frames

    def counted(path):
        decoded.append(path)
        return plain(path)

    monkeypatch.setattr(video, "iter_frames", counted)
    keypoints = keypoints_stage(store, "pats", PoseConfig(), workers=0)
    assert len(decoded) == 3  # once a clip
    row = row_of(face_boxes_stage(store, "pats", PoseConfig(), workers=0), PRESENTER)
    assert len(decoded) == 5  # not the one whose keypoints have its face
    with store.reading(row["path"]) as path:
        shared = FaceBoxes.load(path)
    person = row_of(keypoints, PRESENTER)
    with store.reading("clips/one.mp4") as path, store.reading(person["path"]) as points:
        frames = list(plain(path))
        alone = detect_face_boxes(frames, PoseConfig(), Keypoints.load(points))
    np.testing.assert_array_equal(shared.boxes, alone.boxes)
    np.testing.assert_array_equal(shared.found, alone.found)


def test_frames_are_held_up_to_a_size(tmp_path, monkeypatch):
    path = tmp_path / "v.mp4"
    write_video(path, np.zeros((5, 32, 32, 3), np.uint8))
    decoded = []
    plain = video.iter_frames
    monkeypatch.setattr(video, "iter_frames", lambda path: decoded.append(path) or plain(path))
    for size, times in ((0, 2), (5 * 32 * 32 * 3, 1), (5 * 32 * 32 * 3 - 1, 2)):
        decoded.clear()
        frames = VideoFrames(path, size)
        assert [len(list(frames)) for _ in range(2)] == [5, 5]
        assert len(decoded) == times


def test_face_boxes_of_the_keypoints(store):
    """The second source: chosen by setting, and by itself where the keypoints are DWPose's."""
    config = PoseConfig(face_source="keypoints")
    assert keypoints_stage(store, "pats", config, workers=0).kept == 1
    faces = face_boxes_stage(store, "pats", config, workers=0)
    assert [row["clip_id"] for row in faces.table.to_pylist()] == [PRESENTER]
    row = row_of(faces, PRESENTER)
    assert row["detector"] == "keypoints:mediapipe"
    assert row["detector_sha256"] == detector_sha256(config)
    with store.reading("keypoints/pats__lin__one.parquet") as path:
        keypoints = Keypoints.load(path)
    with store.reading(row["path"]) as path:
        boxes = FaceBoxes.load(path).boxes
    np.testing.assert_array_equal(boxes, face_boxes_from_keypoints(keypoints, config).boxes)
    assert face_boxes_stage(store, "pats", config, workers=0).computed == 0
    other = face_boxes_stage(store, "pats", PoseConfig(), workers=0)
    assert (other.computed, other.kept) == (3, 1)

    assert not PoseConfig().faces_from_keypoints
    dwpose = {"detector": "dwpose", "dwpose_pose": "a.onnx", "dwpose_person": "b.onnx"}
    assert PoseConfig(**dwpose).faces_from_keypoints
    assert not PoseConfig(**dwpose, face_source="mediapipe").faces_from_keypoints
