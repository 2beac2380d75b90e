"""A training run: its task, its place in the store, its callbacks and its errors."""

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

Metrics = dict[str, Any]  # name -> number, or tensor that is not read before it is logged
Scalars = dict[str, float]


class TrainingError(UserError):
    """A run that can't continue; the message names the place and the remedy."""


class Task(Protocol):
    """What `fit` trains; its model is moved to the run's device."""

    model: nn.Module

    def loss(self, model: Any, number: int) -> tuple[torch.Tensor, Metrics]:
        """The loss of `model` on micro-batch `number`, a pure function of both, and metrics."""
        ...

    def validate(self, model: Any) -> Scalars:
        """Metrics on held-out data with fixed noise; names start with `validation_`."""
        ...

    def export(self, model: Any, folder: Path) -> None:
        """Save `model` as users load it."""
        ...


@dataclass
class Run:
    """Where a run keeps its files, how it is executed, and its callbacks.

    `fingerprint` covers all that decides the result; `lineage` all but the schedule, which may
    change during training: training can resume from a checkpoint of the same lineage.
    """

    store: Store
    name: str
    fingerprint: str
    lineage: str
    trainer: TrainerConfig = field(default_factory=TrainerConfig)
    device: str = "cpu"
    milestones: Mapping[int, str] = field(default_factory=dict)  # step -> export that is kept
    sources: Mapping[str, str] = field(default_factory=dict)  # what it is made from, for exports
    on_metrics: Callable[[int, Scalars], None] = lambda step, metrics: None
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
        """Whether the final export exists and was made from the same settings and data."""
        rel = f"{self.final}/training.json"
        return bool(self.store.read_json(rel, absent={}).get("fingerprint") == self.fingerprint)


@dataclass
class TrainingState:
    """How far a run is: what a checkpoint holds beside its tensors."""

    step: int = 0
    skipped_steps: int = 0  # whose loss or gradient was not finite
    skipped_in_a_row: int = 0


def step_generator(seed: int, step: int) -> torch.Generator:
    """The random numbers of a step or a sample: the same in every process, and at any restart."""
    return torch.Generator().manual_seed((seed * 1_000_003 + step) % (2**63))
