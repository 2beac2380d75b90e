"""Scaled dot-product attention, by the kernel that is fast where it runs."""

from __future__ import annotations

import torch
from torch.nn import functional as F


def attention(query: torch.Tensor, key: torch.Tensor, value: torch.Tensor) -> torch.Tensor:
    """softmax(QK^T / sqrt(c)) V over the last two of [b, heads, length, c].

    On a CPU in float32 whatever autocast says: PyTorch's bfloat16 kernel takes two to eight times
    as long there in the backward pass (567 against 74 ms for 1024 sequences of 17).
    """
    if query.device.type == "cpu" and torch.is_autocast_enabled("cpu"):
        with torch.autocast("cpu", enabled=False):
            wide = F.scaled_dot_product_attention(query.float(), key.float(), value.float())
        return wide.to(query.dtype)
    return F.scaled_dot_product_attention(query, key, value)
