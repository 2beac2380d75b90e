"""Errors in a user's words, and which errors are such."""

from __future__ import annotations


class StepError(RuntimeError):
    """A step that can't run as things are; the message says what to do."""


def is_expected(error: BaseException) -> bool:
    """Whether a user can act on the error's own words; its traceback would only hide them."""
    named = {"PresetError", "TrainingError", "CsvError", "MediaError", "ShardError", "InputError"}
    named |= {"DeviceError", "DownloadError"}
    names = {kind.__name__ for kind in type(error).__mro__}
    return isinstance(error, StepError | FileNotFoundError | PermissionError) or bool(named & names)


def is_interruption(error: BaseException) -> bool:
    """Whether a trainer was asked to stop, and has saved itself."""
    return type(error).__name__ == "Interrupted"
