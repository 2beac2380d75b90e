"""Half of a batch on each of two CPU threads: for small networks this uses the cores better than
PyTorch's own threads inside each operation."""

from __future__ import annotations

import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

import torch

T = TypeVar("T")

# The number of OpenMP threads belongs to the thread that sets it, so each sets its own once.
_HALVES = ThreadPoolExecutor(
    2, thread_name_prefix="half-batch", initializer=lambda: torch.set_num_threads(1)
)


def halves(batch: int, device: str | torch.device) -> list[slice]:
    """The rows of a batch as one slice, or as two where a CPU has a thread for each."""
    cores = min(torch.get_num_threads(), len(os.sched_getaffinity(0)))
    if torch.device(device).type != "cpu" or batch < 2 or cores < 2:
        return [slice(0, batch)]
    middle = (batch + 1) // 2
    return [slice(0, middle), slice(middle, batch)]


def on_each(work: Callable[[slice], T], parts: list[slice]) -> list[T]:
    """Run `work` on all parts concurrently; the process' number of threads is restored afterwards.

    Inside a part PyTorch uses one thread, so a part's result does not depend on the machine's
    cores.
    """
    if len(parts) == 1:
        return [work(parts[0])]
    threads = torch.get_num_threads()
    torch.set_num_threads(1)  # MKL's number of threads is global
    try:
        return list(_HALVES.map(work, parts))
    finally:
        torch.set_num_threads(threads)
