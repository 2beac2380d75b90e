"""The files of a stage's manifest: one a speaker, each rewritten only when its rows change.

Rows stay in columns (pyarrow): of 100,000 rows, most of the time would go into Python objects.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Collection, Mapping
from contextlib import AbstractContextManager
from functools import lru_cache
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from paha_core.engine.claims import Claim, claimed
from paha_core.engine.table_cache import read_tables
from paha_core.store import Store

CLAIM_WAIT = 600.0  # seconds that a run waits for another one that writes the same manifest
FILE = "file"  # a column while rows are divided into files

Row = dict[str, Any]


def manifest_path(stage: str, dataset: str) -> str:
    """The manifest of a stage that keeps it in one file. To read any, use `read_manifest`."""
    return f"manifests/{stage}/{dataset}.parquet"


def manifest_versions(store: Store, stage: str, dataset: str) -> dict[str, str]:
    """The files of a stage's manifest, of one dataset or (`*`) of all, with their versions; one
    request to an object store."""
    folder = f"manifests/{stage}/"
    name = "[^/]+" if dataset == "*" else re.escape(dataset)
    matches = re.compile(rf"{re.escape(folder)}{name}(/[^/]+)?\.parquet").fullmatch
    found = store.versions(folder if dataset == "*" else folder + dataset)
    whole_first = sorted(found, key=lambda rel: (rel.count("/"), rel))
    return {rel: found[rel] for rel in whole_first if matches(rel)}


def some_rows(table: pa.Table, columns: Collection[str] = ()) -> list[Row]:
    """The rows of a table, with these columns (as far as it has them) or all."""
    if columns:
        table = table.select([name for name in table.column_names if name in columns])
    rows: list[Row] = table.to_pylist()
    return rows


def with_column(table: pa.Table, name: str, values: list[Any]) -> pa.Table:
    """The table with one column's values replaced, or with one column more."""
    n = table.schema.get_field_index(name)
    if n < 0:
        return table.append_column(name, pa.array(values))
    field = table.schema.field(n)
    return table.set_column(n, field, pa.array(values, field.type))


class Manifest:
    """The files of one manifest, one per speaker. A file is written only when its rows changed, and
    keeps those rows of other runs that `keep_row` selects. Concurrent runs keep each other's rows:
    the writer holds the manifest's claim and reads the stored rows again before it writes.
    """

    def __init__(
        self,
        store: Store,
        stage: str,
        dataset: str,
        schema: pa.Schema,
        own_ids: Collection[str],
        keep_row: Callable[[Row], bool],
        finish: Callable[[pa.Table], pa.Table],
    ) -> None:
        self.store, self.schema = store, schema
        self.stage, self.dataset = stage, dataset
        self.keep_row, self.finish = keep_row, finish
        self.own_ids = pa.array(own_ids, pa.string())
        self.known: dict[str, tuple[str, pa.Table]] = {}  # each file's version and rows as read

    def read(self) -> pa.Table:
        """All rows that are stored now."""
        stored = self._stored(self._versions())
        return self._joined([self._in_schema(table) for table in stored.values()])

    def write(self, own: pa.Table, *, drop: bool = False) -> pa.Table:
        """Publish this run's rows, in the order of their ids; returns them with all others.

        drop: the rows of other speakers that `keep_row` does not select go as well.
        """
        parts, seen = self._by_file(own), self._versions()
        found, changed = self._changed(parts, drop, seen)
        if changed:
            with self._claimed():
                now = self._versions()
                if now != seen:  # another run has written since
                    found, changed = self._changed(parts, drop, now)
                for rel in changed:
                    if found[rel].num_rows:
                        self.store.write_table(rel, found[rel])
                # one file of all speakers, of an earlier version, becomes empty as well
                self.store.remove_files([rel for rel in changed if not found[rel].num_rows])
        rows = self._joined(list(found.values()))
        if drop and not rows.num_rows:  # a stage without any clip has a manifest too
            self.store.write_table(self._file("none"), rows)
        return rows

    def _changed(
        self, parts: Mapping[str, pa.Table], drop: bool, versions: Mapping[str, str]
    ) -> tuple[dict[str, pa.Table], list[str]]:
        """The rows of each file, and the files whose rows differ from those at these versions."""
        stored = self._stored(versions)
        found = {
            rel: self._merged(parts.get(rel), stored.get(rel), drop or rel in parts)
            for rel in {**stored, **parts}
        }
        finished, start = self.finish(self._joined(list(found.values()))), 0
        for rel, part in found.items():
            found[rel] = finished.slice(start, part.num_rows)
            start += part.num_rows
        empty = self.schema.empty_table()
        return found, [rel for rel in found if not _is_same(found[rel], stored.get(rel, empty))]

    def _merged(self, own: pa.Table | None, stored: pa.Table | None, drop: bool) -> pa.Table:
        """A file's rows: this run's, and those of others, with `drop` only those that are kept."""
        if stored is None:
            return own
        others = self._in_schema(stored)
        others = others.filter(pc.invert(pc.is_in(others["clip_id"], self.own_ids)))
        if drop and others.num_rows:
            others = others.filter([self.keep_row(row) for row in others.to_pylist()])
        if own is None or not others.num_rows:
            return others if own is None else own
        return pa.concat_tables([own, others]).sort_by("clip_id")

    def _by_file(self, table: pa.Table) -> dict[str, pa.Table]:
        """The rows of each speaker's file, in the order of their ids."""
        files = [self._file(speaker) for speaker in table["speaker"].to_pylist()]
        table = table.append_column(FILE, pa.array(files, pa.string()))
        table = table.sort_by([(FILE, "ascending"), ("clip_id", "ascending")])
        table = table.drop_columns(FILE)
        parts, start = {}, 0
        for rel, count in sorted(Counter(files).items()):
            parts[rel] = table.slice(start, count)
            start += count
        return parts

    def _stored(self, versions: Mapping[str, str]) -> dict[str, pa.Table]:
        known = {rel: version for rel, (version, _) in self.known.items()}
        new = {rel: version for rel, version in versions.items() if known.get(rel) != version}
        for rel, table in read_tables(self.store, new).items():
            self.known[rel] = versions[rel], table
        return {rel: self.known[rel][1] for rel in versions}

    def _in_schema(self, table: pa.Table) -> pa.Table:
        """The table's rows with the columns that the stage has now."""
        if table.schema.equals(self.schema):
            return table
        names = set(table.column_names)
        columns = [
            table[field.name].cast(field.type)
            if field.name in names
            else pa.nulls(table.num_rows, field.type)
            for field in self.schema
        ]
        return pa.table(columns, schema=self.schema)

    def _joined(self, tables: list[pa.Table]) -> pa.Table:
        return pa.concat_tables([self.schema.empty_table(), *tables])

    def _versions(self) -> dict[str, str]:
        return manifest_versions(self.store, self.stage, self.dataset)

    def _claimed(self) -> AbstractContextManager[Claim]:
        name = f"manifests/{self.stage}/{self.dataset}"
        return claimed(self.store, name, f"writing {name}", wait=CLAIM_WAIT)

    def _file(self, speaker: str | None) -> str:
        return f"manifests/{self.stage}/{self.dataset}/{_file_name(speaker)}.parquet"


def _is_same(table: pa.Table, stored: pa.Table) -> bool:
    """Whether both have the same columns and values; NaN equals NaN."""
    if table.num_rows != stored.num_rows or not table.schema.equals(stored.schema):
        return False
    return all(
        a.equals(b)
        or (pa.types.is_floating(a.type) and np.array_equal(a.to_numpy(), b.to_numpy(), True))
        for a, b in zip(table.columns, stored.columns, strict=True)
    )


@lru_cache(maxsize=4096)
def _file_name(speaker: str | None) -> str:
    return re.sub(r"[^\w-]", "_", speaker or "") or "unnamed"
