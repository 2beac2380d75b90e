"""A second of one drawn presenter, shared by the tests that need somebody to look at."""

from itertools import islice

import numpy as np
import pytest

FRAMES = 25


@pytest.fixture(scope="session")
def presenter():
    """frames uint8 [25, 256, 256, 3], true points [25, 133, 2] in pixels, visible [25, 133]."""
    pytest.importorskip("mediapipe")
    from paha_core.corpora.studio import programme

    drawn = programme.prepare("lin", 0, seconds=1, height=256, seed=0)
    left, top, side = drawn.crop
    window = (slice(top, top + side), slice(left, left + side))
    frames = np.stack([frame[window] for frame in islice(programme.draw_frames(drawn), FRAMES)])
    truth = programme.ground_truth(drawn)
    points = truth["keypoints"][:FRAMES] - np.array([left, top], np.float32)
    return frames, points, truth["visible"][:FRAMES]
