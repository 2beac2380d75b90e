"""Names from strangers' lists and folders, made safe for ids and paths."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable
from functools import lru_cache

from paha_core.engine.manifest_stage import Rejection

# A leading dot, what separates folders, and control characters.
_UNSAFE = re.compile(r"\A\.|[/\\\x00-\x1f\x7f-\x9f]")
MAX_BYTES = 110  # of a name: file names of at most 255 bytes hold a corpus, a speaker and a clip


def require_plain_name(name: str, what: str) -> str:
    """`name` if it is one plain file name; raises `Rejection` when it could leave its folder."""
    if not name or name != name.strip():
        raise Rejection(f"the {what} is empty or has spaces around it: {name!r}")
    if _UNSAFE.search(name):
        raise Rejection(f"the {what} is not a plain name: {name!r}")
    return name


def normalized(name: str) -> str:
    """`name` in Unicode's composed form (NFC), in which names are compared: file systems and
    spreadsheets write an accented letter as one character or as two."""
    return unicodedata.normalize("NFC", name)


@lru_cache(maxsize=4096)  # a list names its speakers and videos in every row
def slug(name: str) -> str:
    """`name` as part of a clip id: letters of any script, digits, `-`, single `_`; never empty."""
    if name.isascii() and name.isalnum() and len(name) <= MAX_BYTES:
        return name
    plain = re.sub(r"[^\w-]+", "_", normalized(name))
    short = re.sub(r"_+", "_", plain).strip("_").encode()[:MAX_BYTES]
    return short.decode(errors="ignore").rstrip("_") or "unnamed"


def unique(names: Iterable[str]) -> list[str]:
    """The names in order, each later repetition with `_2`, `_3`, … behind it."""
    taken: set[str] = set()
    result = []
    for name in names:
        candidate, n = name, 1
        while candidate in taken:
            n += 1
            candidate = f"{name}_{n}"
        taken.add(candidate)
        result.append(candidate)
    return result
