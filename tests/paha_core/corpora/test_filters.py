"""Each filter on input whose answer is known."""

from __future__ import annotations

import numpy as np
import pytest
import soundfile
import torch
from transformers import Dinov2Config, Dinov2Model

from paha_core.config import CnasConfig
from paha_core.corpora.cnas import long_source_filters
from paha_core.corpora.filters import (
    Audible,
    BodyParts,
    CleanSpeech,
    ClipData,
    FilterFailed,
    HandsVisible,
    NotFrozen,
    OnePerson,
    OneScene,
    SpeechShare,
    StableDetections,
    Unclipped,
    WholeBody,
    WholeFace,
    apply_filters,
)
from paha_core.corpora.filters.parts import PARTS, part_places, part_share, patch_features
from paha_core.corpora.filters.stability import jitter, smooth_fit
from paha_core.media.ffmpeg import file_url, run
from paha_core.media.video import iter_frames

RATE = 16000


@pytest.fixture(scope="module")
def speech(studio, tmp_path_factory):
    """4 seconds of a presenter's voice at 16 kHz."""
    wav = tmp_path_factory.mktemp("voice") / "voice.wav"
    source = file_url(studio / "cnas/lin/lin_000.mp4")
    run(["-i", source, "-ac", "1", "-ar", str(RATE), "-t", "4", file_url(wav)])
    wave, rate = soundfile.read(str(wav), dtype="float32")
    assert rate == RATE
    return wave


@pytest.fixture(scope="module")
def frames(studio):
    """2 seconds of a presenter, in the middle of a 16:9 picture."""
    video = iter_frames(studio / "cnas/lin/lin_000.mp4")
    return [frame for frame, _ in zip(video, range(50), strict=False)]


def sine(level=0.5, seconds=3.0):
    time = np.arange(round(seconds * RATE)) / RATE
    return (level * np.sin(2 * np.pi * 440 * time)).astype(np.float32)


def heard(wave):
    return ClipData([], np.zeros((0, 32, 32), np.uint8), wave)


def seen(probes, thumbnails=None):
    nothing = np.zeros((0, 32, 32), np.uint8)
    made = nothing if thumbnails is None else thumbnails
    return ClipData(list(probes), made, np.zeros(0, np.float32), frames=lambda: probes)


def refused(each, look):
    with pytest.raises(FilterFailed) as failure:
        each.check(look)
    return failure.value


# --- sound ---------------------------------------------------------------------------------------


def test_level_is_the_mean_power_in_decibels():
    assert Audible().check(heard(sine(0.5))) == pytest.approx(20 * np.log10(0.5 / 2**0.5), abs=0.01)
    quiet = refused(Audible(-50), heard(sine(0.001)))
    assert quiet.score == pytest.approx(-63.01, abs=0.01)
    assert "silence" in str(quiet)
    assert refused(Audible(), heard(np.zeros(0, np.float32))).score == -120


def test_clipping_is_the_share_at_full_scale():
    assert Unclipped().check(heard(sine(0.5))) == 0
    flat = np.clip(sine(1.0) * 2**0.5, -1, 1)  # over full scale for half of the time
    assert refused(Unclipped(), heard(flat)).score == pytest.approx(0.5, abs=0.02)


def test_speech_is_distinguished_from_tone_and_noise(speech):
    noise = np.random.default_rng(0).normal(0, 0.1, 3 * RATE).astype(np.float32)
    assert SpeechShare().check(heard(speech)) > 0.6
    for other in (sine(), noise):
        failure = refused(SpeechShare(), heard(other))
        assert failure.score < 0.1
        assert "speech in" in str(failure)


def test_speech_is_detected_at_any_rate(speech):
    twice = np.repeat(speech, 2)
    nothing = np.zeros((0, 32, 32), np.uint8)
    assert SpeechShare().check(ClipData([], nothing, twice, 2 * RATE)) > 0.6


def test_noise_lowers_the_quality_of_speech(speech):
    noise = np.random.default_rng(0).normal(0, float(speech.std()), len(speech))
    clean = CleanSpeech(1.0).check(heard(speech))
    noisy = refused(CleanSpeech(clean), heard((speech + noise).astype(np.float32)))
    assert 1 <= noisy.score < clean - 0.3
    assert clean < 5
    assert f"DNSMOS {noisy.score:.2f}, {clean:g} needed" in str(noisy)
    assert refused(CleanSpeech(), heard(np.zeros(RATE, np.float32))).score == 1.0


# --- picture -------------------------------------------------------------------------------------


def test_a_switch_of_scene_is_found_where_it_is():
    rng = np.random.default_rng(0)
    first, second = rng.integers(0, 256, (2, 32, 32))
    still = np.stack([first] * 50 + [first] * 50).astype(np.uint8)
    cut = np.stack([first] * 50 + [second] * 50).astype(np.uint8)
    assert OneScene().check(seen([], still)) == 0
    failure = refused(OneScene(), seen([], cut))
    assert failure.score > 60
    assert "at 2.00 s" in str(failure)


def test_a_picture_that_stands_still():
    moving = np.random.default_rng(0).integers(0, 256, (100, 32, 32)).astype(np.uint8)
    assert NotFrozen().check(seen([], moving)) == 0
    stuck = moving.copy()
    stuck[40:80] = stuck[40]
    failure = refused(NotFrozen(), seen([], stuck))
    assert failure.score == pytest.approx(39 / 25)
    assert str(failure) == "the picture stands still for 1.6 s"
    stuck[60] += 1  # two pauses of 0.8 s
    assert NotFrozen().check(seen([], stuck)) < 1


def test_a_face_must_be_wholly_in_the_picture(frames):
    probes = frames[::10]
    assert WholeFace().check(seen(probes)) == 1.0
    width = probes[0].shape[1]
    halved = [probe[:, width // 2 - 2 :] for probe in probes]
    assert refused(WholeFace(), seen(halved)).score < 0.9
    nobody = [np.full_like(probe, 128) for probe in probes]
    assert str(refused(WholeFace(), seen(nobody))) == "no face in the clip's region"
    mixed = refused(WholeFace(), seen([*probes[:3], *nobody[:2]]))
    assert mixed.score == pytest.approx(0.6)


def test_two_people_are_too_many(frames):
    probes = frames[::10]
    assert OnePerson().check(seen(probes)) == 0
    pairs = [np.concatenate([probe, probe[:, ::-1]], axis=1) for probe in probes]
    assert refused(OnePerson(), seen(pairs)).score == 1.0


def test_shoulders_and_hands_must_be_seen(frames):
    probes = [frame[:, 50:178] for frame in frames[::10]]
    assert WholeBody().check(seen(probes)) >= 0.9
    heads = [np.ascontiguousarray(probe[:50]) for probe in probes]
    assert refused(WholeBody(), seen(heads)).score < 0.9
    clip = np.zeros((125, 32, 32), np.uint8)
    assert HandsVisible().check(seen(probes, clip)) < 2.5
    failure = refused(HandsVisible(), seen(heads, clip))
    assert failure.score == 5
    assert str(failure) == "no hand in the clip's region for 5.0 s"
    assert HandsVisible().check(seen([*probes, *heads[:3]], clip)) < 2.5  # away at its end only


# --- detections that jump ------------------------------------------------------------------------


def test_the_smooth_fit_solves_its_normal_equations():
    rng = np.random.default_rng(0)
    track, weights = rng.normal(size=(12, 3)), (rng.random(12) > 0.3).astype(float)
    difference = np.diff(np.eye(12), axis=0)
    system = np.diag(weights) + 4.0 * difference.T @ difference
    expected = np.linalg.solve(system, weights[:, None] * track)
    np.testing.assert_allclose(smooth_fit(track, weights), expected, atol=1e-10)


def test_a_track_at_rest_has_no_jitter_and_noise_has_its_own():
    still = np.tile(np.array([[0.4, 0.2], [0.6, 0.5], [0.5, 0.3]]), (100, 1, 1))
    everywhere = np.ones(100, bool)
    assert jitter(still, everywhere) < 1e-9
    rng = np.random.default_rng(0)
    noisy = still + rng.normal(0, 0.01, still.shape)
    assert 0.04 < jitter(noisy, everywhere) < 0.1  # of a face 0.2 wide: sigma is 0.05
    gaps = everywhere.copy()
    gaps[::3] = False
    noisy[~gaps] = np.nan
    assert 0.02 < jitter(noisy, gaps) < 0.1


def test_frames_that_shake_are_unstable(frames):
    calm = StableDetections(0.03).check(seen(frames))
    rng = np.random.default_rng(0)
    shaken = [np.roll(frame, rng.integers(-6, 7, 2), axis=(0, 1)) for frame in frames]
    failure = refused(StableDetections(0.03), seen(shaken))
    assert failure.score > 2 * calm
    assert "unstable" in str(failure)
    nobody = [np.full_like(frame, 128) for frame in frames]
    assert refused(StableDetections(), seen(nobody)).score == 1.0


# --- together ------------------------------------------------------------------------------------


def test_the_first_failure_is_the_reason_and_spares_the_others():
    scores, reason = apply_filters([Unclipped(), Audible(), SpeechShare()], heard(sine(0.0001)))
    assert scores.keys() == {"clipped_share", "mean_db"}
    assert reason.startswith("silence")
    assert apply_filters([Audible()], heard(sine()))[1] == ""


# --- body parts by DINOv2 ------------------------------------------------------------------------


@pytest.fixture(scope="module")
def dinov2_folder(tmp_path_factory):
    """Random weights in the real class and layout."""
    torch.manual_seed(0)
    small = Dinov2Config(
        hidden_size=32, num_hidden_layers=2, num_attention_heads=2, image_size=56, patch_size=14
    )
    folder = tmp_path_factory.mktemp("weights") / "dinov2"
    Dinov2Model(small).save_pretrained(folder)
    return str(folder)


def a_scene(frames=4):
    """Features whose patches are pure: the ground, and one direction for each kind of part."""
    features = np.zeros((frames, 32, 32, 6), np.float32)
    features[..., 5] = 1
    places = np.tile(np.linspace(0.3, 0.8, 6)[:, None], (frames, 1, 2))
    for place, part in enumerate(PARTS):
        cell = int(places[0, place, 0] * 32)
        features[:, cell, cell] = np.eye(6)[part]
    return features, places


def test_parts_with_their_own_features_are_confirmed():
    features, places = a_scene()
    assert part_share(features, places) == 1


def test_a_keypoint_on_the_ground_or_on_another_part_is_not_confirmed():
    features, places = a_scene()
    strayed = places.copy()
    strayed[0, 4] = (0.9, 0.1)  # a hand of the first frame on the ground
    assert part_share(features, strayed) == pytest.approx(23 / 24)
    swapped = places.copy()
    swapped[0, 0], swapped[0, 1] = places[0, 1], places[0, 0]  # its head and chest
    assert part_share(features, swapped) == pytest.approx(22 / 24)


def test_parts_seen_in_one_frame_alone_have_no_witness():
    features, places = a_scene()
    places[1:] = np.nan
    assert part_share(features, places) == 0
    assert np.isnan(part_places(None)).all()


def test_dinov2_runs_on_real_frames(frames, dinov2_folder):
    square = [np.ascontiguousarray(frame[:, 56:184]) for frame in frames[::10]]
    features = patch_features(square, dinov2_folder)
    assert features.shape == (5, 32, 32, 32)
    assert np.linalg.norm(features, axis=-1) == pytest.approx(1, abs=1e-4)
    score = BodyParts(0.0, dinov2_folder).check(seen(square))
    assert 0 <= score <= 1
    if score < 1:
        assert "DINOv2 confirms" in str(refused(BodyParts(1.0, dinov2_folder), seen(square)))


def test_without_weights_the_row_has_a_reason(frames, dinov2_folder, tmp_path):
    assert apply_filters([BodyParts()], seen(frames)) == ({"part_share": None}, "")
    used = long_source_filters(CnasConfig(dinov2=dinov2_folder))[-1]
    assert isinstance(used, BodyParts)
    assert len(used.sha256) == 64
    with pytest.raises(FileNotFoundError, match=r"corpora\.cnas\.dinov2"):
        long_source_filters(CnasConfig(dinov2=str(tmp_path / "absent")))
