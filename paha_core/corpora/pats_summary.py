"""Summary of an ingestion of intervals: its figures, and a row for each wanted id."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Any, TypedDict

import pyarrow as pa

from paha_core.corpora.intervals import PatsInterval, interval_number, shared_videos
from paha_core.engine.manifest_stage import KEPT, REJECTED
from paha_core.media import FPS
from paha_core.store import Store

SPLIT_ID_SCHEMA = pa.schema(
    [
        ("interval_id", pa.string()),
        ("split", pa.string()),  # train | test, from the split file
        ("status", pa.string()),  # kept | rejected | not listed (in the csv)
        ("reason", pa.string()),
        ("clip_id", pa.string()),
    ]
)


class SplitIdRow(TypedDict):
    """A row of `SPLIT_ID_SCHEMA`: the status of one id of the split file."""

    interval_id: str
    split: str
    status: str
    reason: str
    clip_id: str


def split_ids_path(dataset: str) -> str:
    return f"manifests/split_ids/{dataset}.parquet"


# Columns of the clips' manifest that the figures are made of: all columns of 100,000 rows would
# take seconds to become Python objects.
SUMMARY_COLUMNS = ["clip_id", "status", "reason", "start", "end", "interval_seconds"]


def summary_path(dataset: str) -> str:
    return f"manifests/summaries/{dataset}.json"


def summary(
    rows: Sequence[PatsInterval],
    intervals: Sequence[PatsInterval],
    splits: Sequence[str],
    made: Sequence[dict[str, Any]],
) -> dict[str, float]:
    """Figures of a run: the csv's `rows`, the `intervals` they were joined to, their splits,
    and the manifest's rows."""
    kept = [n for n, row in enumerate(made) if row["status"] == KEPT]
    sides = [splits[n] for n in kept]
    wanted = [n for n, split in enumerate(splits) if split]
    return {
        "csv rows": len(rows),
        "rows joined to the interval they are a piece of": len(rows) - len(intervals),
        "train clips": sides.count("train"),
        "test clips": sides.count("test"),
        "train clips that the csv calls dev": sum(
            intervals[n].dataset == "dev" and splits[n] == "train" for n in kept
        ),
        "clips cut at the longest length": sum(
            made[n]["interval_seconds"] > made[n]["end"] - made[n]["start"] + 1 / FPS for n in kept
        ),
        **_videos("", [intervals[n] for n in kept], sides),
        **_videos(" of the list", [intervals[n] for n in wanted], [splits[n] for n in wanted]),
    }


def _videos(
    whose: str, intervals: Sequence[PatsInterval], sides: Sequence[str]
) -> dict[str, float]:
    test = {i.video for i, side in zip(intervals, sides, strict=True) if side == "test"}
    return {
        f"test videos{whose}": len(test),
        f"test videos{whose} that are also in train": len(shared_videos(intervals, sides)),
    }


def write_split_ids(
    store: Store,
    dataset: str,
    ids: dict[str, str],
    intervals: Sequence[PatsInterval],
    made: Sequence[dict[str, Any]],
) -> dict[str, float]:
    """A row for each wanted id; returns how many there are of each kind."""
    best: dict[str, dict[str, Any]] = {}
    for interval, row in zip(intervals, made, strict=True):
        number = interval_number(interval.id)
        if best.get(number, {}).get("status") != KEPT:
            best[number] = row
    absent = {"status": "not listed", "reason": "the csv has no such interval", "clip_id": ""}
    listed: list[SplitIdRow] = []
    for number, split in ids.items():
        row = best.get(number, absent)
        listed.append(
            {
                "interval_id": number,
                "split": split,
                "status": row["status"],
                "reason": row["reason"],
                "clip_id": row["clip_id"],
            }
        )
    store.write_table(split_ids_path(dataset), pa.Table.from_pylist(listed, schema=SPLIT_ID_SCHEMA))
    counts = Counter(row["status"] for row in listed)
    return {
        "wanted ids": len(listed),
        "wanted ids kept": counts[KEPT],
        "wanted ids rejected": counts[REJECTED],
        "wanted ids that the csv lacks": counts["not listed"],
    }
