"""torch.compile for training, and a check that the compiled network has the right gradient."""

from __future__ import annotations

import logging

import torch
from torch import nn

from paha_core.config import TrainerConfig, refused_precision
from paha_core.models.compiled import LARGEST_DIFFERENCE, compile_blocks, relative_difference
from paha_core.training.run import TrainingError

log = logging.getLogger("paha")


def compile_model(model: nn.Module, trainer: TrainerConfig, device: torch.device) -> None:
    """Compile the repeated blocks of a model (`compile_blocks`).

    Raises `TrainingError` for bf16 on a CPU.
    """
    if refused := refused_precision("trainer", trainer.precision, True, device.type):
        raise TrainingError(refused)
    count = compile_blocks(model)
    what = f"{count} repeated blocks, each by itself" if count else "the network as a whole"
    log.info("torch.compile: %s of %s", what, type(model).__name__)


def check_gradient(compiled: torch.Tensor, eager: torch.Tensor, precision: str) -> None:
    """Raises `TrainingError` where the compiled network's gradient is not the eager one's."""
    difference = relative_difference(compiled, eager)
    log.info("torch.compile: the first gradient differs by %.2g from the eager one", difference)
    if not difference <= LARGEST_DIFFERENCE[precision]:
        raise TrainingError(
            f"torch.compile changes the gradient by {difference:.0%} here: set trainer.compile to "
            "false"
        )
