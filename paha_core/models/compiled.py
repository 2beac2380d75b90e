"""torch.compile of a network's repeated blocks, for training and for generation."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import nn

RECOMPILATIONS = 256  # per layer: blocks differ in width, batches in length
LARGEST_DIFFERENCE = {"float32": 0.01, "fp32": 0.01, "tf32": 0.05, "bf16": 0.1}
"""Of compiled and eager results, relative, by precision; bf16 alone causes 0.02."""


def compile_blocks(model: nn.Module, backend: str | Callable[..., Any] = "inductor") -> int:
    """Compile the blocks that the model names as repeated, each a small graph that is ready in
    seconds, with static shapes; the whole network where it names none. In place: same weights, same
    names. Returns the number of blocks, 0 for the whole."""
    torch._dynamo.config.recompile_limit = RECOMPILATIONS
    names = {
        name for module in model.modules() for name in getattr(module, "_repeated_blocks", ()) or ()
    }
    blocks = [module for module in model.modules() if type(module).__name__ in names]
    for block in blocks or [model]:
        block.compile(dynamic=False, backend=backend)
    return len(blocks)


def is_compiled(model: nn.Module) -> bool:
    """Whether any part of the model is compiled."""
    return any(module._compiled_call_impl is not None for module in model.modules())


def relative_difference(compiled: torch.Tensor, eager: torch.Tensor) -> float:
    """The norm of the difference over that of `eager`."""
    return float((compiled - eager).norm() / eager.norm().clamp_min(1e-12))
