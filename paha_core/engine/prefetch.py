"""Compute the next items while the current one is used."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Generator, Iterable
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing
from itertools import islice, repeat
from typing import TypeVar

A = TypeVar("A")
B = TypeVar("B")


def ahead(
    work: Callable[[A], B], items: Iterable[A], depth: int = 1, threads: int = 1
) -> Generator[B]:
    """`work(item)` for each item, in order, up to `depth` of them computed ahead in `threads`.

    An exception surfaces at the item it belongs to. Leaving the loop stops the threads after the
    items they work on.
    """
    source = iter(items)
    pool = ThreadPoolExecutor(threads, thread_name_prefix="ahead")
    try:
        waiting: deque[Future[B]] = deque(pool.submit(work, i) for i in islice(source, depth))
        while waiting:
            result = waiting.popleft().result()
            waiting.extend(pool.submit(work, item) for item in islice(source, 1))
            yield result
    finally:
        pool.shutdown(wait=True, cancel_futures=True)


def in_background(items: Iterable[A], depth: int = 2) -> Generator[A]:
    """The items, made in a thread of their own while the caller works on earlier ones.

    At most `depth` of them wait. An exception of `items` surfaces after the items before it.
    """
    source = iter(items)
    end = object()
    # One thread reads, so the source is never entered twice.
    with closing(ahead(lambda _: next(source, end), repeat(None), depth)) as made:
        for item in made:
            if item is end:
                return
            yield item  # type: ignore[misc]
