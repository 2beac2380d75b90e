"""The pose autoencoder as a training run of its own."""

from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from paha_core.config import Preset
from paha_core.engine.manifest_files import manifest_path
from paha_core.engine.manifest_stage import BASE_SCHEMA
from paha_core.metrics import pose_features as pf
from paha_core.metrics.frechet import frechet_of_features
from paha_core.pose.keypoints import Keypoints
from paha_core.store import Store
from paha_core.training.run import TrainingError
from paha_core.training.tasks.pose_autoencoder import (
    WEIGHTS,
    load_windows,
    pose_run,
    pose_window,
    train_pose_autoencoder,
)


def keypoints(frames: int, seed: int) -> Keypoints:
    rng = np.random.default_rng(seed)
    t = np.arange(frames)[:, None, None] / 25
    points = np.sin(t * rng.uniform(2, 6, (1, 133, 2)) + rng.uniform(0, 6, (1, 133, 2))) * 10 + 100
    points[:, 5], points[:, 6] = (140, 90), (60, 90)
    scores = np.ones((frames, 133), np.float32)
    return Keypoints(points.astype(np.float32), scores, (256, 256), "drawn", "1", "0")


def preset(steps: int = 60, **more) -> Preset:
    return Preset(
        name="poses",
        corpora={"studio": {}, "pats": {}},
        generation={"max_frames": 30},
        benchmark={"pose_autoencoder_steps": steps, **more},
    )


def make_store(root: Path, clips: int = 24, frames: int = 75) -> Store:
    store = Store(str(root))
    rows = []
    for i in range(clips):
        row = dict.fromkeys(BASE_SCHEMA.names, "") | {"clip_id": f"pats/ada/{i:03d}"}
        row |= {"dataset": "pats", "status": "kept", "split": "test" if i % 4 == 3 else "train"}
        row |= {"path": f"keypoints/{i}.parquet", "sha256": f"{i}", "frames": frames}
        with store.writing(row["path"]) as path:
            keypoints(frames, i).save(path)
        rows.append(row)
    schema = pa.schema([*BASE_SCHEMA, ("frames", pa.int32())])
    for stage in ("clips", "keypoints"):
        store.write_table(manifest_path(stage, "pats"), pa.Table.from_pylist(rows, schema=schema))
    return store


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Store:
    made = make_store(tmp_path_factory.mktemp("poses"))
    assert train_pose_autoencoder(made, preset())
    return made


def test_it_is_trained_once_and_the_same_every_time(store: Store, tmp_path: Path) -> None:
    assert not train_pose_autoencoder(store, preset())
    assert pose_run(store, preset()).is_done()
    assert not pose_run(store, preset(61)).is_done()
    again = make_store(tmp_path)
    train_pose_autoencoder(again, preset())
    shas = [pf.load_autoencoder(s.read_bytes(WEIGHTS))[1] for s in (store, again)]
    assert shas[0] == shas[1]


def test_the_window_is_what_every_held_out_clip_fills(store: Store, tmp_path: Path) -> None:
    assert pose_window(store, preset()) == 18  # 30 frames at 25 fps are 18 at 15
    model, _ = pf.load_autoencoder(store.read_bytes(WEIGHTS))
    assert model.window == 18
    with pytest.raises(TrainingError, match="too short"):
        train_pose_autoencoder(make_store(tmp_path, clips=4, frames=10), preset())


def test_without_poses_the_cell_is_missing(tmp_path: Path) -> None:
    with pytest.raises(TrainingError, match="give 0 pose windows"):
        train_pose_autoencoder(Store(str(tmp_path)), preset())


def test_features_tell_gestures_from_noise(store: Store) -> None:
    model, _ = pf.load_autoencoder(store.read_bytes(WEIGHTS))
    real, held_out = (load_windows(store, preset(), s, 18).all for s in ("train", "test"))
    noise = held_out + np.random.default_rng(0).normal(0, 0.2, held_out.shape)
    frozen = np.repeat(held_out[:, :1], 18, axis=1)
    reference = pf.pose_features(model, real)

    def distance(windows: np.ndarray) -> float:
        return frechet_of_features(pf.pose_features(model, windows.astype(np.float32)), reference)

    assert distance(noise) > distance(held_out)
    assert distance(frozen) > distance(held_out)
    np.testing.assert_array_equal(
        pf.pose_features(model, held_out), pf.pose_features(model, held_out)
    )
    assert pf.pose_features(model, held_out[:0]).shape == (0, pf.FEATURES)
