"""The files that rows of manifests name, and which of them exist."""

from __future__ import annotations

import os
import re
from collections import defaultdict
from collections.abc import Iterable, Iterator
from contextlib import suppress
from functools import lru_cache
from typing import Any

import pyarrow as pa

from paha_core.store import Store


def files_of(row: dict[str, Any]) -> set[str]:
    """The files that a row names, relative to the store."""
    return {row[name] for name in _path_columns(tuple(row)) if row[name]}


@lru_cache
def _path_columns(names: tuple[str, ...]) -> tuple[str, ...]:
    """Those that hold paths: `path`, `audio_path`, …"""
    return tuple(name for name in names if re.fullmatch("(.+_)?path", name))


def files_in(table: pa.Table) -> set[str]:
    """The files that the rows of a table name."""
    return {rel for column in _path_values(table) for rel in column if rel}


def _path_values(table: pa.Table) -> list[list[str | None]]:
    return [table[name].to_pylist() for name in _path_columns(tuple(table.column_names))]


def complete_rows(store: Store, table: pa.Table) -> list[bool]:
    """Whether all files that a row names exist, for each row of a table."""
    found: set[str | None] = {*_existing(store, files_in(table)), "", None}
    return [found.issuperset(rels) for rels in zip(*_path_values(table), strict=True)]


def existing_files(store: Store, rows: Iterable[dict[str, Any]]) -> set[str]:
    """Which of the rows' files exist."""
    return _existing(store, {rel for row in rows for rel in files_of(row)})


def _existing(store: Store, named: set[str]) -> set[str]:
    """Which of these files exist; their folders are listed, an object store once a stage."""
    if not named:
        return set()
    folders = {rel.rpartition("/")[0] for rel in named}
    if store.is_local:
        return named.intersection(rel for folder in folders for rel in _local_files(store, folder))
    tops: dict[str, set[str]] = defaultdict(set)  # rows may name files of several stages
    for folder in folders:
        tops[folder.partition("/")[0]].add(folder)
    listed = (store.versions(f"{os.path.commonpath(each)}/") for each in tops.values())
    return named.intersection(rel for found in listed for rel in found)


def _local_files(store: Store, folder: str) -> Iterator[str]:
    prefix = f"{folder}/" if folder else ""
    with suppress(FileNotFoundError), os.scandir(store.full(folder)) as entries:
        yield from (prefix + entry.name for entry in entries)
