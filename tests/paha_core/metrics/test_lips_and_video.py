import numpy as np
import pytest

from paha_core.metrics import lips, video_quality
from paha_core.pose.layout import FACE


def face(openness: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """A face 100 px high whose inner lips are `openness` face heights apart."""
    points = np.zeros((len(openness), 133, 2), np.float32)
    points[:, 23 + 8] = (0, 100)
    for upper, lower in zip((61, 62, 63), (67, 66, 65), strict=True):
        points[:, 23 + upper, 1] = 70
        points[:, 23 + lower, 1] = 70 + 100 * openness
    return points, np.ones((len(openness), 133), np.float32)


def test_openness_is_the_gap_over_the_height() -> None:
    curve = np.linspace(0, 0.3, 20)
    np.testing.assert_allclose(lips.mouth_openness(*face(curve)), curve, atol=1e-6)


def test_unreliable_frames_are_bridged_and_a_lost_face_is_missing() -> None:
    curve = np.linspace(0, 0.3, 20)
    points, scores = face(curve)
    points[5:8], scores[5:8] = 999, 0
    np.testing.assert_allclose(lips.mouth_openness(points, scores), curve, atol=1e-6)
    scores[8:] = 0
    assert lips.mouth_openness(points, scores) is None


def test_correlation_is_one_with_itself_and_none_by_chance() -> None:
    curve = np.random.default_rng(0).random(2000)
    assert lips.lip_correlation(curve, 3 * curve + 1) == pytest.approx(1)
    assert lips.lip_correlation(curve, -curve) == pytest.approx(-1)
    shuffled = np.random.default_rng(1).permutation(curve)
    assert abs(lips.lip_correlation(curve, shuffled)) < 0.1


def test_correlation_falls_with_the_shift() -> None:
    from scipy.ndimage import gaussian_filter1d

    curve = gaussian_filter1d(np.random.default_rng(0).random(500), 2)
    values = [lips.lip_correlation(curve[10:-10], np.roll(curve, k)[10:-10]) for k in range(5)]
    assert values == sorted(values, reverse=True)


def test_a_still_mouth_follows_nothing_and_a_short_clip_has_no_correlation() -> None:
    curve = np.random.default_rng(0).random(50)
    jitter = 1 + np.random.default_rng(1).normal(0, 0.001, 50)
    assert lips.lip_correlation(np.ones(50), curve) == 0
    assert lips.lip_correlation(jitter, curve) == 0
    assert lips.lip_correlation(curve, np.ones(50)) is None
    assert lips.lip_correlation(curve[:10], curve) is None


def test_a_programmes_curve_at_the_clips_frames() -> None:
    curve = (np.arange(300) + 0.5) / 30  # its value is its time
    clip = lips.resample_to_clip(curve, 30, start=2.0, frames=5)
    np.testing.assert_allclose(clip, 2.0 + (np.arange(5) + 0.5) / 25)


def test_psnr_by_hand() -> None:
    reference = np.full((8, 8, 3), 100, np.uint8)
    frames = np.full((2, 8, 8, 3), 110, np.uint8)
    frames[:, :4] = 255  # the person, outside the mask
    mask = np.zeros((8, 8), bool)
    mask[4:] = True
    # 20 log10(255 / 10)
    assert video_quality.background_psnr(frames, reference, mask) == pytest.approx(28.13, abs=0.01)
    assert video_quality.background_psnr(reference[None], reference, mask) == 100


def test_the_background_is_what_the_person_never_touches() -> None:
    points = np.zeros((2, 133, 2), np.float32)
    scores = np.zeros((2, 133), np.float32)
    points[:, 5], points[:, 6] = (90, 100), (50, 100)
    points[:, 7], points[:, 9] = (120, 140), (140, 60)  # one raised arm
    scores[:, [5, 6, 7, 9]] = 1
    points[:, FACE] = np.random.default_rng(0).uniform((60, 40), (80, 70), (68, 2))
    scores[:, FACE] = 1
    cells = video_quality.person_cells(points, scores, (200, 200))
    mask = video_quality.background_mask([cells], (200, 200))
    for x, y in ((70, 55), (70, 25), (70, 190), (140, 62), (110, 126)):  # face, hair, trunk, arm
        assert not mask[y, x]
    for x, y in ((10, 10), (190, 190), (20, 120), (105, 60)):
        assert mask[y, x]
    assert 0.5 < mask.mean() < 0.8
    assert video_quality.person_cells(points, 0 * scores, (200, 200)) is None
    assert video_quality.background_mask([np.ones((64, 64), bool)], (200, 200)) is None


def test_flicker_counts_alternation_not_drift() -> None:
    mask = np.ones((4, 4), bool)
    drift = np.arange(6, dtype=np.float32)[:, None, None] * np.ones((6, 4, 4), np.float32)
    blink = (np.arange(6, dtype=np.float32) % 2)[:, None, None] * np.ones((6, 4, 4), np.float32)
    assert video_quality.flicker(drift, mask) == 0
    assert video_quality.flicker(blink, mask) == 2
    assert video_quality.flicker(blink[:2], mask) is None


def test_flicker_of_a_region_is_that_of_its_box() -> None:
    luma = np.zeros((6, 32, 32), np.float32)
    luma[1::2, 8:24, 8:24] = 1  # blinks where the face is
    luma[1::2, 28:] = 9  # and elsewhere
    points = np.zeros((6, 133, 2), np.float32)
    points[:, FACE] = np.random.default_rng(0).uniform(8, 24, (68, 2))
    scores = np.ones((6, 133), np.float32)
    assert video_quality.region_flicker(luma, points, scores, FACE) == 2
    assert video_quality.region_flicker(luma[::2], points[::2], scores[::2], FACE) == 0
    assert video_quality.region_flicker(luma[:2], points[:2], scores[:2], FACE) is None
    assert video_quality.region_flicker(luma, points, 0 * scores, FACE) is None


def test_blur_lowers_sharpness() -> None:
    from scipy.ndimage import gaussian_filter

    luma = np.random.default_rng(0).random((3, 64, 64)).astype(np.float32) * 255
    points = np.zeros((3, 133, 2), np.float32)
    points[:, FACE] = np.random.default_rng(1).uniform(8, 56, (3, 68, 2))
    scores = np.ones((3, 133), np.float32)
    sharp = video_quality.sharpness(luma, points, scores, FACE)
    soft = video_quality.sharpness(gaussian_filter(luma, (0, 1, 1)), points, scores, FACE)
    assert soft < sharp / 10
    assert video_quality.sharpness(luma, points, 0 * scores, FACE) is None


def test_face_share() -> None:
    scores = np.zeros((4, 133), np.float32)
    scores[:3, FACE] = 1
    assert video_quality.face_share(scores) == 0.75
