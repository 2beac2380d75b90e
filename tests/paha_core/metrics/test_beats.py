import numpy as np
import pytest

from paha_core.metrics.beats import audio_beats, bailando_score, beat_alignment, motion_beats

TRAIN = np.arange(1, 10) * 1.0


@pytest.mark.parametrize("k", [0, 1, 2, 3, 6, 12])
def test_a_train_shifted_by_k_frames(k: int) -> None:
    expected = np.exp(-(k**2) / 18)  # every beat is k frames off, sigma = 3 frames
    assert beat_alignment(TRAIN, TRAIN + k / 25) == pytest.approx(expected)
    assert beat_alignment(TRAIN + k / 25, TRAIN) == pytest.approx(expected)


def test_the_directions_differ() -> None:
    motion = TRAIN[::3]  # every third speech beat has a gesture, every gesture a speech beat
    assert beat_alignment(motion, TRAIN) == pytest.approx(1)
    assert beat_alignment(TRAIN, motion) == pytest.approx(1 / 3, abs=1e-6)


def test_no_beats_is_missing_and_nothing_met_is_zero() -> None:
    none = np.zeros(0)
    assert beat_alignment(none, TRAIN) is None
    assert beat_alignment(TRAIN, none) == 0


def test_motion_beats_are_the_turning_points() -> None:
    # A hand that swings as cos(pi t) stands still at whole seconds.
    t = (np.arange(125) + 0.5) / 25
    points = np.stack([np.cos(np.pi * t), np.zeros_like(t)], -1)[:, None].repeat(4, 1)
    np.testing.assert_allclose(motion_beats(points), [1, 2, 3, 4], atol=0.041)


def test_a_frozen_video_has_no_motion_beats() -> None:
    assert len(motion_beats(np.ones((60, 5, 2)))) == 0
    assert len(motion_beats(np.ones((3, 5, 2)))) == 0


def test_the_detectors_jitter_makes_no_beats() -> None:
    jitter = np.random.default_rng(0).normal(0, 2e-4, (125, 49, 2))
    assert len(motion_beats(jitter)) == 0
    assert len(motion_beats(jitter, min_dip=0)) > 3


def test_audio_beats_find_clicks() -> None:
    wave = np.zeros(32_000, np.float32)
    clicks = np.array([0.5, 1.0, 1.5])
    for click in clicks:
        start = int(click * 16_000)
        wave[start : start + 400] = np.sin(np.arange(400)) * np.linspace(1, 0, 400)
    found = audio_beats(wave)
    assert len(found) == 3
    np.testing.assert_allclose(found, clicks, atol=0.03)
    assert len(audio_beats(np.zeros(16_000, np.float32))) == 0


def test_bailandos_score_is_its_published_codes() -> None:
    """The two published functions, as they stand (Bailando, `metrics_new.py`), on random walks."""
    from scipy.ndimage import gaussian_filter
    from scipy.signal import argrelextrema

    def published(keypoints: np.ndarray, music_beats: np.ndarray) -> float:
        velocity = np.mean(np.sqrt(np.sum((keypoints[1:] - keypoints[:-1]) ** 2, axis=2)), axis=1)
        motion_beats = argrelextrema(gaussian_filter(velocity, 5), np.less)
        total = 0.0
        for beat in music_beats:
            total += np.exp(-np.min((motion_beats[0] - beat) ** 2) / 2 / 9)
        return float(total / len(music_beats))

    rng = np.random.default_rng(0)
    for _ in range(20):
        points = np.cumsum(rng.normal(size=(150, 49, 2)), axis=0)
        frames = np.sort(rng.choice(150, 12, replace=False))
        found = bailando_score(points, (frames + 0.5) / 25)
        assert found == pytest.approx(published(points, frames), abs=1e-12)
    assert bailando_score(points, np.zeros(0)) is None
    assert bailando_score(np.zeros((20, 49, 2)), np.array([0.3])) == 0
