"""TC: seconds to generate one segment by itself, and where they go (timed by
`paha_core.inference.timing`)."""

from __future__ import annotations

from paha_core.store import Store

PARTS = ("solver", "classifiers", "codec")
HELD_OUT = "generated/times.json"  # of the stage `generated_clips`

Times = dict[str, list[dict[str, float]]]
"""Of each mode or row, one repeat after the other: `tc` and `tc_<part>` for each of `PARTS`, in
seconds. The parts need not add up to `tc`."""


def read_times(store: Store, rel: str) -> Times:
    """What was timed there; nothing before it was."""
    return dict(store.read_json(rel)["times"]) if store.exists(rel) else {}
