"""The picture of keypoints, box and mask."""

import numpy as np

from paha_core.pose import layout
from paha_core.pose.draw import draw_pose


def test_only_reliable_points_are_drawn_over_the_frame():
    frame = np.full((128, 128, 3), 100, np.uint8)
    points = np.random.default_rng(0).uniform(-50, 180, (133, 2)).astype(np.float32)
    scores = np.zeros(133, np.float32)
    np.testing.assert_array_equal(draw_pose(frame, points, scores), frame)
    scores[layout.LEFT_HAND] = 1
    picture = draw_pose(frame, points, scores)
    assert (picture != frame).any()
    assert (frame == 100).all()


def test_box_and_mask_show_where_they_are():
    frame = np.full((64, 64, 3), 100, np.uint8)
    nothing = np.zeros((133, 2), np.float32), np.zeros(133, np.float32)
    boxed = draw_pose(frame, *nothing, face_box=np.array([10, 12, 40, 50]))
    assert (boxed[12, 25] != 100).any()
    assert (boxed[30, 25] == 100).all()
    weights = np.ones((8, 8), np.float32)
    weights[2, 3] = 40
    glowing = draw_pose(frame, *nothing, weights=weights)
    changed = (glowing != frame).any(axis=2)
    assert changed[16:24, 24:32].all()
    assert changed.sum() == 64
    np.testing.assert_array_equal(draw_pose(frame, *nothing, weights=np.ones((8, 8))), frame)
