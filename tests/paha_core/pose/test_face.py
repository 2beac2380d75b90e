"""Face boxes: bridging, scaling, clamping and the file."""

import numpy as np
import pytest

from paha_core.config import PoseConfig
from paha_core.pose import Keypoints, layout
from paha_core.pose.face import FaceBoxes, face_boxes_from_keypoints, interpolate_gaps


def test_short_dropouts_are_bridged_and_long_ones_are_not():
    boxes = np.full((12, 4), np.nan, np.float32)
    boxes[1] = (10, 10, 20, 20)
    boxes[4] = (40, 10, 50, 20)
    boxes[9] = (40, 10, 50, 20)
    filled = interpolate_gaps(boxes, max_gap=3)
    np.testing.assert_allclose(filled[:5, 0], [10, 10, 20, 30, 40])  # the first stands still
    assert np.isnan(filled[5:9]).all()  # four frames are too many
    np.testing.assert_allclose(filled[10:], boxes[[9, 9]])
    assert np.isnan(interpolate_gaps(boxes, max_gap=0)).sum() == np.isnan(boxes).sum()
    assert np.isnan(interpolate_gaps(np.full((3, 4), np.nan, np.float32), max_gap=5)).all()


def clip_with_faces(faces, size=(100, 100)):
    """`faces`: for each frame a box the face points span, or None."""
    points = np.zeros((len(faces), 133, 2), np.float32)
    scores = np.zeros((len(faces), 133), np.float32)
    rng = np.random.default_rng(0)
    for t, box in enumerate(faces):
        if box is not None:
            inside = rng.uniform(size=(68, 2))
            inside[0], inside[1] = 0, 1
            points[t, layout.FACE] = np.array(box[:2]) + inside * (np.array(box[2:]) - box[:2])
            scores[t, layout.FACE] = 1
    return Keypoints(points, scores, size, "mediapipe", "1", "")


def test_boxes_from_keypoints_are_scaled_about_the_centre_and_clamped():
    keypoints = clip_with_faces([(40, 40, 60, 60), None, (44, 40, 64, 60), (85, 0, 99, 10)])
    faces = face_boxes_from_keypoints(keypoints, PoseConfig(max_face_gap=1))
    np.testing.assert_allclose(faces.boxes[0], (38, 38, 62, 62))
    np.testing.assert_allclose(faces.boxes[1], (40, 38, 64, 62))
    np.testing.assert_allclose(faces.boxes[3], (83.6, 0, 100, 11), rtol=1e-6)
    assert faces.found.all()
    assert faces.source == "keypoints:mediapipe"
    np.testing.assert_allclose(faces.union, (38, 0, 100, 62))


def test_no_face_has_no_box():
    faces = face_boxes_from_keypoints(clip_with_faces([None, None]), PoseConfig())
    assert not faces.found.any()
    assert (faces.boxes == 0).all()
    assert (faces.union == 0).all()


def test_file_gives_back_what_was_saved(tmp_path):
    keypoints = clip_with_faces([(40, 40, 60, 60), None, None])
    faces = face_boxes_from_keypoints(keypoints, PoseConfig(max_face_gap=1))
    faces.save(tmp_path / "faces.parquet")
    loaded = FaceBoxes.load(tmp_path / "faces.parquet")
    np.testing.assert_array_equal(loaded.boxes, faces.boxes)
    np.testing.assert_array_equal(loaded.found, [True, False, False])
    assert (loaded.size, loaded.source) == (faces.size, faces.source)
    keypoints.save(tmp_path / "keypoints.parquet")
    with pytest.raises(ValueError, match="no face boxes"):
        FaceBoxes.load(tmp_path / "keypoints.parquet")
