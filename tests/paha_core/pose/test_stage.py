"""The stages over a store: files, manifests, rejections, and not doing work twice."""

import numpy as np
import pyarrow as pa
import pytest

from paha_core.config import ParConfig, PoseConfig
from paha_core.media.video import write_video
from paha_core.par import PAR_SCHEMA, par_masks_stage, par_weights
from paha_core.pose import Keypoints
from paha_core.pose.face import FaceBoxes
from paha_core.pose.stage import FACE_SCHEMA, KEYPOINT_SCHEMA, face_boxes_stage, keypoints_stage
from paha_core.stages import BASE_SCHEMA, manifest_path
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
        rows.append(row | {"sha256": sha256_file(file)})
    table = pa.Table.from_pylist(rows, schema=BASE_SCHEMA)
    store.write_table(manifest_path("clips", "pats"), table)
    return store


def row_of(result, clip_id):
    return next(row for row in result.table.to_pylist() if row["clip_id"] == clip_id)


def test_from_clips_to_masks(store):
    config = PoseConfig()
    keypoints = keypoints_stage(store, "pats", config, workers=0)
    assert keypoints.table.schema.names == [*BASE_SCHEMA.names, *KEYPOINT_SCHEMA.names]
    assert (keypoints.kept, keypoints.rejected) == (1, 2)
    row = row_of(keypoints, PRESENTER)
    assert (row["speaker"], row["split"], row["detector"]) == ("lin", "train", "mediapipe")
    assert (row["frames"], row["face_share"], row["body_share"]) == (8, 1, 1)
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
