"""The video encoder of FVD's stand-in, trained on the corpus' real training clips.

Its pretext task needs no labels: it classifies how a window of 16 frames was changed. Not at all,
played twice as fast, every frame shown twice, frames shuffled (recognising temporal
transformations, Jenni, Meishvili and Favaro 2020), or blurred (spotting artifacts, Jenni and Favaro
2018). As a result, real windows of all speakers are close together in feature space, and windows
that look or move wrong are far from them (docs/results/video_encoder.md).
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import nn

from paha_core.config import Preset, TrainConfig
from paha_core.engine.manifest_stage import kept_rows
from paha_core.media.frames import read_first
from paha_core.metrics.protocol import PROTOCOL
from paha_core.metrics.video_features import SmallR3D, preprocess
from paha_core.store import Store
from paha_core.training.loop import fit
from paha_core.training.run import Metrics, Run, Scalars, TrainingError, step_generator
from paha_core.training.tasks.feature_networks import FILE, export_weights, feature_network_config

CODE_VERSION = "1"
NAME = "video_encoder"
WEIGHTS = f"checkpoints/{NAME}/final/{FILE}"
WINDOW = PROTOCOL.video_window
KINDS = ("as filmed", "fast", "held", "shuffled", "soft")
SPAN = {"fast": 2 * WINDOW, "held": WINDOW // 2}  # frames of the clip that a window shows
FRAMES = 64  # frames kept of each clip, a limit on memory
HELD_OUT = 64  # clips


class Pretext(nn.Module):
    """The encoder with a linear head: windows `[B, 3, 16, 64, 64]` to logits over `KINDS`."""

    def __init__(self) -> None:
        super().__init__()
        self.encoder = SmallR3D()
        self.head = nn.Linear(SmallR3D.features, len(KINDS))

    def forward(self, windows: torch.Tensor) -> torch.Tensor:
        return self.head(self.encoder.encode(windows))


class VideoTask:
    """`train` and `held_out`: clips, uint8 `[T, 64, 64, 3]`, T from 32."""

    def __init__(
        self, train: list[np.ndarray], held_out: list[np.ndarray], config: TrainConfig
    ) -> None:
        self.train, self.config = train, config
        # Without held-out clips validation uses the training clips.
        self.held_out = held_out or train
        self.count, _ = config.shares()
        torch.manual_seed(config.seed)
        self.model: nn.Module = Pretext()

    def loss(self, model: Any, number: int) -> tuple[torch.Tensor, Metrics]:
        generator = step_generator(self.config.seed, number)
        windows, kinds = changed_windows(self.train, self.count, generator)
        logits = model(windows)
        kinds = kinds.to(logits.device)
        accuracy = (logits.detach().argmax(1) == kinds).float().mean()
        return F.cross_entropy(logits, kinds), {"accuracy": accuracy}

    @torch.no_grad()
    def validate(self, model: Any) -> Scalars:
        generator = torch.Generator().manual_seed(self.config.seed)
        windows, kinds = changed_windows(self.held_out, 8 * len(KINDS), generator)
        logits = model(windows).cpu()
        return {
            "validation_loss": float(F.cross_entropy(logits, kinds)),
            "validation_accuracy": float((logits.argmax(1) == kinds).float().mean()),
        }

    def export(self, model: Any, folder: Path) -> None:
        export_weights(model.encoder, folder)


def changed_windows(
    clips: list[np.ndarray], count: int, generator: torch.Generator
) -> tuple[torch.Tensor, torch.Tensor]:
    """Windows `[count, 3, 16, 64, 64]` in -1..1 of random clips, and how each was changed: an
    index of `KINDS`, all equally often."""
    kinds = torch.arange(count) % len(KINDS)
    windows = [changed(_any(clips, generator), KINDS[kind], generator) for kind in kinds]
    return torch.stack(windows), kinds


def changed(clip: np.ndarray, kind: str, generator: torch.Generator) -> torch.Tensor:
    """A window `[3, 16, 64, 64]` of a clip `[T, 64, 64, 3]` changed by one of `KINDS`."""
    frames = torch.arange(WINDOW)
    if kind == "fast":
        frames = 2 * frames
    elif kind == "held":
        frames = frames // 2
    elif kind == "shuffled":
        frames = torch.randperm(WINDOW, generator=generator)
    start = torch.randint(len(clip) - SPAN.get(kind, WINDOW) + 1, (), generator=generator)
    window = torch.from_numpy(clip[(start + frames).numpy()]).permute(3, 0, 1, 2) / 127.5 - 1
    return _blurred(window, generator) if kind == "soft" else window


def _blurred(window: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
    """Blurred by shrinking the frames 1.3 to 4 times."""
    side = window.shape[-1]
    factor = 1.3 + 2.7 * float(torch.rand((), generator=generator))
    small = F.interpolate(window, size=(round(side / factor),) * 2, mode="area")
    return F.interpolate(small, size=(side, side), mode="bilinear", align_corners=False)


def _any(clips: list[np.ndarray], generator: torch.Generator) -> np.ndarray:
    return clips[int(torch.randint(len(clips), (), generator=generator))]


def train_config(preset: Preset) -> TrainConfig:
    """Two threads, a micro-batch each."""
    steps = preset.benchmark.video_encoder_steps
    return feature_network_config(
        steps,
        preset.benchmark.seed,
        batch=4 * len(KINDS),
        micro_batch=2 * len(KINDS),
        replicas=2,
        learning_rate=5e-3,
        warmup=min(20, steps // 4),
    )


def chosen_rows(store: Store, preset: Preset, split: str, most: int) -> list[dict[str, Any]]:
    """At most `most` of a split's clips that are long enough, spread evenly."""
    rows = kept_rows(store, "clips", preset.corpora.datasets)
    rows = [r for r in rows if r["split"] == split and (r["frames"] or 0) >= SPAN["fast"]]
    return rows[:: max(1, -(-len(rows) // most))]


def load_clips(store: Store, rows: list[dict[str, Any]]) -> list[np.ndarray]:
    """The first frames of each clip at the encoder's size: uint8 `[T, 64, 64, 3]`."""
    clips = []
    for row in rows:
        with store.reading(row["path"]) as path:
            video = preprocess(read_first(path, FRAMES), SmallR3D.side)
        clips.append(((video + 1) * 127.5).round().byte().permute(1, 2, 3, 0).numpy())
    return clips


def video_run(store: Store, preset: Preset, device: str = "cpu") -> Run:
    """The run's name and fingerprint: clips and settings."""
    rows = chosen_rows(store, preset, "train", preset.benchmark.video_references)
    clips = [(row["clip_id"], row["sha256"]) for row in rows]
    run = Run.of(store, NAME, train_config(preset), preset.trainer, [CODE_VERSION, clips])
    return replace(run, device=device)


def train_video_encoder(store: Store, preset: Preset, run: Run | None = None) -> bool:
    """Train it; returns whether anything had to be done.

    Raises `TrainingError` when the corpus has too few long training clips.
    """
    run = run or video_run(store, preset)
    if run.is_done():
        return False
    rows = chosen_rows(store, preset, "train", preset.benchmark.video_references)
    if len(rows) < 2:
        raise TrainingError(
            f"there are {len(rows)} training clips of {SPAN['fast']} frames or more, the video "
            "encoder needs 2: look at manifests/clips"
        )
    held_out = load_clips(store, chosen_rows(store, preset, "test", HELD_OUT))
    config = train_config(preset)
    return fit(VideoTask(load_clips(store, rows), held_out, config), config, run)
