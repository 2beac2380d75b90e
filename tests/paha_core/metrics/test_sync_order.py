"""Metrics that claim sync, on made motion: real best, shifts worse in order, frozen worst."""

import numpy as np
import pytest
from scipy.ndimage import gaussian_filter1d

from paha_core.corpora.studio.identities import IDENTITIES
from paha_core.corpora.studio.motion import make_motion
from paha_core.corpora.studio.speech import Phoneme
from paha_core.metrics import beats, lips

FPS, FRAMES = 25, 200
SHIFTS = (0, 2, 4, 6)


@pytest.fixture(scope="module")
def clip() -> dict[str, np.ndarray]:
    """A mouth and hands that move over beats at irregular times."""
    rng = np.random.default_rng(0)
    times = np.cumsum(rng.uniform(0.5, 0.9, 10))
    t = (np.arange(FRAMES) + 0.5) / FPS
    phase = np.interp(t, times, np.arange(len(times)), left=-0.5, right=len(times))
    mouth = np.clip(0.5 + gaussian_filter1d(rng.normal(0, 1, FRAMES), 2.5), 0, 1)
    # A stroke ends at each beat: the hand is slowest there.
    hand = np.stack([np.cos(np.pi * phase), 0.4 * np.cos(np.pi * phase)], -1)
    return {"mouth": mouth, "points": hand[:, None], "beats": times}


def moved(values: np.ndarray, frames: int) -> np.ndarray:
    return values[frames : frames + FRAMES - max(SHIFTS)]


def lip_score(mouth: np.ndarray, clip: dict) -> float:
    return lips.lip_correlation(mouth, clip["mouth"])


def beat_score(points: np.ndarray, clip: dict) -> float:
    return beats.beat_alignment(clip["beats"], beats.motion_beats(points, sigma=1.0))


def error_score(points: np.ndarray, clip: dict) -> float:
    seen = beats.motion_beats(points, sigma=1.0)
    within = clip["beats"][clip["beats"] < len(points) / FPS]
    return -beats.beat_error(seen, within)


@pytest.mark.parametrize(
    ("score", "shown"),
    [(lip_score, "mouth"), (beat_score, "points"), (error_score, "points")],
)
def test_real_is_best_shifts_are_worse_in_order_and_frozen_is_worst(score, shown, clip) -> None:
    values = [score(moved(clip[shown], shift), clip) for shift in SHIFTS]
    assert values == sorted(values, reverse=True)
    assert values[0] > values[-1] + 0.1
    frozen = score(np.repeat(clip[shown][:1], FRAMES, 0), clip)
    assert frozen <= min(values)


def test_the_studios_short_strokes_keep_their_beats() -> None:
    # 0.14 s down, 0.26 s back: smoothed over 3 frames they are one bump whose top is the beat.
    rng = np.random.default_rng(0)
    times = np.cumsum(rng.uniform(0.36, 0.8, 11))
    phonemes = [Phoneme("a", float(t) - 0.05, True) for t in times]
    presenter = next(iter(IDENTITIES.values()))
    motion = make_motion(presenter, phonemes, FRAMES, FPS, [0])
    hands, wanted = motion.wrists / 0.35, motion.beats.astype(float)  # about shoulder widths
    assert len(wanted) == len(times)
    assert beats.beat_error(beats.motion_beats(hands), wanted) < 0.13
    assert beats.beat_error(beats.motion_beats(hands, sigma=3.0), wanted) > 0.2
    still = hands[:1].repeat(FRAMES, 0)
    assert beats.beat_error(beats.motion_beats(still), wanted) == 0.5


def test_a_beat_that_is_k_frames_late_costs_a_gaussian() -> None:
    train = np.arange(1, 9) * 0.8
    for k in (0, 1, 2, 3, 5):
        found = beats.beat_alignment(train, train + k / FPS)
        assert found == pytest.approx(np.exp(-(k**2) / (2 * 3**2)))
        assert beats.beat_error(train + k / FPS, train) == pytest.approx(k / FPS)


def test_beat_error_counts_both_sides_and_has_a_cap() -> None:
    truth = np.array([1.0, 2.0])
    assert beats.beat_error(truth, truth) == 0
    assert beats.beat_error(np.zeros(0), truth) == 0.5
    assert beats.beat_error(truth, np.zeros(0)) is None
    assert beats.beat_error(np.array([9.0]), truth) == 0.5
    # Many beats meet every true one, and are wrong themselves.
    many = np.arange(0, 3, 0.1)
    assert beats.beat_error(many, truth) > 0.1
