"""Answers: one JSON object a line, only ever appended to.

A line is on the disk before it is confirmed, and one write of one line is whole or, cut off by
a kill, ignored when read. No name, address or browser is kept: `rater` is a random number.
"""

from __future__ import annotations

import fcntl
import json
import os
from pathlib import Path
from typing import TypedDict, cast

FILE = "answers.jsonl"
LONGEST = 2000  # bytes of a line


class Answer(TypedDict):
    """One answer. `choice`: the media file, or the number of a sound check."""

    study: str
    rater: str
    item: str
    question: str
    choice: str
    seconds: float  # since the item was shown


def checked(data: object) -> Answer:
    """The answer in decoded JSON, without anything else that came with it. Raises `ValueError`."""
    if not isinstance(data, dict):
        raise ValueError("an answer is an object")
    texts = {name: data.get(name) for name in ("study", "rater", "item", "question", "choice")}
    for name, text in texts.items():
        if not isinstance(text, str) or not 0 < len(text) <= 100:
            raise ValueError(f"{name} must be a text of 1 to 100 characters")
    seconds = data.get("seconds")
    if not isinstance(seconds, int | float) or isinstance(seconds, bool) or not seconds >= 0:
        raise ValueError("seconds must be a number from 0")
    return cast(Answer, texts | {"seconds": float(seconds)})


def append(path: Path, answers: list[Answer]) -> None:
    """Add lines and wait until they are on the disk; writers of other processes wait for it."""
    lines = "".join(json.dumps(answer) + "\n" for answer in answers).encode()
    with open(path, "ab") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        if file.tell() and not _ends_with_newline(path):
            lines = b"\n" + lines  # after a line that a kill cut off
        file.write(lines)
        file.flush()
        os.fsync(file.fileno())


def _ends_with_newline(path: Path) -> bool:
    with open(path, "rb") as file:
        file.seek(-1, os.SEEK_END)
        return file.read(1) == b"\n"


def read(paths: list[Path]) -> tuple[list[Answer], int]:
    """Every whole answer of these files in order, and how many lines were none."""
    found: list[Answer] = []
    bad = 0
    for path in paths:
        for line in path.read_bytes().splitlines():
            try:
                found.append(checked(json.loads(line)))
            except ValueError:
                bad += bool(line.strip())
    return found, bad
