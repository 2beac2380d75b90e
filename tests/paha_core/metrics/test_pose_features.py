import numpy as np
import pytest

from paha_core.metrics import pose_features as pf
from paha_core.pose.keypoints import Keypoints


def keypoints(frames: int = 64, seed: int = 0, scale: float = 1.0, shift: float = 0.0) -> Keypoints:
    rng = np.random.default_rng(seed)
    t = np.arange(frames)[:, None, None] / 25
    points = np.sin(t * rng.uniform(2, 6, (1, 133, 2)) + rng.uniform(0, 6, (1, 133, 2))) * 10 + 100
    points[:, 5], points[:, 6] = (140, 90), (60, 90)
    scores = np.ones((frames, 133), np.float32)
    return Keypoints(
        (points * scale + shift).astype(np.float32), scores, (256, 256), "drawn", "1", "0"
    )


def with_scores(k: Keypoints, scores: np.ndarray) -> Keypoints:
    return Keypoints(k.points, scores, k.size, k.detector, k.version, k.weights_sha256)


def test_points_do_not_depend_on_place_and_size() -> None:
    a = pf.gesture_points(keypoints())
    b = pf.gesture_points(keypoints(scale=2.5, shift=30))
    assert a.shape == (64, 49, 2)
    np.testing.assert_allclose(a, b, atol=1e-4)
    np.testing.assert_allclose(a[:, 1] - a[:, 2], np.broadcast_to([1, 0], (64, 2)), atol=1e-5)


def test_unreliable_points_are_bridged_or_put_at_the_wrist() -> None:
    k = keypoints()
    whole = pf.gesture_points(k)
    scores = k.scores.copy()
    scores[20:22, 9] = 0.1  # a wrist for two frames
    scores[:, 112:] = 0  # the right hand, always
    got = pf.gesture_points(with_scores(k, scores))
    wrist, wrist_index = pf.POINTS.index(9), pf.POINTS.index(10)
    assert np.abs(got[20:22, wrist] - whole[20:22, wrist]).max() < 0.02
    np.testing.assert_allclose(got[:, -21:], np.repeat(got[:, [wrist_index]], 21, axis=1))


def test_no_shoulders_is_no_pose() -> None:
    k = keypoints()
    scores = k.scores.copy()
    scores[:, 5] = 0
    assert pf.gesture_points(with_scores(k, scores)) is None


def test_resample_keeps_time() -> None:
    line = np.arange(26, dtype=np.float64)[:, None]  # one second and a frame at 25 fps
    np.testing.assert_allclose(pf.resample(line)[:, 0], np.arange(16) * 25 / 15)


@pytest.mark.parametrize(("frames", "count"), [(55, 0), (56, 1), (64, 1), (125, 5)])
def test_windows_need_56_frames(frames: int, count: int) -> None:
    windows = pf.pose_windows(np.zeros((frames, 49, 2), np.float32))
    assert windows.shape == (count, 34, 98)


def test_the_longest_window_fits() -> None:
    for frames in (20, 48, 56, 64, 375):
        window = pf.longest_window(frames)
        assert window <= 34
        assert len(pf.pose_windows(np.zeros((frames, 49, 2), np.float32), window=window)) >= 1
    assert pf.longest_window(64) == 34
    assert pf.longest_window(48) == 28
