"""The video encoder as a training run: what it is shown, and what it tells apart afterwards."""

from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
import torch
from scipy.ndimage import gaussian_filter

from paha_core.config import Preset
from paha_core.engine.manifest_files import manifest_path
from paha_core.engine.manifest_stage import BASE_SCHEMA
from paha_core.media.encode import write_video
from paha_core.metrics.frechet import frechet_of_features
from paha_core.metrics.registry import fvd_stand_in
from paha_core.metrics.video_features import SmallR3D, video_features
from paha_core.store import Store
from paha_core.trained import read_log
from paha_core.training.run import TrainingError
from paha_core.training.tasks.video_encoder import (
    KINDS,
    WEIGHTS,
    changed,
    changed_windows,
    train_video_encoder,
    video_run,
)


def preset(steps: int = 2) -> Preset:
    return Preset(
        name="videos",
        corpora={"studio": {}, "pats": {}},
        benchmark={"video_encoder_steps": steps},
    )


def moving(seed: int, frames: int = 40) -> np.ndarray:
    """A bright square that swings before a grey wall: uint8 `[T, 64, 64, 3]`."""
    rng = np.random.default_rng(seed)
    a, b, x, y = rng.uniform(0.2, 0.4), rng.uniform(0, 6), *rng.uniform(20, 36, 2)
    video = np.full((frames, 64, 64, 3), 90, np.uint8)
    for t in range(frames):
        left = int(x + 14 * np.sin(a * t + b))
        video[t, int(y) : int(y) + 10, max(left, 0) : left + 10] = (230, 180, 140)
    return video


def make_store(root: Path, clips: int = 6, frames: int = 40) -> Store:
    store, rows = Store(str(root)), []
    for i in range(clips):
        row = dict.fromkeys(BASE_SCHEMA.names, "") | {"clip_id": f"pats/ada/{i:03d}"}
        row |= {"dataset": "pats", "status": "kept", "split": "test" if i == 0 else "train"}
        row |= {"path": f"clips/{i}.mp4", "sha256": f"{i}", "frames": frames}
        with store.writing(row["path"]) as path:
            write_video(path, moving(i, frames))
        rows.append(row)
    schema = pa.schema([*BASE_SCHEMA, ("frames", pa.int32())])
    store.write_table(manifest_path("clips", "pats"), pa.Table.from_pylist(rows, schema=schema))
    return store


def test_what_is_done_to_a_window() -> None:
    clip = np.arange(40, dtype=np.uint8)[:, None, None, None].repeat(64, 1).repeat(64, 2)
    clip = clip.repeat(3, 3)
    shown = {}
    for kind in KINDS:
        window = changed(clip, kind, torch.Generator().manual_seed(0))
        assert window.shape == (3, 16, 64, 64)
        shown[kind] = ((window[0, :, 0, 0] + 1) * 127.5).round().long()
    assert set(shown["as filmed"].diff().tolist()) == {1}
    assert set(shown["fast"].diff().tolist()) == {2}
    assert shown["held"].diff().tolist() == [0, 1] * 7 + [0]
    assert shown["shuffled"].sort().values.diff().tolist() == [1] * 15 != shown["shuffled"].diff()
    windows, kinds = changed_windows([moving(0), moving(1)], 10, torch.Generator().manual_seed(0))
    assert kinds.tolist() == [0, 1, 2, 3, 4] * 2
    edges = windows.diff(dim=-1).abs().amax((1, 2, 3, 4))
    assert (edges[4::5] < 0.9 * edges[0::5]).all()  # softened


def test_it_is_trained_once_and_the_same_every_time(tmp_path: Path) -> None:
    stores = [make_store(tmp_path / name) for name in ("a", "b")]
    assert all(train_video_encoder(store, preset()) for store in stores)
    assert not train_video_encoder(stores[0], preset())
    assert video_run(stores[0], preset()).is_done()
    assert not video_run(stores[0], preset(3)).is_done()
    first, second = (SmallR3D.load(s.read_bytes(WEIGHTS), "studio-r3d") for s in stores)
    assert first.sha256 == second.sha256
    features = video_features(first, moving(0))
    assert features.shape == (4, SmallR3D.features)
    np.testing.assert_array_equal(features, video_features(second, moving(0)))
    assert video_features(first, moving(0)[:12]).shape[0] == 0


def test_short_clips_are_no_training_clips(tmp_path: Path) -> None:
    with pytest.raises(TrainingError, match="0 training clips of 32 frames"):
        train_video_encoder(make_store(tmp_path, clips=3, frames=31), preset())


def test_the_stand_in_is_called_by_what_its_corpus_is() -> None:
    filmed = Preset(name="filmed", corpora={"pats": {"csv": "a.csv", "videos": "v"}})
    assert fvd_stand_in(preset()).name == "fvd[studio-r3d]"
    assert fvd_stand_in(filmed).name == "fvd[corpus-r3d]"


def test_it_learns_and_what_is_wrong_lies_farther_from_real_videos(tmp_path: Path) -> None:
    # How it orders mild and strong damage: benchmarks/studies/video_encoder.py.
    store = make_store(tmp_path)
    train_video_encoder(store, preset(24))
    log = read_log(store, "video_encoder")
    assert log[-1]["validation_accuracy"] > 2 / len(KINDS)
    space = SmallR3D.load(store.read_bytes(WEIGHTS), "studio-r3d")
    held_out = [moving(seed) for seed in range(100, 106)]
    real = np.concatenate([video_features(space, moving(seed)) for seed in range(12)])
    noise = np.random.default_rng(0)

    def distance(change) -> float:
        found = [video_features(space, change(video)) for video in held_out]
        return frechet_of_features(np.concatenate(found), real)

    def trembles(video: np.ndarray) -> np.ndarray:
        return np.stack([np.roll(f, noise.integers(-4, 5), axis=1) for f in video])

    best = distance(lambda video: video)
    assert distance(lambda video: gaussian_filter(video, (0, 3, 3, 0))) > best
    assert distance(lambda video: video[:1].repeat(len(video), 0)) > best
    assert distance(trembles) > 10 * best
