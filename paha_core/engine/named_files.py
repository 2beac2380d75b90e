"""The files that rows of manifests name, and which of them exist."""

from __future__ import annotations

import os
import re
from collections import defaultdict
from collections.abc import Iterable
from functools import lru_cache
from typing import Any

from paha_core.store import Store


def files_of(row: dict[str, Any]) -> set[str]:
    """The files that a row names, relative to the store."""
    return {row[name] for name in _path_columns(tuple(row)) if row[name]}


@lru_cache
def _path_columns(names: tuple[str, ...]) -> tuple[str, ...]:
    """Those that hold paths: `path`, `audio_path`, …"""
    return tuple(name for name in names if re.fullmatch("(.+_)?path", name))


def existing_files(store: Store, rows: Iterable[dict[str, Any]]) -> set[str]:
    """Which of the rows' files exist; an object store is listed once a stage."""
    named = {rel for row in rows for rel in files_of(row)}
    if store.is_local or not named:
        return {rel for rel in named if store.exists(rel)}
    folders: dict[str, set[str]] = defaultdict(set)  # rows may name files of several stages
    for rel in named:
        folders[rel.partition("/")[0]].add(os.path.dirname(rel))
    listed = (store.versions(f"{os.path.commonpath(each)}/") for each in folders.values())
    return named.intersection(rel for found in listed for rel in found)
