"""Errors that a user can act on, where a traceback would only hide the message.

The command line and Dagster show these as one sentence; anything else surfaces as it is.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager

_FRONTEND = "PAHA_FRONTEND"  # inherited by the processes that a stage starts


class UserError(Exception):
    """A problem that a user can solve; the message states it and what to do."""


class StageError(UserError):
    """A stage that can't run in the store's present state."""


class Interrupted(Exception):
    """A trainer received SIGTERM or SIGINT and saved a checkpoint to resume from."""


EXPECTED = (UserError, FileNotFoundError, PermissionError)  # what is shown as one sentence


def run_first(*stages: str) -> str:
    """The instruction to run missing stages, worded for the interface in use: ``run
    `paha run clips` first`` in a shell, ``materialise `clips` first`` in Dagster.
    """
    if os.environ.get(_FRONTEND) == "dagster":
        return f"materialise {' and '.join(f'`{stage}`' for stage in stages)} first"
    return f"run {' and '.join(f'`paha run {stage}`' for stage in stages)} first"


@contextmanager
def under_dagster() -> Iterator[None]:
    """Within the block, and in processes that it starts, `run_first` names Dagster assets."""
    before = os.environ.get(_FRONTEND)
    os.environ[_FRONTEND] = "dagster"
    try:
        yield
    finally:
        if before is None:
            del os.environ[_FRONTEND]
        else:
            os.environ[_FRONTEND] = before
