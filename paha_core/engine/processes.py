"""Processes that do not outlive the process that started them."""

from __future__ import annotations

import ctypes
import multiprocessing
import multiprocessing.connection
import os
import signal
import sys
import threading
from functools import cache

INTERRUPTED = 75  # exit code of a trainer that saved a checkpoint and can be resumed
_PR_SET_PDEATHSIG = 1


def is_main_process() -> bool:
    """Whether this process has rank 0 among those of a launcher, or runs alone."""
    return os.environ.get("RANK", "0") == "0"


def die_with_parent(parent: int | None = None) -> None:
    """Ask the kernel (Linux) to send this process SIGTERM when its parent ends, for whatever
    reason.

    A kill -9 runs no clean-up code, so nothing else would stop its workers. With `parent`, the id
    of the process that should be the parent, a parent that is gone already ends this process at
    once. Elsewhere: no effect.
    """
    if not sys.platform.startswith("linux"):
        return
    ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)
    if parent is not None and os.getppid() != parent:
        os.kill(os.getpid(), signal.SIGTERM)


def quiet_native_stderr() -> None:
    """For a worker process, as it begins: what C++ libraries print to stderr goes nowhere; Python's
    own messages still come through. MediaPipe logs every graph it builds, and has no setting to
    stop it.
    """
    sys.stderr = os.fdopen(os.dup(2), "w", buffering=1)
    with open(os.devnull, "wb") as nowhere:
        os.dup2(nowhere.fileno(), 2)


@cache
def die_with_creator() -> None:
    """End this process (SIGTERM) when the process that created it through `multiprocessing` is
    gone.

    Not the same as the parent: a fork server is the parent of all it forks, and lives as long as
    they do. No effect in a process that was not made by `multiprocessing`.
    """
    creator = multiprocessing.parent_process()
    if creator is None:
        return

    def watch() -> None:
        multiprocessing.connection.wait([creator.sentinel])
        os.kill(os.getpid(), signal.SIGTERM)

    threading.Thread(target=watch, name="creator", daemon=True).start()
