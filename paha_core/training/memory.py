"""What a step of training needs, known beforehand: the step is run on tensors without data."""

from __future__ import annotations

import weakref
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch._subclasses import FakeTensorMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
from torch.utils.flop_counter import FlopCounterMode


@dataclass(frozen=True)
class StepCost:
    """Of one forward and backward pass."""

    peak_bytes: int  # activations, gradients and temporaries alive at the worst moment
    flops: int


def cost_of_step(make_step: Callable[[], Callable[[], object]]) -> StepCost:
    """Trace the step that `make_step` builds; model and inputs are made in there, without data.

    Memory is that of the step alone: what `make_step` itself allocates is not counted.
    """
    with FakeTensorMode():
        step = make_step()
        with FlopCounterMode(display=False) as flops:
            step()
        with _Alive() as alive:  # apart: the counter's hooks keep activations alive
            step()
    return StepCost(alive.peak, flops.get_total_flops())


class _Alive(TorchDispatchMode):
    """Adds up the storages that come to be within it and are not yet freed."""

    def __init__(self) -> None:
        super().__init__()
        self.now = self.peak = 0
        self._known: set[int] = set()

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        given = {x.untyped_storage()._cdata for x in tree_leaves((args, kwargs)) if _is_tensor(x)}
        made = func(*args, **(kwargs or {}))
        for tensor in filter(_is_tensor, tree_leaves(made)):
            storage = tensor.untyped_storage()
            key = storage._cdata
            if key in given or key in self._known:
                continue
            self._known.add(key)
            self.now += storage.nbytes()
            weakref.finalize(storage, self._freed, key, storage.nbytes())
        self.peak = max(self.peak, self.now)
        return made

    def _freed(self, key: int, size: int) -> None:
        self._known.discard(key)
        self.now -= size


def _is_tensor(x: object) -> bool:
    return isinstance(x, torch.Tensor)
