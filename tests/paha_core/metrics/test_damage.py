"""Damage in steps, and whether a metric falls in their order."""

import numpy as np
import pytest

from paha_core.metrics.damage import damages

NAMES = list(damages())


@pytest.fixture(scope="module")
def video() -> np.ndarray:
    """Smooth shapes that move: uint8 `[24, 48, 64, 3]`."""
    t, y, x = np.mgrid[:24, :48, :64].astype(float)
    waves = [np.sin(x / 5 + t / 2), np.sin(y / 4 - t / 3), np.sin((x + y) / 6 + t)]
    return (127 + 90 * np.stack(waves, -1)).astype(np.uint8)


@pytest.mark.parametrize("name", NAMES)
def test_each_step_is_farther_from_the_whole_video(name: str, video: np.ndarray) -> None:
    steps = [damage(video) for damage in damages()[name]]
    for step in steps:
        assert (step.shape, step.dtype) == (video.shape, np.uint8)
    apart = [np.abs(step.astype(float) - video).mean() for step in steps]
    assert 0 < apart[0] < apart[1] < apart[2]


def test_damage_of_time_leaves_each_frame_as_it_is(video: np.ndarray) -> None:
    frames = {frame.tobytes() for frame in video}
    for name in ("held frames", "shuffled in blocks of"):
        for damage in damages()[name]:
            assert {frame.tobytes() for frame in damage(video)} <= frames
    assert len(np.unique(damages()["held frames"][1](video), axis=0)) == 6


def test_the_same_calls_give_the_same_and_blur_has_a_size(video: np.ndarray) -> None:
    for name in NAMES:
        one, other = (damages()[name][1](video) for _ in range(2))
        np.testing.assert_array_equal(one, other)
    mild, strong = (
        damages(blur)["blur, sigma in pixels"][0](video) for blur in ((0.5, 1, 2), (2, 3, 4))
    )
    assert np.diff(strong.astype(int), axis=2).std() < np.diff(mild.astype(int), axis=2).std()
