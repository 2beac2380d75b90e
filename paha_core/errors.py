"""Errors in a user's words, which a traceback would only hide.

The command line and Dagster show these as one sentence; anything else surfaces as it is.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager

_FRONTEND = "PAHA_FRONTEND"  # inherited by the processes that a stage starts


class UserError(Exception):
    """What a user can put right; the message says what is wrong and what to do."""


class StageError(UserError):
    """A stage that can't run as things are."""


class Interrupted(Exception):
    """A trainer was asked to stop (SIGTERM) and has saved a checkpoint to resume from."""


EXPECTED = (UserError, FileNotFoundError, PermissionError)  # what is shown as one sentence


def run_first(*stages: str) -> str:
    """What to do about stages that have not run, in the words of the way in that is used: ``run
    `paha run clips` first`` in a shell, ``materialise `clips` first`` in Dagster.
    """
    if os.environ.get(_FRONTEND) == "dagster":
        return f"materialise {' and '.join(f'`{stage}`' for stage in stages)} first"
    return f"run {' and '.join(f'`paha run {stage}`' for stage in stages)} first"


@contextmanager
def under_dagster() -> Iterator[None]:
    """During the block, and in the processes that it starts, `run_first` speaks of assets."""
    before = os.environ.get(_FRONTEND)
    os.environ[_FRONTEND] = "dagster"
    try:
        yield
    finally:
        if before is None:
            del os.environ[_FRONTEND]
        else:
            os.environ[_FRONTEND] = before
