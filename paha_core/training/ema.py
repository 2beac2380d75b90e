"""The exponential moving average of the weights, which is what validation and exports use."""

from __future__ import annotations

import torch
from torch import nn


class Average:
    """Exponential moving average of the weights, with the usual short memory at the start."""

    def __init__(self, model: nn.Module, decay: float) -> None:
        self.decay = decay
        self.weights = [p.detach().clone() for p in model.parameters()]

    @torch.no_grad()
    def update(self, model: nn.Module, step: int) -> None:
        decay = min(self.decay, (1 + step) / (10 + step))
        torch._foreach_lerp_(self.weights, [p.detach() for p in model.parameters()], 1 - decay)

    def applied(self, model: nn.Module) -> _Applied:
        return _Applied(model, self.weights)


class _Applied:
    """Within the block the model holds the averaged weights and is in eval mode."""

    def __init__(self, model: nn.Module, weights: list[torch.Tensor]) -> None:
        self.model, self.weights = model, weights

    def _swap(self) -> None:
        for parameter, weight in zip(self.model.parameters(), self.weights, strict=True):
            parameter.data, weight.data = weight.data, parameter.data

    def __enter__(self) -> nn.Module:
        self._swap()
        return self.model.eval()

    def __exit__(self, *_: object) -> None:
        self._swap()
        self.model.train()
