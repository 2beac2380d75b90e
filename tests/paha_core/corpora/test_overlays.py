"""Text over the picture and a moving camera, on pictures whose answer is known."""

from __future__ import annotations

import cv2
import numpy as np
import pytest

from paha_core.corpora.filters import ClipData, FilterFailed
from paha_core.corpora.filters.overlays import LittleText, SteadyCamera, text_area
from paha_core.media.video import read_frames

SILENCE = np.zeros(16000, np.float32)


def clip_of(frames) -> ClipData:
    clip = ClipData(
        list(frames[:: max(1, len(frames) // 10)]),
        np.zeros((len(frames), 32, 32), np.uint8),
        SILENCE,
        frames=lambda: iter(frames),
    )
    clip.__dict__["faces"] = [[(0.4, 0.3, 0.6, 0.5)]] * len(clip.probes)
    return clip


def test_a_ticker_is_text_and_a_drawn_presenter_is_none(studio):
    frames = read_frames(studio / "cnas/lin/lin_000.mp4", size=256)[:3]
    assert text_area(frames[0]) < 0.002
    assert LittleText(0.002).check(clip_of(frames)) < 0.002
    ticker = [frames[0], frames[1].copy(), frames[2]]
    cv2.rectangle(ticker[1], (0, 224), (255, 255), (20, 40, 160), -1)
    cv2.putText(
        ticker[1], "MARKETS RISE AS RATES", (4, 246), cv2.FONT_HERSHEY_SIMPLEX, 0.6, (255,) * 3, 2
    )
    with pytest.raises(FilterFailed, match=r"text covers \d+\.\d% of the picture") as failed:
        LittleText(0.02).check(clip_of(ticker))
    assert failed.value.score > 10 * text_area(frames[0])


def moving(pixels: float, frames: int = 30) -> list[np.ndarray]:
    """A ground of blots that moves to the left by `pixels` of 192 in each frame."""
    noise = np.random.default_rng(0).integers(0, 256, (256, 512, 3)).astype(np.uint8)
    ground = cv2.GaussianBlur(noise, (0, 0), 3)
    ground = cv2.normalize(ground, None, 0, 255, cv2.NORM_MINMAX)
    shift = [np.float32([[1, 0, -pixels * n], [0, 1, 0]]) for n in range(frames)]
    return [cv2.warpAffine(ground, matrix, (192, 192)) for matrix in shift]


def test_a_pan_is_motion_of_the_camera_and_a_person_is_not():
    still = moving(0)
    for n, frame in enumerate(still):  # somebody sways before a ground that stays
        cv2.circle(frame, (96 + n // 3, 150), 30, (200, 60, 60), -1)
    assert SteadyCamera(0.02).check(clip_of(still)) < 0.01
    with pytest.raises(FilterFailed, match="the camera moves") as failed:
        SteadyCamera(0.02).check(clip_of(moving(0.8)))
    assert failed.value.score == pytest.approx(0.8 * 25 / 192, rel=0.1)


def test_a_plain_ground_says_nothing():
    plain = [np.full((192, 192, 3), 90, np.uint8)] * 12
    assert np.isnan(SteadyCamera(0.001).check(clip_of(plain)))
