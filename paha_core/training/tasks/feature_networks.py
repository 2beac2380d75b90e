"""Shared by the metrics' feature extractors: their training schedule and their weight file."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from safetensors.torch import save_file
from torch import nn

from paha_core.config import TrainConfig

FILE = "model.safetensors"


def feature_network_config(steps: int, seed: int, **sizes: Any) -> TrainConfig:
    """A half-cosine schedule without weight decay and EMA, because these networks are small.
    `sizes`: the other fields of `TrainConfig`."""
    return TrainConfig(
        steps=steps,
        decay="cosine",
        weight_decay=0,
        ema=0,
        checkpoint_every=max(steps // 4, 1),
        validate_every=max(steps // 10, 10),  # it costs as much as some steps
        seed=seed,
        **sizes,
    )


def export_weights(model: nn.Module, folder: Path) -> None:
    """Save weights without metadata: safetensors writes metadata in random order, which would
    change the file's hash."""
    state = {name: value.contiguous() for name, value in model.state_dict().items()}
    save_file(state, folder / FILE)
