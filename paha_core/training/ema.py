"""The exponential moving average of the weights, which validation and exports use."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import nn


class EMA:
    """Exponential moving average of the weights, with the usual lower decay at the start.

    Only the main process keeps one, since only it validates and exports.
    """

    def __init__(self, model: nn.Module, decay: float) -> None:
        self.decay = decay
        self.weights = [p.detach().clone() for p in model.parameters()]

    @torch.no_grad()
    def update(self, model: nn.Module, step: int, finite: torch.Tensor) -> None:
        """Update with the weights after `step`, unless that was skipped; `finite` is a scalar on
        the device and is used without a synchronisation."""
        decay = min(self.decay, (1 + step) / (10 + step))
        share = torch.where(finite, 1 - decay, 0.0)
        weights = [p.detach() for p in model.parameters()]
        shares = [share.to(weight.dtype) for weight in weights]
        torch._foreach_lerp_(self.weights, weights, shares)

    @contextmanager
    def applied_to(self, model: nn.Module) -> Iterator[nn.Module]:
        """Within the block the model holds the averaged weights and is in eval mode."""
        self._swap(model)
        try:
            yield model.eval()
        finally:
            self._swap(model)
            model.train()

    def _swap(self, model: nn.Module) -> None:
        for parameter, weight in zip(model.parameters(), self.weights, strict=True):
            parameter.data, weight.data = weight.data, parameter.data
