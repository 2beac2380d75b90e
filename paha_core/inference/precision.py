"""The precision and the repeatability of what networks compute while they generate."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager

import torch

from paha_core.config import Precision

# cuBLAS repeats its sums bit for bit only with a fixed workspace, which it reads when it starts.
os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")


def autocast(device: torch.device, precision: Precision) -> torch.autocast:
    """bfloat16 for the operations that allow it; the other precisions change no types."""
    return torch.autocast(device.type, torch.bfloat16, enabled=precision == "bf16")


@contextmanager
def repeatable(device: str, precision: Precision) -> Iterator[None]:
    """Within it a GPU computes the same bits each time, as a CPU does, and float32 products use
    TF32 only if `precision` is "tf32".

    An operation that has no deterministic form raises: with a warning alone, PyTorch's
    memory-efficient attention would keep the split of its backward pass that is not.
    """
    deterministic = torch.are_deterministic_algorithms_enabled()
    warn_only = torch.is_deterministic_algorithms_warn_only_enabled()
    cuda, cudnn = torch.backends.cuda.matmul, torch.backends.cudnn
    tf32 = cuda.allow_tf32, cudnn.allow_tf32
    torch.use_deterministic_algorithms(deterministic or device.startswith("cuda"))
    cuda.allow_tf32 = cudnn.allow_tf32 = precision == "tf32"
    try:
        yield
    finally:
        torch.use_deterministic_algorithms(deterministic, warn_only=warn_only)
        cuda.allow_tf32, cudnn.allow_tf32 = tf32
