"""What a training run is: its task, where it keeps its things, and what can befall it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

import torch
from torch import nn

from paha_core.config import TrainerConfig
from paha_core.errors import UserError
from paha_core.store import Store

Figures = dict[str, float]
Told = dict[str, Any]  # figures: numbers, or tensors that are not read before they are logged


class TrainingError(UserError):
    """A run that can't go on; the message says where and what to do."""


class Task(Protocol):
    """What `fit` trains.

    One that takes its share of every batch when several processes train it says of how many they
    are in `world`; others are trained by one process.
    """

    model: nn.Module

    def loss(self, model: Any, step: int) -> tuple[torch.Tensor, Told]:
        """The loss of `model` at step `step`, a pure function of both, and figures for the log."""
        ...

    def validate(self, model: Any) -> Figures:
        """Figures on held-out data with fixed noise; names start with `validation_`."""
        ...

    def export(self, model: Any, folder: Path) -> None:
        """Save `model` as users load it."""
        ...


@dataclass
class Run:
    """Where a run keeps its things, how it is executed, and who hears of it."""

    store: Store
    name: str
    fingerprint: str
    on_figures: Callable[[int, Figures], None] = lambda step, figures: None
    milestones: Mapping[int, str] = field(
        default_factory=dict
    )  # step -> name of an export kept for good
    log_every: int = 10
    trainer: TrainerConfig = field(default_factory=TrainerConfig)
    on_validation: Callable[[int, Any], None] = lambda step, model: None  # the averaged model

    @property
    def folder(self) -> str:
        return f"checkpoints/{self.name}"

    @property
    def final(self) -> str:
        return f"{self.folder}/final"

    def is_done(self, export: str = "final") -> bool:
        """Whether that export is there and was made from the same settings and data."""
        rel = f"{self.folder}/{export}/training.json"
        return (
            self.store.exists(rel) and self.store.read_json(rel)["fingerprint"] == self.fingerprint
        )


def step_generator(seed: int, step: int) -> torch.Generator:
    """The random numbers of one step: the same whoever draws them, and after any restart."""
    return torch.Generator().manual_seed((seed * 1_000_003 + step) % (2**63))
