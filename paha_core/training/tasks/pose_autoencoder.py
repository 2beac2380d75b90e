"""The pose autoencoder of FGD and Diversity, trained on the corpus' real training poses."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import nn

from paha_core.config import Preset, TrainConfig
from paha_core.engine.manifest_stage import kept_rows
from paha_core.metrics import pose_features as pf
from paha_core.pose.keypoints import Keypoints
from paha_core.store import Store
from paha_core.training.loop import fit
from paha_core.training.run import Metrics, Run, Scalars, TrainingError, step_generator
from paha_core.training.tasks.feature_networks import FILE, export_weights, feature_network_config

CODE_VERSION = "1"
NAME = "pose_autoencoder"
WEIGHTS = f"checkpoints/{NAME}/final/{FILE}"
SHORTEST = 8  # frames of the shortest window that the network takes


class PoseTask:
    """L1 on poses and on their velocities (HA2G) of windows `[N, window, dim]`."""

    def __init__(self, train: np.ndarray, held_out: np.ndarray, config: TrainConfig) -> None:
        self.train, self.config = torch.from_numpy(train), config
        # Without held-out windows validation uses the training windows.
        self.held_out = torch.from_numpy(held_out if len(held_out) else train)
        torch.manual_seed(config.seed)
        model = pf.PoseAutoencoder(window=train.shape[1], dim=train.shape[2])
        model.mean.copy_(self.train.mean((0, 1)))
        # A floor of 0.02 shoulder widths: a joint that never moves must not turn jitter into the
        # main signal.
        model.deviation.copy_(self.train.std((0, 1)).clamp_min(0.02))
        self.model: nn.Module = model

    def loss(self, model: Any, number: int) -> tuple[torch.Tensor, Metrics]:
        generator = step_generator(self.config.seed, number)
        count = min(self.config.batch, len(self.train))
        indices = torch.randint(len(self.train), (count,), generator=generator)
        return reconstruction(model, self.train[indices]), {}

    @torch.no_grad()
    def validate(self, model: Any) -> Scalars:
        return {"validation_loss": float(reconstruction(model, self.held_out))}

    def export(self, model: Any, folder: Path) -> None:
        export_weights(model, folder)


def reconstruction(model: Any, windows: torch.Tensor) -> torch.Tensor:
    """L1 of standardised poses plus L1 of their differences in time, on the model's device."""
    windows = windows.to(next(model.parameters()).device, non_blocking=True)
    target = model.standardise(windows)
    output = model.decode(model.encode(windows))
    return F.l1_loss(output, target) + F.l1_loss(output.diff(dim=1), target.diff(dim=1))


def train_config(preset: Preset) -> TrainConfig:
    """At Adam's default learning rate."""
    benchmark = preset.benchmark
    return feature_network_config(
        benchmark.pose_autoencoder_steps, benchmark.seed, batch=64, learning_rate=1e-3
    )


def pose_window(store: Store, preset: Preset) -> int:
    """`benchmark.pose_window` (HA2G: 34 frames at 15 fps), or the longest that every held-out clip
    fills."""
    rows = kept_rows(store, "clips", preset.corpora.datasets)
    frames = [int(row["frames"]) for row in rows if row["split"] == "test" and row["frames"]]
    shortest = min([preset.generation.max_frames, *frames])
    return pf.longest_window(shortest, at_most=preset.benchmark.pose_window)


@dataclass(frozen=True)
class PoseWindows:
    """Windows `[N, window, 98]` of a split by dataset."""

    by_dataset: dict[str, np.ndarray]

    @property
    def all(self) -> np.ndarray:
        parts = [part for part in self.by_dataset.values() if len(part)]
        return np.concatenate(parts) if parts else np.zeros((0, SHORTEST, 1), np.float32)


def load_windows(store: Store, preset: Preset, split: str, window: int) -> PoseWindows:
    """The windows of every clip of the split whose poses can be normalised."""
    by_dataset: dict[str, list[np.ndarray]] = {}
    for row in kept_rows(store, "keypoints", preset.corpora.datasets):
        if row["split"] != split:
            continue
        with store.reading(row["path"]) as path:
            points = pf.gesture_points(Keypoints.load(path))
        if points is not None:
            windows = pf.pose_windows(points, window=window)
            by_dataset.setdefault(row["clip_id"].split("/")[0], []).append(windows)
    return PoseWindows({name: np.concatenate(parts) for name, parts in by_dataset.items()})


def pose_run(store: Store, preset: Preset, device: str = "cpu") -> Run:
    """The run's name and fingerprint: poses, window and settings."""
    rows = kept_rows(store, "keypoints", preset.corpora.datasets)
    poses = [(row["clip_id"], row["sha256"], row["split"]) for row in rows]
    content = [CODE_VERSION, pose_window(store, preset), poses]
    run = Run.of(store, NAME, train_config(preset), preset.trainer, content)
    return replace(run, device=device)


def train_pose_autoencoder(store: Store, preset: Preset, run: Run | None = None) -> bool:
    """Train it; returns whether anything had to be done.

    Raises `TrainingError` when the corpus has too few or too short poses.
    """
    run = run or pose_run(store, preset)
    if run.is_done():
        return False
    window = pose_window(store, preset)
    if window < SHORTEST:
        raise TrainingError(
            f"a held-out clip is too short for a pose window of {SHORTEST} frames at 15 fps; "
            "raise generation.max_frames or the corpus' shortest clip"
        )
    train = load_windows(store, preset, "train", window).all
    if len(train) < 2:
        raise TrainingError(
            f"the training clips give {len(train)} pose windows: look at manifests/keypoints"
        )
    held_out = load_windows(store, preset, "test", window).all
    return fit(PoseTask(train, held_out, train_config(preset)), train_config(preset), run)
