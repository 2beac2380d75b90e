"""Frames in memory."""

import numpy as np
import pytest

from paha_core.media.encode import write_video
from paha_core.media.frames import read_first, resize, strip


def test_frames_shrink_by_area_mean_and_keep_their_mean_when_they_grow() -> None:
    frames = np.zeros((1, 4, 4, 3), np.uint8)
    frames[0, :2, :2] = 200
    assert resize(frames, 2)[0, :, :, 0].tolist() == [[200, 0], [0, 0]]
    assert resize(frames, 1)[0, 0, 0, 0] == 50
    assert resize(frames, 4) is frames
    flat = np.full((2, 6, 10, 3), 77, np.uint8)
    assert resize(flat, (12, 20)).shape == (2, 12, 20, 3)
    assert (resize(flat, (12, 20)) == 77).all()


def test_a_strip_shows_the_first_and_the_last_frame() -> None:
    frames = np.arange(9, dtype=np.uint8).repeat(8 * 8 * 3).reshape(9, 8, 8, 3)
    row = strip(frames, 3, 8)
    assert row.shape == (8, 24, 3)
    assert [row[0, x, 0] for x in (0, 8, 16)] == [0, 4, 8]
    assert strip(frames[:2], 6, 8).shape == (8, 16, 3)


@pytest.mark.parametrize(("count", "found"), [(1, 1), (5, 5), (99, 12)])
def test_exactly_the_first_frames_are_read(tmp_path, count: int, found: int) -> None:
    frames = np.arange(12, dtype=np.uint8).repeat(32 * 32 * 3).reshape(12, 32, 32, 3) * 20
    write_video(tmp_path / "v.mp4", frames)
    read = read_first(tmp_path / "v.mp4", count)
    assert len(read) == found
    assert abs(int(read[-1].mean()) - 20 * (found - 1)) < 8
