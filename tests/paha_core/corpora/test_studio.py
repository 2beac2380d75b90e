"""The studio corpus: what is drawn follows what is spoken, and is the same on every run."""

import csv
import json
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from paha_core.corpora.studio import IDENTITIES, contact_sheet, render_corpus
from paha_core.corpora.studio.corpus import PATS_COLUMNS, StudioCorpus, clock
from paha_core.corpora.studio.drawing import Painter
from paha_core.corpora.studio.figure import pose_figure
from paha_core.corpora.studio.identities import Identity
from paha_core.corpora.studio.programme import (
    Programme,
    draw_frames,
    frame_width,
    ground_truth,
    prepare,
    sound,
    write_video,
)
from paha_core.corpora.studio.script import split_of
from paha_core.corpora.studio.sentences import ENGLISH, ENGLISH_TEST, MANDARIN
from paha_core.corpora.studio.speech import SAMPLE_RATE, Voice, is_vowel, speak
from paha_core.corpora.studio.visemes import is_bilabial, mouth_track, shapes

SPEAKERS = list(IDENTITIES)
LEFT_HAND, RIGHT_HAND, FACE = slice(91, 112), slice(112, 133), slice(23, 91)


@pytest.fixture(scope="module")
def programmes() -> dict[str, Programme]:
    return {name: prepare(name, 0, seconds=12, height=128, seed=3) for name in SPEAKERS}


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> StudioCorpus:
    return render_corpus(tmp_path_factory.mktemp("studio"), programmes=1, seconds=5, height=96)


def test_speech_does_not_depend_on_earlier_speech() -> None:
    voice = Voice("en-us+f3")
    first = speak("Six sheep share fresh fish.", voice)
    speak("今天晴。", Voice("cmn"))
    again = speak("Six sheep share fresh fish.", voice)
    np.testing.assert_array_equal(first.samples, again.samples)
    assert first.phonemes == again.phonemes


def test_stress_is_audible_in_both_languages() -> None:
    english = speak("A better banana.", Voice("en-us"))
    assert [p.label for p in english.phonemes if p.stressed] == ["E", "a"]
    # tones 3 (first of the phrase), 3, then 4 4
    mandarin = speak("你好，再见。", Voice("cmn"))
    assert [p.label for p in mandarin.phonemes if p.stressed] == ["i", "ai", "iE"]


@pytest.mark.parametrize(
    ("pool", "voice"), [(ENGLISH + ENGLISH_TEST, "en-us"), (MANDARIN, "cmn")], ids=["en", "zh"]
)
def test_every_phoneme_of_every_sentence_has_a_shape(pool: tuple[str, ...], voice: str) -> None:
    assert len(set(pool)) == len(pool) >= 700
    # the whole ones, and of the composed ones enough to hear each part
    for text in pool[:60] + pool[60::7]:
        for phoneme in speak(text, Voice(voice)).phonemes:
            assert shapes(phoneme.label)


def test_unknown_phonemes_are_named() -> None:
    with pytest.raises(KeyError, match="!!"):
        shapes("!!")


@pytest.mark.parametrize("fps", [25, 30])
@pytest.mark.parametrize("offset", [0.0, 0.013, 0.031])
def test_bilabials_close_the_mouth_and_vowels_open_it(fps: int, offset: float) -> None:
    utterance = speak("Mama baba papa.", Voice("en-us"))
    duration = len(utterance.samples) / SAMPLE_RATE
    times = np.arange(offset, duration, 1 / fps)
    openness = mouth_track(utterance.phonemes, duration, times)[:, 0]
    for phoneme in utterance.phonemes[1:]:
        if is_bilabial(phoneme.label):
            near = np.abs(times - phoneme.start) < 0.06
            assert openness[near].min() < 0.02, phoneme
        elif phoneme.stressed:
            assert (
                openness[(times > phoneme.start - 0.03) & (times < phoneme.start + 0.15)].max()
                > 0.6
            )


@pytest.mark.parametrize("name", SPEAKERS)
def test_mouth_is_closed_in_pauses_and_open_in_open_vowels(
    name: str, programmes: dict[str, Programme]
) -> None:
    programme = programmes[name]
    times = np.arange(programme.frames) / programme.form.fps
    openness, _, rounding = programme.motion.mouth.T
    spoken = programme.script.phonemes
    ends = [p.start for p in spoken[1:]] + [programme.script.duration]
    closed, opened, rounded = [], [], []
    for phoneme, end in zip(spoken, ends, strict=True):
        inside = (times > phoneme.start + 0.07) & (times < end - 0.07)
        if phoneme.label == "_":
            closed.append(openness[inside])
        elif phoneme.label in ("A:", "A@", "V", "a", "aI", "aU", "A", "ai", "Au"):
            opened.append(openness[(times > phoneme.start - 0.03) & (times < end)].max())
        elif phoneme.label in ("u:", "u"):
            rounded.append(rounding[(times > phoneme.start - 0.03) & (times < end)].max())
    assert np.concatenate(closed).max() < 0.01
    assert np.mean(opened) > 0.65
    assert not rounded or np.mean(rounded) > 0.6
    assert programme.motion.mouth.min() >= 0
    assert programme.motion.mouth.max() <= 1


@pytest.mark.parametrize("name", SPEAKERS)
def test_hands_strike_on_the_beat_and_stay_in_the_crop(
    name: str, programmes: dict[str, Programme]
) -> None:
    programme = programmes[name]
    truth = ground_truth(programme)
    x0, y0, side = truth["crop"]
    hands = truth["keypoints"][:, 91:133]
    assert truth["visible"][:, 91:133].all()
    assert hands[..., 0].min() > x0 + 0.01 * side
    assert hands[..., 0].max() < x0 + 0.99 * side
    assert hands[..., 1].min() > y0 + 0.5 * side
    assert hands[..., 1].max() < y0 + 0.99 * side
    widths = np.ptp(truth["keypoints"][:, RIGHT_HAND, 0], axis=1) / side
    assert 0.14 < widths.mean() < 0.22
    height = hands[:, 21, 1] / side  # the person's right wrist
    times = np.arange(programme.frames) / programme.form.fps
    assert len(truth["beats"]) >= 3
    for beat in truth["beats"]:
        stroke = height[np.abs(times - beat) < 0.3]
        assert 0.055 < np.ptp(stroke) < 0.13
        lowest = times[np.abs(times - beat) < 0.12][np.argmax(height[np.abs(times - beat) < 0.12])]
        assert abs(lowest - beat) <= 1 / programme.form.fps
        labels = truth["phoneme_labels"][truth["phoneme_starts"] <= beat]
        assert is_vowel(str(labels[-1]))


@pytest.mark.parametrize("name", SPEAKERS)
def test_truth_has_a_row_for_every_frame(name: str, programmes: dict[str, Programme]) -> None:
    programme = programmes[name]
    truth = ground_truth(programme)
    frames = programme.frames
    assert truth["keypoints"].shape == (frames, 133, 2)
    assert truth["keypoints"].dtype == np.float32
    assert truth["visible"].shape == (frames, 133)
    assert truth["visible"].dtype == bool
    assert {truth[f"mouth_{x}"].shape for x in ("openness", "width", "rounding")} == {(frames,)}
    assert not truth["visible"][:, 11:23].any(), "hips, knees and feet are out of the picture"
    assert truth["visible"][:, FACE].all()
    assert truth["visible"][:, :7].all()
    right_eye, left_eye = truth["keypoints"][0, 2, 0], truth["keypoints"][0, 1, 0]
    assert left_eye > right_eye, "the person's left is at the image's right"
    samples = sound(programme)
    form = programme.form
    assert samples.shape == (round(frames / form.fps * form.sample_rate), form.channels)


def test_drawing_is_reproducible_and_the_seed_counts(programmes: dict[str, Programme]) -> None:
    again = prepare("ada", 0, seconds=12, height=128, seed=3)
    for first, second in zip(draw_frames(programmes["ada"]), draw_frames(again), strict=True):
        np.testing.assert_array_equal(first, second)
    truth, before = ground_truth(again), ground_truth(programmes["ada"])
    assert truth.keys() == before.keys()
    for key, value in truth.items():
        np.testing.assert_array_equal(value, before[key])
    other = prepare("ada", 0, seconds=12, height=128, seed=4)
    assert other.script.sentences != again.script.sentences


def test_an_mp4_has_the_same_bytes_each_time(tmp_path: Path) -> None:
    programme = prepare("wei", 0, seconds=1, height=64, seed=0)
    for name in ("a.mp4", "b.mp4"):
        write_video(tmp_path / name, programme)
    assert (tmp_path / "a.mp4").read_bytes() == (tmp_path / "b.mp4").read_bytes()
    assert sorted(p.name for p in tmp_path.iterdir()) == ["a.mp4", "b.mp4"]


def test_the_corpus_is_raw_footage_of_two_datasets(corpus: StudioCorpus) -> None:
    import cv2

    assert {p.speaker for p in corpus.programmes} == set(SPEAKERS)
    for programme in corpus.programmes:
        video = cv2.VideoCapture(str(programme.video))
        assert (
            video.get(cv2.CAP_PROP_FPS) == programme.fps == {"pats": 30, "cnas": 25}[programme.form]
        )
        assert video.get(cv2.CAP_PROP_FRAME_HEIGHT) == 96
        assert video.get(cv2.CAP_PROP_FRAME_WIDTH) == frame_width(96)
        count = 0
        while video.grab():
            count += 1
        with np.load(programme.truth, allow_pickle=False) as truth:
            assert count == programme.frames == len(truth["keypoints"])
            left = truth["crop"][0] / truth["size"][0]
            assert left == pytest.approx(
                IDENTITIES[programme.speaker].crop_left, abs=0.5 / frame_width(96)
            )


def test_intervals_are_in_the_form_of_pats(corpus: StudioCorpus) -> None:
    with corpus.intervals.open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert tuple(rows[0]) == PATS_COLUMNS
    assert {row["speaker"] for row in rows} == {"ada", "ben"}
    assert len({row["interval_id"] for row in rows}) == len(rows)
    for row in rows:
        assert (corpus.root / "pats" / "videos" / row["video_fn"]).is_file()
        assert row["dataset"] in ("train", "test", "dev")
        start, end, length = (_seconds(row[k]) for k in ("start_time", "end_time", "delta_time"))
        assert 4.0 <= length <= 15.0
        assert end - start == pytest.approx(length, abs=0.011)
    assert clock(3725.5) == "1:02:05.50"
    assert clock(59.999) == "0:01:00.00"


def test_test_programmes_speak_held_out_sentences() -> None:
    assert not set(ENGLISH) & set(ENGLISH_TEST)
    assert [split_of(IDENTITIES["ada"], i) for i in (0, 1, 5, 9)] == [
        "train",
        "test",
        "dev",
        "test",
    ]
    spoken = prepare("ada", 1, seconds=5, height=64, seed=0).script.sentences
    assert set(spoken) <= set(ENGLISH_TEST)


def test_nothing_is_rendered_twice(corpus: StudioCorpus) -> None:
    before = {p.video: p.video.stat().st_mtime_ns for p in corpus.programmes}
    index = json.loads((corpus.root / "corpus.json").read_text())
    steps: list[tuple[int, int]] = []
    again = render_corpus(
        corpus.root, programmes=1, seconds=5, height=96, progress=lambda *step: steps.append(step)
    )
    assert not any(p.rendered for p in again.programmes)
    assert {p.video: p.video.stat().st_mtime_ns for p in again.programmes} == before
    assert json.loads((corpus.root / "corpus.json").read_text()) == index
    assert steps == [(n, 4) for n in range(1, 5)]


def test_a_missing_file_is_rendered_again_to_the_same_bytes(corpus: StudioCorpus) -> None:
    lost = next(p for p in corpus.programmes if p.speaker == "lin")
    bytes_before = lost.video.read_bytes()
    lost.video.unlink()
    again = render_corpus(corpus.root, programmes=1, seconds=5, height=96)
    assert [p.speaker for p in again.programmes if p.rendered] == ["lin"]
    assert lost.video.read_bytes() == bytes_before


def test_programmes_of_a_larger_run_are_removed(corpus: StudioCorpus, tmp_path: Path) -> None:
    copy = Path(shutil.copytree(corpus.root, tmp_path / "copy"))
    (copy / "cnas" / "mine.mp4").write_bytes(b"")
    assert render_corpus(copy, programmes=0, seconds=5, height=96).programmes == ()
    assert [p.name for p in copy.rglob("*.mp4")] == ["mine.mp4"], "only what the studio made"
    assert (copy / "pats" / "intervals.csv").read_text() == ",".join(PATS_COLUMNS) + "\n"


def test_odd_heights_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="even"):
        render_corpus(tmp_path, programmes=1, seconds=5, height=97)


@pytest.mark.parametrize("identity", IDENTITIES.values(), ids=SPEAKERS)
def test_mediapipe_finds_face_body_and_both_hands(identity: Identity) -> None:
    import mediapipe as mp

    programme = prepare(identity.name, 0, seconds=5, height=256, seed=0)
    truth = ground_truth(programme)
    x0, _, side = programme.crop
    painter = Painter(identity, programme.width, programme.height, x0)
    with mp.solutions.holistic.Holistic(static_image_mode=True) as holistic:
        for frame in np.linspace(5, programme.frames - 1, 4).astype(int):
            image = painter.paint(pose_figure(identity, programme.motion, int(frame)))
            found = holistic.process(np.ascontiguousarray(image[:, x0 : x0 + side]))
            assert found.face_landmarks
            assert found.pose_landmarks
            for hand, points in (
                (found.left_hand_landmarks, LEFT_HAND),
                (found.right_hand_landmarks, RIGHT_HAND),
            ):
                assert hand
                where = np.array([(p.x, p.y) for p in hand.landmark]) * side + (x0, 0)
                error = np.abs(where - truth["keypoints"][frame, points]).mean()
                assert error < 0.02 * side


def test_contact_sheet(tmp_path: Path) -> None:
    import cv2

    sheet = contact_sheet(tmp_path / "studio.png", side=32, columns=3)
    assert cv2.imread(str(sheet)).shape == (4 * 32, 3 * 32, 3)


def test_importing_the_studio_stays_light() -> None:
    code = (
        "import sys, paha_core.corpora.studio; "
        "print([m for m in ('cv2', 'mediapipe', 'torch', 'dagster') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def _seconds(text: str) -> float:
    hours, minutes, seconds = text.split(":")
    return int(hours) * 3600 + int(minutes) * 60 + float(seconds)
