"""The pose space: the autoencoder trained on real training poses, and its reference."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np

from paha_core.benchmark.videos import KeypointSource
from paha_core.config import Preset
from paha_core.metrics import pose_features as pf
from paha_core.metrics.row import PROTOCOL
from paha_core.stages import kept_rows
from paha_core.store import Store, sha256_json

if TYPE_CHECKING:
    from paha_core.pose.keypoints import Keypoints

CHECKPOINT = "checkpoints/pose_autoencoder"


@dataclass(frozen=True)
class PoseSpace:
    """`name` and `sha256` go into every row; `reference`: real training features `[N, 32]` by
    dataset.
    """

    model: pf.PoseAutoencoder
    name: str
    sha256: str
    reference: dict[str, np.ndarray] = field(default_factory=dict)

    def features(self, keypoints: Keypoints | None) -> np.ndarray:
        """Features of a clip's windows `[N, 32]`; N is 0 without a pose or when it is too short."""
        points = pf.gesture_points(keypoints) if keypoints is not None else None
        if points is None:
            return np.zeros((0, pf.FEATURES), np.float32)
        return pf.pose_features(self.model, pf.pose_windows(points, window=self.model.window))


def pose_space(
    store: Store, preset: Preset, source: KeypointSource, shortest: int
) -> PoseSpace | str:
    """Load the autoencoder, or train it when poses or settings changed; a reason in words if it
    can't.

    `shortest`: frames of the shortest evaluated clip. The window is HA2G's 34 frames at 15 fps, or
    the longest that this clip fills.
    """
    window = pf.longest_window(shortest)
    if window < 8:
        return f"clips of {shortest} frames are too short for a pose window"
    rows = kept_rows(store, "keypoints", preset.corpora.datasets)
    rows = [row for row in rows if row["split"] == "train"]
    windows: dict[str, list[np.ndarray]] = {}
    for row in rows:
        keypoints = source.real(row["clip_id"])
        points = pf.gesture_points(keypoints) if keypoints is not None else None
        if points is not None:
            dataset = row["clip_id"].split("/")[0]
            windows.setdefault(dataset, []).append(pf.pose_windows(points, window=window))
    by_dataset = {name: np.concatenate(parts) for name, parts in windows.items()}
    total = sum(len(w) for w in by_dataset.values())
    if total < 2:
        return f"the training clips give {total} pose windows; materialise `keypoints` first"
    everything = np.concatenate(list(by_dataset.values()))
    model, sha256 = _trained(store, preset, everything, [row["sha256"] for row in rows])
    name = f"pose-autoencoder[w{window}, 15 fps, {preset.pose.detector}]"
    reference = {d: pf.pose_features(model, w) for d, w in by_dataset.items()}
    reference["all"] = np.concatenate(list(reference.values()))
    return PoseSpace(model, name, sha256, reference)


def _trained(
    store: Store, preset: Preset, windows: np.ndarray, poses: list[str]
) -> tuple[pf.PoseAutoencoder, str]:
    settings = preset.benchmark
    fingerprint = sha256_json(
        {
            "protocol": PROTOCOL,
            "poses": poses,
            "window": windows.shape[1],
            "steps": settings.pose_autoencoder_steps,
            "seed": settings.seed,
        }
    )
    state, weights = f"{CHECKPOINT}/state.json", f"{CHECKPOINT}/model.safetensors"
    if store.exists(state) and store.read_json(state)["fingerprint"] == fingerprint:
        return pf.load_autoencoder(store.read_bytes(weights))
    model = pf.train_pose_autoencoder(
        windows, steps=settings.pose_autoencoder_steps, seed=settings.seed
    )
    data, sha256 = pf.autoencoder_bytes(model)
    store.write_bytes(weights, data)
    about = {"fingerprint": fingerprint, "sha256": sha256, "windows": len(windows)}
    store.write_json(state, about | {"window": windows.shape[1]})
    return model, sha256
