"""SyncNet's protocol: MFCC, the track, the distances; real loading code on a narrow network."""

from pathlib import Path

import numpy as np
import pytest
import torch

from paha_core.media.mfcc import mfcc
from paha_core.models import syncnet

# python_speech_features 0.6 on two sines, window 5.
GOLDEN = [20.6569, 8.648, -18.0134, 3.2119, 11.8513, -36.4149, -62.0818, -13.2296, 30.9024]
GOLDEN += [11.2759, -5.8502, 20.5232, 32.6253]


def two_sines() -> np.ndarray:
    t = np.arange(3200) / 16_000
    return np.round(8000 * np.sin(2 * np.pi * 440 * t) + 4000 * np.sin(2 * np.pi * 1800 * t))


def test_mfcc_is_what_syncnet_was_trained_on() -> None:
    found = mfcc(two_sines())
    assert found.shape == (19, 13)
    np.testing.assert_allclose(found[5], GOLDEN, atol=1e-4)


def test_mfcc_of_silence_and_of_a_moment_is_finite() -> None:
    assert np.isfinite(mfcc(np.zeros(1600))).all()
    assert mfcc(np.ones(10)).shape == (1, 13)


def test_confidence_is_median_minus_minimum() -> None:
    distances = np.full(31, 10.0)
    distances[:10] = 12
    distances[18] = 6.5
    score = syncnet.score_of(distances)
    assert score.distance == 6.5
    assert score.confidence == pytest.approx(3.5)
    assert score.offset == -3  # frame i is heard 3 frames later


@pytest.mark.parametrize("lag", [-7, 0, 4])
def test_the_offset_is_by_how_many_frames_the_sound_leads(lag: int) -> None:
    audio = np.random.default_rng(0).normal(size=(60, 16))
    video = np.roll(audio, lag, axis=0)  # frame i shows what was heard at i - lag
    score = syncnet.score_of(syncnet.shift_distances(video, audio))
    assert score.offset == lag
    assert score.distance < score.confidence


def test_distances_are_those_of_the_published_loop() -> None:
    rng = np.random.default_rng(1)
    video, audio = (torch.from_numpy(rng.normal(size=(9, 5))) for _ in range(2))
    padded = torch.nn.functional.pad(audio, (0, 0, 15, 15))
    rows = [
        torch.nn.functional.pairwise_distance(video[[i]].repeat(31, 1), padded[i : i + 31])
        for i in range(9)
    ]
    found = syncnet.shift_distances(video.numpy(), audio.numpy())
    np.testing.assert_allclose(found, torch.stack(rows, 1).mean(1).numpy(), atol=1e-9)


def moving_boxes(frames: int = 40) -> np.ndarray:
    x = np.arange(frames, dtype=np.float64)
    return np.stack([20 + x, 30 + 0 * x, 60 + x, 80 + 0 * x], 1)


def test_a_track_bridges_gaps_and_starts_anew_elsewhere() -> None:
    boxes = moving_boxes(60)
    whole = boxes.copy()
    boxes[10:14] = np.nan
    boxes[40:] += 200
    long, short = syncnet.face_tracks(boxes, min_frames=10, min_size=20)
    assert (long.start, len(long)) == (0, 40)
    np.testing.assert_allclose(long.boxes, whole[:40])
    assert (short.start, len(short)) == (40, 20)


def test_short_small_and_absent_faces_give_no_track() -> None:
    assert syncnet.face_tracks(moving_boxes(9), min_frames=10, min_size=20) == []
    assert syncnet.face_tracks(moving_boxes(40), min_frames=10, min_size=51) == []
    assert syncnet.face_tracks(np.full((40, 4), np.nan), min_frames=1, min_size=1) == []


def test_the_crop_holds_the_face_and_grey_beyond_the_picture() -> None:
    frames = np.zeros((9, 100, 100, 3), np.uint8)
    frames[:, 30:70, 0:40] = (200, 100, 50)
    track = syncnet.FaceTrack(0, np.tile([0.0, 30, 40, 70], (9, 1)))
    [first, *_] = faces = syncnet.crop_faces(frames, track)
    assert faces.shape == (9, 224, 224, 3)
    # 56 pixels wide from -8: a seventh of the crop lies outside; 56 high from the box's top.
    assert (first[:, :30] == 110).all()
    assert tuple(first[10, 100]) == (200, 100, 50)
    assert tuple(first[-10, 100]) == (0, 0, 0)


def narrow() -> syncnet.SyncNet:
    return syncnet.SyncNet(width=1 / 32, features=16)


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    torch.manual_seed(0)
    path = tmp_path_factory.mktemp("weights") / "syncnet.model"
    torch.save(narrow().state_dict(), path)
    return path


def test_the_published_layout() -> None:
    with torch.device("meta"):
        state = syncnet.SyncNet().state_dict()
    assert sum(value.numel() for name, value in state.items() if "num_batches" not in name) > 13e6
    shapes = {name: tuple(value.shape) for name, value in state.items()}
    assert shapes["netcnnlip.0.weight"] == (96, 3, 5, 7, 7)
    assert shapes["netcnnlip.18.weight"] == (512, 256, 1, 6, 6)
    assert shapes["netcnnaud.18.weight"] == (512, 256, 5, 4)
    assert shapes["netfcaud.3.weight"] == shapes["netfclip.3.weight"] == (1024, 512)


def test_a_narrow_network_scores_a_clip(weights: Path) -> None:
    model, sha256 = syncnet.load_syncnet(weights, model=narrow())
    assert len(sha256) == 64
    rng = np.random.default_rng(0)
    frames = rng.integers(0, 255, (24, 96, 96, 3), dtype=np.uint8)
    boxes = np.tile([20.0, 20, 70, 70], (24, 1))
    wave = rng.normal(0, 0.1, 24 * 640).astype(np.float32)
    score = syncnet.sync_score(model, frames, wave, boxes, min_frames=20, min_size=30)
    assert score.frames == 24
    assert np.isfinite([score.confidence, score.distance]).all()
    assert abs(score.offset) <= 15
    again = syncnet.sync_score(model, frames, wave, boxes, min_frames=20, min_size=30, batch=3)
    assert again.distance == pytest.approx(score.distance, abs=1e-5)
    assert syncnet.sync_score(model, frames, wave, boxes, min_frames=30, min_size=30) is None
    loud = wave / np.abs(wave).max() * 1.3  # as decoded AAC overshoots
    given, clipped = (
        syncnet.sync_score(model, frames, heard, boxes, min_frames=20, min_size=30)
        for heard in (loud, np.clip(loud, -1, 1))
    )
    assert given == clipped


def test_a_narrow_networks_score_is_no_sync_c(weights: Path) -> None:
    with pytest.raises(ValueError, match=r"does not hold SyncNet: .*size mismatch"):
        syncnet.load_syncnet(weights)


def test_other_files_are_refused_with_a_reason(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="no SyncNet weights"):
        syncnet.load_syncnet(tmp_path / "none.model")
    other = tmp_path / "other.model"
    torch.save({"weight": torch.zeros(3)}, other)
    with pytest.raises(ValueError, match="does not hold SyncNet"):
        syncnet.load_syncnet(other)
