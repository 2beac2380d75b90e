"""Weights in 8 bits: a quarter of the memory of float32 weights while a video is generated.

Each output channel of a linear layer or convolution has a scale, the largest of its weights / 127.
A layer's weights become float32 again for its own forward pass alone, so activations, and the
gradients that guide them, are those of a float32 network with rounded weights. A backward pass
keeps the float32 weights of its forward pass, except with gradient checkpointing. Biases, norms and
embeddings stay float32.
"""

from __future__ import annotations

import torch
from torch import nn
from torch.nn.utils import parametrize

LAYERS = (nn.Linear, nn.Conv1d, nn.Conv2d, nn.Conv3d)
LARGEST = 127


class Int8(nn.Module):
    """A weight [out, ...] as int8 [out, ...] and its scales, float32 [out, 1, ...]."""

    def right_inverse(self, weight: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        weight = weight.detach()
        scale = weight.abs().amax(dim=tuple(range(1, weight.ndim)), keepdim=True) / LARGEST
        scale = scale.clamp(min=torch.finfo(torch.float32).tiny)  # a channel of zeros
        return (weight / scale).round().to(torch.int8), scale

    def forward(self, rounded: torch.Tensor, scale: torch.Tensor) -> torch.Tensor:
        return rounded * scale


def to_int8(network: nn.Module) -> None:
    """Round the weights of all linear layers and convolutions, in place. A second call changes
    nothing. The network can't be saved or trained afterwards."""
    network.requires_grad_(False)
    for module in list(network.modules()):
        if isinstance(module, LAYERS) and not parametrize.is_parametrized(module):
            parametrize.register_parametrization(module, "weight", Int8(), unsafe=True)


def is_int8(network: nn.Module) -> bool:
    """Whether `to_int8` was called."""
    return any(isinstance(module, Int8) for module in network.modules())


def bytes_of(network: nn.Module) -> int:
    """Bytes of a network's weights."""
    return sum(weight.numel() * weight.element_size() for weight in network.parameters())
