"""The 133-point form: its file, its quality, its layout."""

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from paha_core.pose import Keypoints, layout


def keypoints(frames=6, seed=0):
    rng = np.random.default_rng(seed)
    return Keypoints(
        points=rng.uniform(-20, 300, (frames, 133, 2)).astype(np.float32),
        scores=rng.uniform(0, 1, (frames, 133)).astype(np.float32),
        size=(256, 320),
        detector="mediapipe",
        version="0.10.21",
        weights_sha256="ab" * 32,
    )


@pytest.mark.parametrize("frames", [0, 1, 6])
def test_file_gives_back_what_was_saved(tmp_path, frames):
    saved = keypoints(frames)
    saved.save(tmp_path / "a.parquet")
    saved.save(tmp_path / "b.parquet")
    loaded = Keypoints.load(tmp_path / "a.parquet")
    np.testing.assert_array_equal(loaded.points, saved.points)
    np.testing.assert_array_equal(loaded.scores, saved.scores)
    for name in ("size", "detector", "version", "weights_sha256"):
        assert getattr(loaded, name) == getattr(saved, name)
    assert (tmp_path / "a.parquet").read_bytes() == (tmp_path / "b.parquet").read_bytes()


def test_another_parquet_file_is_refused(tmp_path):
    pq.write_table(pa.table({"points": [1.0]}), tmp_path / "other.parquet")
    with pytest.raises(ValueError, match="not a keypoints file"):
        Keypoints.load(tmp_path / "other.parquet")


def test_wrong_shapes_and_scores_are_refused():
    good = keypoints()
    rest = (good.size, good.detector, good.version, good.weights_sha256)
    with pytest.raises(ValueError, match=r"\[T, 133, 2\]"):
        Keypoints(good.points[:, :17], good.scores, *rest)
    with pytest.raises(ValueError, match="float32"):
        Keypoints(good.points.astype(np.float64), good.scores, *rest)
    with pytest.raises(ValueError, match=r"\[0, 1\]"):
        Keypoints(good.points, good.scores + 1, *rest)


def test_quality_counts_frames_and_restlessness():
    points = np.zeros((10, 133, 2), np.float32)
    points += np.arange(10, dtype=np.float32)[:, None, None] * 3  # steady motion
    scores = np.zeros((10, 133), np.float32)
    scores[:, layout.UPPER_BODY] = 0.9
    scores[:5, layout.FACE] = 1
    scores[:2, layout.LEFT_HAND] = 1
    still = Keypoints(points, scores, (100, 200), "mediapipe", "1", "")
    quality = still.quality()
    assert quality.body == 1
    assert quality.face == 0.5
    assert quality.left_hand == pytest.approx(0.2)
    assert (quality.right_hand, quality.jitter) == (0, 0)
    points = points.copy()
    points[::2, :, 0] += 1  # every other frame one pixel off: second differences of two pixels
    assert Keypoints(points, scores, (100, 200), "x", "1", "").quality().jitter == pytest.approx(
        2 / 100
    )


def test_layout_covers_every_point_once():
    indices = [i for part in layout.PARTS.values() for i in range(*part.indices(133))]
    assert sorted(indices) == list(range(133))
    for part, edges in layout.EDGES.items():
        assert {i for edge in edges for i in edge} >= set(range(133)[layout.PARTS[part]]) - {
            *range(17, 23)
        }
