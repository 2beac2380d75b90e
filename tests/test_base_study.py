"""The study of the base: fewer fingers are counted in a blur, and it runs on a small pipeline."""

import importlib.util
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image

from paha_core.config import load_preset
from paha_core.corpora.studio import presenter, presenters
from paha_core.corpora.studio.drawing import Painter
from paha_core.corpora.studio.figure import keypoints, pose_figure
from paha_core.corpora.studio.motion import make_motion
from paha_core.corpora.studio.speech import Phoneme
from paha_core.inference.untrained import untrained_pipeline
from paha_core.pose.layout import LEFT_HAND, RIGHT_HAND

SIDE = 256


@pytest.fixture(scope="module")
def study():
    path = Path(__file__).parents[1] / "benchmarks" / "studies" / "base.py"
    spec = importlib.util.spec_from_file_location("base_study", path)
    module = importlib.util.module_from_spec(spec)
    sys.modules["base_study"] = module
    spec.loader.exec_module(module)
    yield module
    del sys.modules["base_study"]


@pytest.fixture(scope="module")
def speaking():
    """Twelve people in mid-speech: frames uint8 [256, 256, 3] and their 133 points in pixels."""
    spoken = [Phoneme("_", 0.0, False), Phoneme("A:", 0.5, True), Phoneme("_", 1.0, False)]
    drawn = []
    for i, name in enumerate(presenters(12, 300)):
        me = presenter(name)
        figure = pose_figure(me, make_motion(me, spoken, 40, 25, [i]), 15)
        points, _ = keypoints(figure, me.look)
        drawn.append((Painter(me, SIDE, SIDE, 0).paint(figure), points * SIDE))
    return drawn


def fingers(study, speaking, soften=1):
    small = SIDE // soften
    counts = []
    for frame, points in speaking:
        coarse = cv2.resize(frame, (small, small), interpolation=cv2.INTER_AREA)
        blurred = cv2.resize(coarse, (SIDE, SIDE), interpolation=cv2.INTER_CUBIC)
        shown = frame if soften == 1 else blurred
        counts += [study.count_fingers(shown, points[hand]) for hand in (LEFT_HAND, RIGHT_HAND)]
    return float(np.mean(counts))


def test_a_drawn_hand_has_five_fingers_and_a_blurred_one_fewer(study, speaking):
    sharp, soft, mush = (fingers(study, speaking, soften) for soften in (1, 4, 8))
    assert sharp > 4.7
    assert sharp - 0.7 > soft > mush
    assert mush < 2


def test_a_finger_that_is_painted_over_is_missing(study, speaking):
    for frame, points in speaking[:4]:
        hand = points[RIGHT_HAND]
        whole = study.count_fingers(frame, hand)
        cut = frame.copy()
        end = tuple(int(v) for v in 0.5 * (hand[12] + hand[11]))
        cv2.circle(cut, end, 5, tuple(int(c) for c in frame[10, 10]), -1)
        assert study.count_fingers(cut, hand) < whole


def test_others_are_compared_in_the_same_room(study):
    own, other = presenter("p100003"), presenter("p200000")
    moved = study.in_the_place_of(own, other)
    assert (moved.skin, moved.hair_style, moved.look.beard) == (
        other.skin, other.hair_style, other.look.beard,
    )  # fmt: skip
    assert (moved.backdrop, moved.look.room, moved.look.zoom) == (
        own.backdrop, own.look.room, own.look.zoom,
    )  # fmt: skip


def test_it_measures_every_clip(study, monkeypatch, tmp_path):
    monkeypatch.setattr(study, "FRAMES", 25)
    pipeline = untrained_pipeline(load_preset("smoke"))
    rows, pairs = study.study(pipeline, ["p100003"], clips=2, others=3, mode="unguided")
    assert [row["clip"] for row in rows] == [1, 2]
    figures = study.summary(rows)
    assert figures["clips"] == 2
    # random weights make no face, and what is not found counts against the video
    assert figures["fingers"][0] == 0
    assert figures["lips"][0] == 0
    assert figures["sharpness_hands_share"][0] == 0
    side = pipeline.preset.codec.size
    assert pairs.shape == (25, 2 * side, side, 3)
    study.save_animation(tmp_path / "pairs.webp", pairs)
    with Image.open(tmp_path / "pairs.webp") as shown:
        assert (shown.n_frames, shown.size) == (13, (side // 2, side))
