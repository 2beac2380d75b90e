"""Face boxes: bridging, scaling, clamping and the file."""

import cv2
import numpy as np
import pytest

from paha_core.config import PoseConfig
from paha_core.pose import Keypoints, layout, open_detector
from paha_core.pose.face import (
    FaceBoxes,
    FaceSearch,
    detect_face_boxes,
    face_boxes_from_keypoints,
    follow_face,
    head_positions,
    interpolate_gaps,
)


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
    with pytest.raises(ValueError, match="not a face box file"):
        FaceBoxes.load(tmp_path / "keypoints.parquet")


def boxes_at(*centres: tuple[float, float], half: float = 10) -> np.ndarray:
    c = np.array(centres, np.float32).reshape(-1, 2)
    return np.concatenate([c - half, c + half], axis=1)


def test_the_face_is_that_of_the_tracked_body():
    """The other face is larger, and in one frame the only one that was found."""
    ours, other = (50.0, 40.0), (200.0, 40.0)
    both = np.concatenate([boxes_at(ours), boxes_at(other, half=14)])
    found = [both, both[::-1], boxes_at(other, half=14), both, np.zeros((0, 4), np.float32)]
    heads = np.array([ours, (54, 44), ours, (np.nan, np.nan), ours])
    chosen = follow_face(found, heads)
    np.testing.assert_array_equal(chosen[[0, 1, 3]], boxes_at(ours).repeat(3, axis=0))
    assert np.isnan(chosen[[2, 4]]).all()  # rather none than the other's


def test_without_keypoints_the_largest_face_is_followed():
    small, large = boxes_at((50, 40)), boxes_at((200, 40), half=12)
    grown = boxes_at((52, 40), half=13)  # the other one comes nearer
    found = [np.concatenate([small, large]), np.concatenate([grown, large]), small, large]
    chosen = follow_face(found)
    np.testing.assert_array_equal(chosen, np.concatenate([large, large, small, large]))


def test_heads_are_where_reliable_points_are():
    points = np.zeros((2, layout.POINTS, 2), np.float32)
    scores = np.zeros((2, layout.POINTS), np.float32)
    points[0, :3] = (10, 20), (14, 16), (0, 900)
    scores[0, :3] = 0.9, 0.9, 0.5
    heads = head_positions(Keypoints(points, scores, (100, 100), "d", "1", "x"))
    np.testing.assert_allclose(heads[0], (12, 18))
    assert np.isnan(heads[1]).all()


def test_two_people_side_by_side_keep_their_faces(presenter):
    """The mirrored presenter beside herself, larger: keypoints and boxes are of one person."""
    frames, *_ = presenter
    tall = np.stack([cv2.resize(f, (280, 280), interpolation=cv2.INTER_CUBIC) for f in frames])
    padded = np.pad(frames, ((0, 0), (24, 0), (0, 0), (0, 0)), mode="edge")
    pair = np.concatenate([padded, tall[:, :, ::-1]], axis=2)
    keypoints = open_detector(PoseConfig()).detect(pair)
    faces = detect_face_boxes(pair, PoseConfig(), keypoints)
    heads = head_positions(keypoints)
    known = faces.found & np.isfinite(heads).all(axis=1)
    assert known.mean() > 0.8
    inside = (heads[known] >= faces.boxes[known, :2]) & (heads[known] <= faces.boxes[known, 2:])
    assert inside.all()
    assert faces.union[2] - faces.union[0] < 160  # it never jumps to the other
    search = FaceSearch(pair)
    again = open_detector(PoseConfig()).detect(search)  # in one pass over the frames
    np.testing.assert_array_equal(search.boxes(PoseConfig(), again).boxes, faces.boxes)
