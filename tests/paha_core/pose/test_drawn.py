"""The studio's drawn points in place of a detector's."""

import json

import numpy as np
import pytest

from paha_core.config import PoseConfig
from paha_core.errors import UserError
from paha_core.pose.drawn import drawn_keypoints
from paha_core.pose.stage import KeypointTask, find_keypoints
from paha_core.store import Store


@pytest.fixture
def store(tmp_path):
    """A programme of 30 frames a second whose points all move a pixel to the right a frame."""
    folder = tmp_path / "sources/truth/p0001"
    folder.mkdir(parents=True)
    points = np.zeros((90, 133, 2), np.float32)
    points[:, :, 0] = 100 + np.arange(90)[:, None]
    points[:, :, 1] = 64
    visible = np.ones((90, 133), bool)
    visible[:, 11:23] = False  # legs
    np.savez(folder / "p0001_000.npz", keypoints=points, visible=visible, fps=30.0)
    return Store(str(tmp_path))


CLIP = {
    "clip_id": "pats/p0001/1", "speaker": "p0001", "source_id": "p0001_000", "start": 0.9,
    "cut_start": 1.0, "frames": 25, "size": 64, "crop": json.dumps([80, 0, 128]),
    "path": "clips/none.mp4",
}  # fmt: skip


def test_points_are_the_drawn_ones_at_the_clips_rate_and_in_its_pixels(store):
    found = drawn_keypoints(store, CLIP)
    assert (len(found), found.size, found.detector) == (25, (64, 64), "drawn")
    # the middle of frame i is at 1 + (i + 0.5)/25 s, which is frame 30 + 1.2 i + 0.1 of 30 a second
    expected = (100 + 30 + 1.2 * np.arange(25) + 0.1 - 80) / 2
    np.testing.assert_allclose(found.points[:, 0, 0], expected, rtol=1e-5)
    np.testing.assert_allclose(found.points[:, 0, 1], 32)
    assert (found.scores[:, 11:23] == 0).all()
    assert (found.points[:, 11:23] == 0).all()
    assert (found.scores[:, 23:] == 1).all()


def test_the_stage_takes_them_without_looking_at_the_clip(store):
    config = PoseConfig(keypoints_source="drawn")
    columns = find_keypoints(
        KeypointTask(store, CLIP["path"], "", "keypoints/a.parquet", config, 1, CLIP)
    )
    assert columns["detector"] == "drawn"
    assert columns["face_share"] == columns["body_share"] == 1
    assert store.exists("keypoints/a.parquet")


def test_other_footage_has_none(store):
    with pytest.raises(UserError, match="has no drawn truth"):
        drawn_keypoints(store, CLIP | {"source_id": "elsewhere"})


def test_a_preset_without_them_keeps_its_identity():
    assert "keypoints_source" not in PoseConfig().identity()
