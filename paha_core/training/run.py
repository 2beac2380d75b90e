"""What a training run is: its task, where it keeps its things, and what can befall it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

import torch
from torch import nn

from paha_core.config import TrainConfig, TrainerConfig
from paha_core.errors import UserError
from paha_core.store import Store, sha256_json

Figures = dict[str, float]
Told = dict[str, Any]  # figures: numbers, or tensors that are not read before they are logged


class TrainingError(UserError):
    """A run that can't go on; the message says where and what to do."""


class Task(Protocol):
    """What `fit` trains; its model is moved to the run's device."""

    model: nn.Module

    def loss(self, model: Any, number: int) -> tuple[torch.Tensor, Told]:
        """The loss of `model` on micro-batch `number`, a pure function of both, and figures."""
        ...

    def validate(self, model: Any) -> Figures:
        """Figures on held-out data with fixed noise; names start with `validation_`."""
        ...

    def export(self, model: Any, folder: Path) -> None:
        """Save `model` as users load it."""
        ...


@dataclass
class Run:
    """Where a run keeps its things, how it is executed, and who hears of it.

    `fingerprint` is of all that decides the result; `lineage` of all but the schedule, which may
    change under way: a checkpoint of the same lineage can be gone on from.
    """

    store: Store
    name: str
    fingerprint: str
    lineage: str
    trainer: TrainerConfig = field(default_factory=TrainerConfig)
    device: str = "cpu"
    milestones: Mapping[int, str] = field(default_factory=dict)  # step -> export kept for good
    sources: Mapping[str, str] = field(default_factory=dict)  # what it is made from, for exports
    on_figures: Callable[[int, Figures], None] = lambda step, figures: None
    on_validation: Callable[[int, Any], None] = lambda step, model: None  # the averaged model

    @classmethod
    def of(
        cls, store: Store, name: str, train: TrainConfig, trainer: TrainerConfig, content: Any
    ) -> Run:
        """The run that makes a network from `content` (data, sizes, code version) by `train`."""
        lineage = sha256_json([content, train.identity(*train.schedule)])
        schedule = [getattr(train, name) for name in train.schedule]
        return cls(store, name, sha256_json([lineage, schedule]), lineage, trainer)

    @property
    def folder(self) -> str:
        return f"checkpoints/{self.name}"

    @property
    def final(self) -> str:
        return f"{self.folder}/final"

    def is_done(self) -> bool:
        """Whether the final export is there and was made from the same settings and data."""
        rel = f"{self.final}/training.json"
        return (
            self.store.exists(rel) and self.store.read_json(rel)["fingerprint"] == self.fingerprint
        )


@dataclass
class State:
    """How far a run is: what a checkpoint holds beside its tensors."""

    step: int = 0
    skipped_steps: int = 0  # were not finite


def step_generator(seed: int, step: int) -> torch.Generator:
    """The random numbers of one step: the same whoever draws them, and after any restart."""
    return torch.Generator().manual_seed((seed * 1_000_003 + step) % (2**63))
