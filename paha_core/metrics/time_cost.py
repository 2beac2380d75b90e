"""TC: seconds to generate one segment, and where they go."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

PARTS = ("solver", "classifiers", "codec")


def time_cost(row: Mapping[str, Any]) -> dict[str, float]:
    """Seconds per segment of one generated clip: `tc` in all, and `tc_<part>` for each of `PARTS`.

    `row`: a row of the manifest `generated_clips` (`segments`, `seconds`, `seconds_<part>`). The
    parts need not add up: reading, writing and muxing are in the total only. A clip without
    segments has no cost: `ValueError`.
    """
    segments = row["segments"]
    if not segments or segments < 1:
        raise ValueError(f"{row.get('clip_id')}: the manifest counts {segments} segments")
    costs = {"tc": float(row["seconds"]) / segments}
    for part in PARTS:
        if row.get(f"seconds_{part}") is not None:
            costs[f"tc_{part}"] = float(row[f"seconds_{part}"]) / segments
    return costs
