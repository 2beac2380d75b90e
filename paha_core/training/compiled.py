"""torch.compile for training, and a check that the compiled network has the right gradient."""

from __future__ import annotations

import logging

import torch
from torch import nn

from paha_core.config import TrainerConfig
from paha_core.training.run import TrainingError

log = logging.getLogger("paha")

RECOMPILATIONS = 256  # per layer: blocks differ in width, classifiers' batches in length
LARGEST_DIFFERENCE = {"float32": 0.01, "bf16": 0.1}  # relative; bf16 alone causes 0.02


def compile_model(model: nn.Module, trainer: TrainerConfig, device: torch.device) -> None:
    """Compile the blocks that the model names as repeated, each a small graph that is ready in
    seconds, or the whole network where it names none. In place: same weights, same names.

    Raises `TrainingError` for bf16 on a CPU, where Inductor's code for such graphs gave most
    convolutions no gradient at all.
    """
    if device.type == "cpu" and trainer.precision == "bf16":
        raise TrainingError(
            "trainer.compile with trainer.precision bf16 loses gradients on a CPU: turn one of "
            "them off"
        )
    torch._dynamo.config.recompile_limit = RECOMPILATIONS
    names = {
        name for module in model.modules() for name in getattr(module, "_repeated_blocks", ()) or ()
    }
    blocks = [module for module in model.modules() if type(module).__name__ in names]
    for block in blocks or [model]:
        block.compile(dynamic=False)
    what = f"{len(blocks)} repeated blocks, each by itself" if blocks else "the network as a whole"
    log.info("torch.compile: %s of %s", what, type(model).__name__)


def check_gradient(compiled: torch.Tensor, eager: torch.Tensor, precision: str) -> None:
    """Raises `TrainingError` where the compiled network's gradient is not the eager one's."""
    difference = float((compiled - eager).norm() / eager.norm().clamp_min(1e-12))
    log.info("torch.compile: the first gradient differs by %.2g from the eager one", difference)
    if not difference <= LARGEST_DIFFERENCE[precision]:
        raise TrainingError(
            f"torch.compile changes the gradient by {difference:.0%} here: set trainer.compile to "
            "false"
        )
