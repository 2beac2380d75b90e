"""Sound against lips: its offset, whether it is theirs at all, and what the cut puts right."""

from __future__ import annotations

import json

import numpy as np
import pytest
import soundfile
import torch
from drawn_lips import SAMPLES, mouth, voice

from paha_core.config import CorporaConfig
from paha_core.corpora.cnas import ingest_cnas
from paha_core.corpora.filters import ClipData, FilterFailed
from paha_core.corpora.filters.lips import FaceMesh, track_face
from paha_core.corpora.filters.sync import (
    LipsMove,
    LipsRest,
    LipsSpeak,
    LipSync,
    SyncC,
    SyncOffset,
)
from paha_core.corpora.filters.sync_estimate import Sync, estimate_sync
from paha_core.corpora.filters.sync_network import (
    SyncCheck,
    SyncNetWeights,
    measure_sync,
    sync_check,
)
from paha_core.media.audio import read_audio
from paha_core.media.ffmpeg import file_url, run
from paha_core.media.video import iter_frames
from paha_core.models.syncnet import SyncNet, sync_score


@pytest.mark.parametrize("late", [-9, -1, 0, 1, 4, 12])
def test_the_offset_of_the_sound_is_found(late):
    long = mouth(3, 160)
    sync = estimate_sync(long[20:120], voice(long)[(20 - late) * SAMPLES : (120 - late) * SAMPLES])
    assert sync.is_sure
    assert sync.offset == late


def test_anothers_voice_is_seldom_sure():
    own = [estimate_sync(mouth(n), voice(mouth(n))) for n in range(40)]
    others = [estimate_sync(mouth(n), voice(mouth(n + 50))) for n in range(40)]
    assert all(sync.is_sure and sync.offset == 0 for sync in own)
    assert sum(sync.is_sure for sync in others) <= 3
    assert np.median([s.confidence for s in own]) > 2 * np.median([s.confidence for s in others])


def test_a_short_clip_and_a_hidden_face_say_nothing():
    opening = mouth(0)
    assert estimate_sync(opening[:49], voice(opening)[: 49 * SAMPLES]) is None
    hidden = np.where(np.arange(125) % 4 == 0, np.nan, opening)
    assert estimate_sync(hidden, voice(opening)) is None
    bridged = np.where(np.arange(125) % 8 == 0, np.nan, opening)
    assert estimate_sync(bridged, voice(opening)).offset == 0


def test_drawn_lips_and_speech_within_a_frame(studio):
    """Of the drawn corpus, with the sound shifted by known amounts."""
    errors = []
    for name in ("cnas/lin/lin_000.mp4", "cnas/wei/wei_000.mp4"):
        opening = track_face(iter_frames(studio / name)).opening
        wave = read_audio(studio / name, 16000)
        for late in (-8, -3, 0, 5):
            for first in (10, 40):
                begin = (first - late) * SAMPLES
                sound = wave[begin : begin + 75 * SAMPLES]
                if len(sound) == 75 * SAMPLES:
                    sync = estimate_sync(opening[first : first + 75], sound)
                    errors.append(abs(sync.offset - late))
    assert len(errors) >= 12
    assert np.mean(np.array(errors) <= 1) >= 0.95


def clip_with(opening: np.ndarray, wave: np.ndarray) -> ClipData:
    clip = ClipData([], np.zeros((len(opening), 32, 32), np.uint8), wave)
    clip.__dict__["face_mesh"] = FaceMesh(opening, np.zeros((len(opening), 3)))
    return clip


def test_filters_of_sync():
    long = mouth(1, 200)
    late = clip_with(long[20:145], voice(long)[(20 - 6) * SAMPLES : (145 - 6) * SAMPLES])
    assert SyncOffset(6).check(late) == 6
    with pytest.raises(FilterFailed, match=r"the sound comes 0\.24 s too late") as failed:
        SyncOffset(2).check(late)
    assert failed.value.score == 6
    assert LipSync(0.9).check(late) >= 0.9
    foreign = clip_with(mouth(1), voice(mouth(77)))
    with pytest.raises(FilterFailed, match="lips and sound don't belong together"):
        LipSync(0.9).check(foreign)
    assert np.isfinite(SyncOffset(0).check(foreign))  # not sure: no reason to reject


def test_a_voice_over_a_silent_face_and_lips_without_a_voice(studio):
    wave = read_audio(studio / "cnas/lin/lin_000.mp4", 16000)[: 125 * SAMPLES]
    speaking = track_face(iter_frames(studio / "cnas/lin/lin_000.mp4", end=5.0)).opening
    assert LipsMove().check(clip_with(speaking, wave)) > 0.003
    noise = np.random.default_rng(0).normal(0, 0.0005, 125)
    with pytest.raises(FilterFailed, match="somebody else speaks"):
        LipsMove().check(clip_with(0.02 + noise, wave))
    silent = wave.copy()
    silent[25 * SAMPLES : 75 * SAMPLES] = 0
    with pytest.raises(FilterFailed, match="no speech"):
        LipsRest(0.5).check(clip_with(speaking, silent))
    rests = speaking.copy()
    rests[27:73] = rests[27]
    assert LipsRest(0.5).check(clip_with(rests, silent)) < 0.5


def test_an_interviewer_beside_the_camera(studio):
    """The lips rest while speech goes on, in a part of the clip."""
    wave = read_audio(studio / "cnas/lin/lin_000.mp4", 16000)[: 125 * SAMPLES]
    speaking = track_face(iter_frames(studio / "cnas/lin/lin_000.mp4", end=5.0)).opening
    assert LipsSpeak(1.0).check(clip_with(speaking, wave)) < 1.0
    listens = speaking.copy()
    listens[40:110] = listens[40] + np.random.default_rng(0).normal(0, 0.0003, 70)
    with pytest.raises(FilterFailed, match=r"the lips rest during \d\.\d s of speech") as failed:
        LipsSpeak(1.5).check(clip_with(listens, wave))
    assert failed.value.score <= 70 / 25
    hidden = np.where(np.arange(125) % 2 == 0, np.nan, speaking)
    assert np.isnan(LipsSpeak(0.1).check(clip_with(hidden, wave)))


def test_syncnets_offset_has_the_filters_sign_and_its_own_scale():
    torch.manual_seed(0)
    model = SyncNet(width=1 / 32, features=16).eval()  # narrow: its numbers mean nothing else
    rng = np.random.default_rng(0)
    frames = rng.integers(0, 255, (52, 64, 64, 3), dtype=np.uint8)
    boxes = np.tile([6.0, 6, 58, 58], (52, 1))
    wave = rng.normal(0, 0.1, 52 * SAMPLES).astype(np.float32)
    score = sync_score(model, frames, wave, boxes, min_frames=50, min_size=48)
    sync = measure_sync(model, iter(frames), boxes, wave)
    assert (sync.offset, sync.confidence) == (-score.offset, score.confidence)
    assert sync.is_sure == (score.confidence >= 3)
    assert measure_sync(model, frames[:40], boxes[:40], wave) is None


def test_syncnets_confidence_as_a_filter():
    clip = clip_with(mouth(0), voice(mouth(0)))
    assert np.isnan(SyncC(3).check(clip))  # no weights were given
    clip.__dict__["network_sync"] = Sync(1, 2.5, 3.0)
    assert SyncC(2).check(clip) == 2.5
    with pytest.raises(FilterFailed, match=r"Sync-C 2\.5, 3 needed"):
        SyncC(3).check(clip)


def test_weights_are_part_of_a_fingerprint_by_their_content(config, tmp_path):
    assert sync_check(config.cnas) == SyncCheck()
    assert SyncCheck().settings() == {}
    weights = SyncNetWeights("anywhere/syncnet_v2.model", "5" * 64)
    assert SyncCheck(2, weights).settings() == {"correct": 2, "syncnet": "5" * 64}
    missing = config.cnas.model_copy(update={"syncnet": str(tmp_path / "none.model")})
    with pytest.raises(FileNotFoundError, match="no SyncNet weights"):
        sync_check(missing)


@pytest.fixture
def late(studio, tmp_path):
    """A folder with a drawn source whose sound comes 0.16 s late."""
    source = studio / "cnas/lin/lin_000.mp4"
    path = tmp_path / "sources/lin/late.mp4"
    path.parent.mkdir(parents=True)
    delayed = ["-i", file_url(source), "-itsoffset", "0.16", "-i", file_url(source)]
    run([*delayed, "-map", "0:v", "-map", "1:a", "-c", "copy", file_url(path)])
    return tmp_path / "sources"


def rows_with(store, config: CorporaConfig, folder, **settings) -> list[dict]:
    cnas = config.cnas.model_copy(update={"clip_frames": 100} | settings)
    changed = config.model_copy(update={"cnas": cnas})
    return ingest_cnas(store, changed, "cnas", folder, workers=0).table.to_pylist()


def test_a_small_offset_is_put_right_and_a_large_one_rejected(store, config, late):
    rejected = rows_with(store, config, late, max_sync_offset=1)
    assert {row["status"] for row in rejected} == {"rejected"}
    assert all("too late" in row["reason"] for row in rejected)
    put_right = rows_with(store, config, late, max_sync_offset=1, correct_sync_offset=6)
    assert {row["status"] for row in put_right} == {"kept"}
    for row in put_right:
        assert row["sound_shift"] == pytest.approx(0.16, abs=0.041)
        assert abs(json.loads(row["scores"])["sync_offset"]) <= 1
        # cut later, not resampled: the samples are the source's own
        with store.reading(row["audio_path"]) as path:
            cut, rate = soundfile.read(path, dtype="float32")
        whole = read_audio(late / "lin/late.mp4", rate)
        first = round((row["cut_start"] + row["sound_shift"]) * rate)
        np.testing.assert_allclose(cut, whole[first : first + len(cut)], atol=2**-14)
    too_large = rows_with(store, config, late, max_sync_offset=1, correct_sync_offset=2)
    assert {row["status"] for row in too_large} == {"rejected"}


def test_without_the_settings_nothing_is_estimated(store, config, late):
    row = rows_with(store, config, late)[0]
    assert not {"sync_offset", "sync_confidence", "lip_motion"} & set(json.loads(row["scores"]))
    assert row["sound_shift"] == 0


def test_sure_is_a_confidence():
    assert Sync(3, 1.05).is_sure
    assert not Sync(3, 0.5).is_sure
