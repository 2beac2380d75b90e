"""Tables of an object store, downloaded once a process for each version of a file."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Mapping

import pyarrow as pa

from paha_core.store import Store

MOST_BYTES = 256 * 2**20  # limit for all cached tables; the least recently read are evicted first
_tables: OrderedDict[tuple[str, str, str], pa.Table] = OrderedDict()


def read_tables(store: Store, versions: Mapping[str, str]) -> dict[str, pa.Table]:
    """The tables of these files at these versions (`Store.versions`)."""
    return {rel: _read(store, rel, version) for rel, version in versions.items()}


def _read(store: Store, rel: str, version: str) -> pa.Table:
    if store.is_local:
        return store.read_table(rel)
    key = (store.uri(rel), rel, version)
    if key not in _tables:
        _tables[key] = store.read_table(rel)
        while len(_tables) > 1 and sum(table.nbytes for table in _tables.values()) > MOST_BYTES:
            _tables.popitem(last=False)
    _tables.move_to_end(key)
    return _tables[key]
