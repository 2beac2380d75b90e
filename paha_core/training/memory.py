"""Estimates the memory and FLOPs of work on a GPU without running it there.

The work runs on meta tensors, which have shapes and no data. The most bytes allocated at any time
are its peak, and every matrix product, convolution and attention is counted. Where CUDA differs
from a CPU, CUDA's rules are applied: under autocast norms run in float32, and attention takes the
fused kernels, which keep no attention matrix.
"""

from __future__ import annotations

import weakref
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import Any
from unittest import mock

import torch
from torch.nn import functional as F
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves, tree_map
from torch.utils.flop_counter import flop_registry

ATEN = torch.ops.aten
# Of CUDA's autocast lists those operations that occur in the project's networks.
IN_HALF: list[tuple[Any, str]] = [
    *((F, name) for name in ("linear", "conv1d", "conv2d", "conv3d")),
    (F, "scaled_dot_product_attention"),
    *((torch, name) for name in ("matmul", "bmm", "baddbmm")),
    *((torch.Tensor, name) for name in ("matmul", "__matmul__", "bmm")),
]
IN_FLOAT32: list[tuple[Any, str]] = [
    *((F, name) for name in ("group_norm", "layer_norm", "softmax", "softplus")),
    (torch, "softmax"),
    (torch.Tensor, "softmax"),
]


@dataclass(frozen=True)
class StepCost:
    """Costs of one call of the traced work."""

    peak_bytes: int  # activations, gradients and temporaries allocated at the peak
    flops: int


def cost_of_step(make_step: Callable[[], Callable[[], object]]) -> StepCost:
    """Trace the step that `make_step` builds; it also makes model and inputs, without data.

    The step uses `torch.autocast("cpu")` in place of CUDA's autocast. Memory is that of the
    step alone: what `make_step` itself allocates is not counted, nor are workspaces of cuDNN and
    cuBLAS.
    """
    with torch.device("meta"):
        step = make_step()
        with _cuda_rules(), _Meter() as meter:
            step()
    return StepCost(meter.peak, meter.flops)


@contextmanager
def _cuda_rules() -> Iterator[None]:
    """Operations on meta tensors follow CUDA's autocast and its choice of attention kernels."""
    copies: dict[int, tuple[torch.Tensor, torch.Tensor]] = {}  # of weights, as autocast keeps them

    def to_half(value: Any) -> Any:
        if not isinstance(value, torch.Tensor) or value.dtype != torch.float32:
            return value
        dtype = torch.get_autocast_dtype("cpu")
        if not (value.is_leaf and value.requires_grad) or value._is_view():
            return value.to(dtype)
        if id(value) not in copies:
            copies[id(value)] = value, value.to(dtype)
        return copies[id(value)][1]

    def autocast(function: Any, change: Callable[[Any], Any]) -> Callable[..., Any]:
        def run(*args: Any, **kwargs: Any) -> Any:
            if torch.is_autocast_enabled("cpu"):
                args, kwargs = tree_map(change, (args, kwargs))
            return function(*args, **kwargs)

        return run

    with ExitStack() as patches:
        for operations, change in ((IN_HALF, to_half), (IN_FLOAT32, _to_float32)):
            for owner, name in operations:
                is_attention = name == "scaled_dot_product_attention"
                function = _attention if is_attention else getattr(owner, name)
                rule = autocast(function, change)
                patches.enter_context(mock.patch.object(owner, name, rule))
        # Leaving an autocast region frees the half-precision copies.
        patches.enter_context(mock.patch.object(torch, "clear_autocast_cache", copies.clear))
        yield


def _to_float32(value: Any) -> Any:
    is_half = isinstance(value, torch.Tensor) and value.dtype in (torch.bfloat16, torch.float16)
    return value.float() if is_half else value


def _attention(
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    attn_mask: torch.Tensor | None = None,
    dropout_p: float = 0.0,
    is_causal: bool = False,
    scale: float | None = None,
    **_: Any,
) -> torch.Tensor:
    """The kernel CUDA chooses: flash attention in half precision, else the memory-efficient one."""
    if attn_mask is not None or query.dtype == torch.float32:
        keep = any(x.requires_grad for x in (query, key, value)) and torch.is_grad_enabled()
        output = ATEN._scaled_dot_product_efficient_attention(
            query, key, value, attn_mask, keep, dropout_p, is_causal, scale=scale
        )
    else:
        output = ATEN._scaled_dot_product_flash_attention(
            query, key, value, dropout_p, is_causal, scale=scale
        )
    attended: torch.Tensor = output[0]
    return attended


class _Meter(TorchDispatchMode):
    """Context that tracks the bytes of live storages and counts FLOPs."""

    def __init__(self) -> None:
        super().__init__()
        self.bytes = self.peak = self.flops = 0
        self._known: set[int] = set()

    def __torch_dispatch__(
        self, func: Any, types: Any, args: Any = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        kwargs = kwargs or {}
        before = {x.untyped_storage()._cdata for x in tree_leaves((args, kwargs)) if _is_tensor(x)}
        result = func(*args, **kwargs)
        if count := flop_registry.get(func._overloadpacket):
            self.flops += count(*args, **kwargs, out_val=result)
        for tensor in filter(_is_tensor, tree_leaves(result)):
            storage = tensor.untyped_storage()
            key = storage._cdata
            if key in before or key in self._known:
                continue
            self._known.add(key)
            self.bytes += storage.nbytes()
            weakref.finalize(storage, self._freed, key, storage.nbytes())
        self.peak = max(self.peak, self.bytes)
        return result

    def _freed(self, key: int, size: int) -> None:
        self._known.discard(key)
        self.bytes -= size


def _is_tensor(x: object) -> bool:
    return isinstance(x, torch.Tensor)
