"""Filters of quality that need no weights."""

from __future__ import annotations

import cv2
import numpy as np
import pytest

from paha_core.config import CnasConfig, PatsConfig
from paha_core.corpora.cnas import long_source_filters
from paha_core.corpora.filters import ClipData, FilterFailed, common_filters
from paha_core.corpora.filters.lips import FaceMesh
from paha_core.corpora.filters.picture import OneScene
from paha_core.corpora.filters.quality import (
    AlwaysFacing,
    BrightEnough,
    Detailed,
    FacingCamera,
    LargeFace,
    LargeSource,
    NotOverexposed,
    SharpFace,
    SharpHands,
    SourceRate,
    SteadyHead,
)
from paha_core.corpora.pats import interval_filters
from paha_core.media.video import read_frames

SILENCE = np.zeros(16000, np.float32)


def clip_of(frames, **known) -> ClipData:
    return ClipData(list(frames), np.zeros((25, 32, 32), np.uint8), SILENCE, **known)


@pytest.fixture(scope="module")
def drawn(studio) -> np.ndarray:
    """Ten frames of a drawn presenter: [10, 128, 128, 3]."""
    return read_frames(studio / "cnas/lin/lin_000.mp4", size=128)[::12][:10]


def test_the_sources_rate_and_size(drawn):
    clip = clip_of(drawn, source_fps=8.0, source_side=80)
    assert SourceRate(8).check(clip) == 8
    assert LargeSource(80).check(clip) == 80
    with pytest.raises(FilterFailed, match="the source has 8 frames a second, 24 needed"):
        SourceRate(24).check(clip)
    with pytest.raises(FilterFailed, match="has 80 pixels in the source, 256 needed"):
        LargeSource(256).check(clip)


def test_exposure(drawn):
    assert BrightEnough(10).check(clip_of(drawn)) <= NotOverexposed(240).check(clip_of(drawn))
    with pytest.raises(FilterFailed, match="dark"):
        BrightEnough(10).check(clip_of([*drawn, np.full_like(drawn[0], 4)]))
    with pytest.raises(FilterFailed, match="overexposed"):
        NotOverexposed(210).check(clip_of([*drawn, np.full_like(drawn[0], 250)]))


def enlarged(frames: np.ndarray, by: int) -> list[np.ndarray]:
    small = [
        cv2.resize(f, None, fx=1 / by, fy=1 / by, interpolation=cv2.INTER_AREA) for f in frames
    ]
    return [cv2.resize(f, (128, 128), interpolation=cv2.INTER_CUBIC) for f in small]


def test_an_enlarged_picture_has_less_detail(drawn):
    scores = [
        Detailed(0).check(clip_of(frames))
        for frames in (drawn, enlarged(drawn, 2), enlarged(drawn, 4))
    ]
    assert max(scores[1:]) < 0.75 * scores[0]
    with pytest.raises(FilterFailed, match="enlarged or compressed"):
        Detailed(0.9 * scores[0]).check(clip_of(enlarged(drawn, 4)))


def test_blur_of_face_and_of_each_hand(drawn):
    plain = clip_of(drawn)
    face = SharpFace(0).check(plain)
    blurred = np.stack([cv2.GaussianBlur(f, (0, 0), 3) for f in drawn])
    soft = clip_of(blurred)
    soft.__dict__["faces"] = plain.faces
    with pytest.raises(FilterFailed, match="a blurred face"):
        SharpFace(face / 2).check(soft)

    body = np.zeros((33, 3), np.float32)
    body[11], body[12] = (0.7, 0.5, 1), (0.3, 0.5, 1)
    body[[15, 17, 19, 21]] = (0.75, 0.75, 1)
    body[[16, 18, 20, 22]] = (0.25, 0.75, 1)
    noise = np.random.default_rng(0).integers(0, 256, (10, 128, 128, 3)).astype(np.uint8)
    sharp = clip_of(noise)
    sharp.__dict__["bodies"] = [body] * 10
    score = SharpHands(0).check(sharp)
    half = noise.copy()
    half[:, :, :64] = np.stack([cv2.GaussianBlur(f, (0, 0), 3) for f in noise])[:, :, :64]
    one = clip_of(half)
    one.__dict__["bodies"] = [body] * 10
    with pytest.raises(FilterFailed, match="a blurred right hand"):
        SharpHands(score / 2).check(one)
    hidden = clip_of(noise)
    hidden.__dict__["bodies"] = [None] * 10
    assert np.isnan(SharpHands(1e9).check(hidden))


def test_the_faces_size_and_direction(drawn):
    clip = clip_of(drawn)
    share = LargeFace(0).check(clip)
    assert 0.01 < share < 0.5
    with pytest.raises(FilterFailed, match="of the picture"):
        LargeFace(share + 0.01).check(clip)
    for angles, orientation in (((0, 0, 0), 100.0), ((0, 90, 0), 50.0)):
        clip.__dict__["face_mesh"] = FaceMesh(np.zeros(5), np.tile(np.float64(angles), (5, 1)))
        assert FacingCamera(0).check(clip) == pytest.approx(orientation)
    with pytest.raises(FilterFailed, match="turned away"):
        FacingCamera(70).check(clip)


def test_the_worst_second_of_the_head_and_how_it_turns(drawn):
    clip = clip_of(drawn)
    turning = np.zeros((75, 3))
    turning[25:50, 1] = 45.0
    clip.__dict__["face_mesh"] = FaceMesh(np.zeros(75), turning)
    assert AlwaysFacing(30).check(clip) == pytest.approx(75)
    with pytest.raises(FilterFailed, match="turns away: orientation 75"):
        AlwaysFacing(80).check(clip)
    assert SteadyHead(50).check(clip) == pytest.approx(55)
    with pytest.raises(FilterFailed, match="turns by 45 degrees in a second"):
        SteadyHead(60).check(clip)
    clip.__dict__["face_mesh"] = FaceMesh(np.zeros(20), np.full((20, 3), np.nan))
    assert np.isnan([AlwaysFacing(30).check(clip), SteadyHead(60).check(clip)]).all()


def test_a_tier_sets_what_the_corpus_leaves_out():
    usual, high = PatsConfig(quality="standard"), PatsConfig(quality="high")
    assert {f.name for f in common_filters(usual)} < {f.name for f in common_filters(high)}
    assert usual.max_text_area > high.max_text_area
    assert usual.min_source_side < high.min_source_side
    own = CnasConfig(quality="high", min_source_side=64, max_camera_motion=None)
    assert own.min_source_side == 64
    assert own.max_camera_motion is None
    assert CnasConfig.model_validate(own.settings()) == own
    names = [f.name for f in long_source_filters(own)]
    assert len(names) == len(set(names))


def test_they_are_off_unless_a_preset_turns_them_on():
    assert common_filters(PatsConfig()) == ()
    assert common_filters(CnasConfig(), without=(OneScene,)) == ()
    strict = {"min_source_fps": 24, "min_face_sharpness": 20, "max_sync_offset": 2}
    for filters in (
        interval_filters(PatsConfig(**strict)),
        long_source_filters(CnasConfig(**strict)),
    ):
        assert [f.name for f in filters[-3:]] == ["source_fps", "face_sharpness", "sync_offset"]
