"""Errors in a user's words, which a traceback would only hide.

The command line and Dagster show these as one sentence; anything else surfaces as it is.
"""

from __future__ import annotations


class UserError(Exception):
    """What a user can put right; the message says what is wrong and what to do."""


class StageError(UserError):
    """A step that can't run as things are."""


class Interrupted(Exception):
    """A trainer was asked to stop (SIGTERM) and has saved itself: started again, it goes on."""


EXPECTED = (UserError, FileNotFoundError, PermissionError)  # what is shown as one sentence
