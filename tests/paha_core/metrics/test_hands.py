"""Metrics of hands against values that follow from their definitions."""

import numpy as np
import pytest

from paha_core.metrics.hands import hand_confidence
from paha_core.pose.layout import HANDS


def test_confidence_is_the_mean_over_frames_and_both_hands() -> None:
    scores = np.ones((4, 133))
    scores[:, 91:112] = 0.5  # the left hand
    assert hand_confidence(scores, HANDS) == pytest.approx(0.75)
    scores[2:, 91:112] = 0  # not found in half of the frames
    assert hand_confidence(scores, HANDS) == pytest.approx(0.625)
    scores[:, :91] = 0  # nothing else counts
    assert hand_confidence(scores, HANDS) == pytest.approx(0.625)
