"""Metrics that claim sync, on a rendered presenter seen by the real detector: real is best, a moved
voice is worse in order, a frozen video follows nothing.
"""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest

from paha_core.config import PoseConfig
from paha_core.corpora.studio import programme as studio
from paha_core.corpora.studio.identities import IDENTITIES
from paha_core.corpora.studio.motion import make_motion
from paha_core.corpora.studio.speech import Phoneme
from paha_core.media.audio import read_audio
from paha_core.media.encode import write_video
from paha_core.media.mfcc import mfcc
from paha_core.media.video import read_frames
from paha_core.metrics import beats, lips
from paha_core.metrics.pose_features import gesture_points
from paha_core.metrics.registry import METRICS
from paha_core.models import syncnet
from paha_core.pose import Keypoints, open_detector

FPS, FRAMES = 25, 200
SHIFTS = (0, 2, 4, 8)  # frames that the voice comes late
SHOWN = 140  # frames that are compared, from frame 8 of the picture on
OF_THE_VOICE = {
    "lip_correlation",
    "lip_correlation_truth",
    "beat_error",
    "sync_c",
    "sync_c_codec",
    "sync_d",
}


def test_the_registry_marks_metrics_that_claim_sync() -> None:
    assert {name for name, metric in METRICS.items() if metric.claims_sync} == OF_THE_VOICE


@dataclass(frozen=True)
class Clip:
    """A drawn presenter as the detector sees it, what is heard with it, and the truth."""

    seen: Keypoints
    frozen: Keypoints
    wave: np.ndarray
    mouth: np.ndarray
    beats: np.ndarray


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Clip:
    """Through the encoder and back; 8 frames more than are compared, so that the voice can move."""
    path, count = tmp_path_factory.mktemp("presenter") / "lin.mp4", SHOWN + max(SHIFTS)
    programme = studio.prepare("lin", 0, seconds=5, height=192, seed=0)
    truth, (x, y, side) = studio.ground_truth(programme), programme.crop
    drawn = (frame[y : y + side, x : x + side] for frame in studio.draw_frames(programme))
    sound = studio.sound(programme)[:, 0].astype(np.float32) / 32768
    rate = programme.form.sample_rate
    write_video(path, drawn, wave=sound, sample_rate=rate, count=programme.frames)
    frames, detector = read_frames(Path(path))[:count], open_detector(PoseConfig())
    held = np.repeat(frames[:1], 24, axis=0)
    wave = read_audio(path, 16_000)
    return Clip(
        *(detector.detect(frames), detector.detect(held), wave),
        *(truth["mouth_openness"], truth["beats"]),
    )


def shown(seen: Keypoints) -> Keypoints:
    first = max(SHIFTS)
    return Keypoints(seen.points[first:], seen.scores[first:], seen.size, "", "", "")


def lip_score(seen: Keypoints, clip: Clip, late: int) -> float:
    mouth, first = lips.mouth_openness(seen.points, seen.scores), max(SHIFTS) - late
    return lips.lip_correlation(mouth, clip.mouth[first : first + SHOWN])


def beat_score(seen: Keypoints, clip: Clip, late: int) -> float:
    start = (max(SHIFTS) - late) / FPS
    truth = clip.beats[(clip.beats >= start) & (clip.beats < start + SHOWN / FPS)] - start
    return -beats.beat_error(beats.stroke_ends(gesture_points(seen)), truth)


@pytest.mark.parametrize(
    ("score", "gap", "least"), [(lip_score, 0.3, 0.0), (beat_score, 0.04, -0.5)]
)
def test_real_is_best_and_a_later_voice_worse_in_order(score, gap, least, clip: Clip) -> None:
    values = [score(shown(clip.seen), clip, late) for late in SHIFTS]
    assert values == sorted(values, reverse=True)
    assert values[0] > values[1] + gap
    frozen = score(clip.frozen, clip, 0)
    # Eight frames off, lips are at chance, which is all that a held mouth has.
    assert frozen == least < values[2]


def test_syncnets_distances_find_how_late_the_voice_is(clip: Clip) -> None:
    """Its protocol on what stands in for its features here: openness and loudness of 5 frames."""

    def windows(curve: np.ndarray) -> np.ndarray:
        curve = (curve - curve.mean()) / curve.std()
        return np.lib.stride_tricks.sliding_window_view(curve, syncnet.WINDOW)

    seen = shown(clip.seen)
    mouth = windows(lips.mouth_openness(seen.points, seen.scores)[: SHOWN - 1])
    in_time = []
    for late in SHIFTS:
        first = (max(SHIFTS) - late) * syncnet.FRAME_SAMPLES
        heard = mfcc(clip.wave[first : first + SHOWN * syncnet.FRAME_SAMPLES] * 32767)
        loudness = heard[: 4 * (SHOWN - 1), 0].reshape(-1, 4).mean(1)
        distances = syncnet.shift_distances(mouth, windows(loudness))
        assert syncnet.score_of(distances).offset == -late
        in_time.append(float(distances[len(distances) // 2]))
    assert in_time == sorted(in_time)


def test_the_studios_short_strokes_keep_their_beats() -> None:
    # 0.14 s down, 0.26 s back: smoothed over 3 frames they are one bump whose top is the beat.
    rng = np.random.default_rng(0)
    times = np.cumsum(rng.uniform(0.36, 0.8, 11))
    phonemes = [Phoneme("a", float(t) - 0.05, True) for t in times]
    presenter = next(iter(IDENTITIES.values()))
    motion = make_motion(presenter, phonemes, FRAMES, FPS, [0])
    hands, wanted = motion.wrists / 0.35, motion.beats.astype(float)  # about shoulder widths
    assert len(wanted) == len(times)
    assert beats.beat_error(beats.stroke_ends(hands), wanted) < 0.05
    # A rest between strokes is a minimum of speed too.
    assert 0.06 < beats.beat_error(beats.motion_beats(hands), wanted) < 0.13
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
