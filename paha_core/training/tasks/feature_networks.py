"""What the small networks that metrics look through have in common: their schedule, their file."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from safetensors.torch import save_file
from torch import nn

from paha_core.config import TrainConfig

FILE = "model.safetensors"


def space_config(steps: int, seed: int, **sizes: Any) -> TrainConfig:
    """A half cosine, no weight decay and no averaging: such a network is small. `sizes`: the rest
    of `TrainConfig`."""
    return TrainConfig(
        steps=steps,
        decay="cosine",
        weight_decay=0,
        ema=0,
        checkpoint_every=max(steps // 4, 1),
        validate_every=max(steps // 10, 1),
        seed=seed,
        **sizes,
    )


def export_space(model: nn.Module, folder: Path) -> None:
    """Its weights without metadata: safetensors writes such entries in random order, and the hash
    would change."""
    state = {name: value.contiguous() for name, value in model.state_dict().items()}
    save_file(state, folder / FILE)
