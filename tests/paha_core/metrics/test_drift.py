"""What a long video loses, on pictures whose loss is known."""

import numpy as np
import pytest

from paha_core.metrics import drift


def test_seconds_are_whole_and_a_rest_of_half_a_second_counts() -> None:
    assert drift.seconds_of(50) == [slice(0, 25), slice(25, 50)]
    assert drift.seconds_of(62) == [slice(0, 25), slice(25, 50)]
    assert drift.seconds_of(63)[-1] == slice(50, 63)


def test_colour_drift_is_the_worst_seconds_not_the_last() -> None:
    frames = np.full((75, 8, 8, 3), 100, np.uint8)
    frames[25:50] += np.array([9, 0, 3], np.uint8)  # 4 on average
    frames[50:] += 1
    assert drift.colour_drift(frames) == pytest.approx(4)
    assert drift.colour_drift(frames[:30]) is None


def test_the_person_does_not_count_as_background() -> None:
    luma = np.full((50, 8, 8), 100.0)
    mask = np.zeros((8, 8), bool)
    mask[:, :4] = True
    luma[25:, :, 4:] = 0
    assert drift.background_drift(luma, mask) == 0
    luma[25:, :2, :4] += 8  # a quarter of the background
    assert drift.background_drift(luma, mask) == pytest.approx(2)


def test_sharpness_that_halves_or_doubles_drifts_alike() -> None:
    for factor in (0.5, 2.0):
        found = drift.sharpness_drift(lambda part, f=factor: f if part.start else 1.0, 50)
        assert found == pytest.approx(np.log(2))
    assert drift.sharpness_drift(lambda part: None if part.start else 1.0, 50) is None


def test_a_face_that_turns_into_another_loses_its_cosine() -> None:
    def described(part: slice) -> np.ndarray:
        if part.start == 25:
            return np.zeros((0, 2))  # hidden: left out
        return np.array([[1.0, 0], [1, 0]] if part.start == 0 else [[0.6, 0.8]])

    assert drift.identity_drift(described, 75) == pytest.approx(0.4)
    assert drift.identity_drift(described, 50) is None
