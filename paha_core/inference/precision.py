"""The precision that networks compute in while they generate."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch

from paha_core.config import Precision


def autocast(device: torch.device, precision: Precision) -> torch.autocast:
    """bfloat16 for the operations that allow it; float32 and TF32 change no types."""
    return torch.autocast(device.type, torch.bfloat16, enabled=precision == "bf16")


@contextmanager
def matmul_precision(precision: Precision) -> Iterator[None]:
    """Within it float32 products on a GPU may use TF32 only if `precision` is "tf32"."""
    cuda, cudnn = torch.backends.cuda.matmul, torch.backends.cudnn
    before = cuda.allow_tf32, cudnn.allow_tf32
    cuda.allow_tf32 = cudnn.allow_tf32 = precision == "tf32"
    try:
        yield
    finally:
        cuda.allow_tf32, cudnn.allow_tf32 = before
