"""Metrics of hands against values that follow from their definitions."""

import numpy as np
import pytest

from paha_core.metrics.hands import hand_confidence, hand_deviation
from paha_core.pose.layout import HANDS, LEFT_HAND, RIGHT_HAND


def test_confidence_is_the_mean_over_frames_and_both_hands() -> None:
    scores = np.ones((4, 133))
    scores[:, 91:112] = 0.5  # the left hand
    assert hand_confidence(scores, HANDS) == pytest.approx(0.75)
    scores[2:, 91:112] = 0  # not found in half of the frames
    assert hand_confidence(scores, HANDS) == pytest.approx(0.625)
    scores[:, :91] = 0  # nothing else counts
    assert hand_confidence(scores, HANDS) == pytest.approx(0.625)


def test_deviation_is_in_shoulder_widths_and_ignores_what_is_not_seen() -> None:
    points, scores = np.zeros((4, 133, 2)), np.ones((4, 133))
    points[:, 5], points[:, 6] = (60, 50), (20, 50)  # 40 pixels apart
    points[:, 91:112, 0] = np.array([0, 20, 0, 20])[:, None]  # deviation 10: a quarter
    points[:, 112:133, 1] = np.array([0, 40, 0, 40])[:, None]  # 20: a half
    assert hand_deviation(points, scores, LEFT_HAND) == pytest.approx(0.25)
    assert hand_deviation(points, scores, RIGHT_HAND) == pytest.approx(0.5)
    assert hand_deviation(points, scores, HANDS) == pytest.approx(0.375)
    assert hand_deviation(points * 7, scores, HANDS) == pytest.approx(0.375)  # whatever the size
    points[3, 91:112] = 1e4
    scores[3, 91:112] = 0
    assert hand_deviation(points, scores, LEFT_HAND) == pytest.approx(np.std([0, 20, 0]) / 40)
    scores[:, 91:] = 0
    assert hand_deviation(points, scores, HANDS) is None
    scores[:] = 1
    scores[:, 5] = 0
    assert hand_deviation(points, scores, HANDS) is None
