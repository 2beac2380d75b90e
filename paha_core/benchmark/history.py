"""Results by checkpoint: what was measured when, what was accepted, and what got worse.

`benchmark/history.parquet` holds one row for each cell of each evaluation. An evaluation is known
by its checkpoint: a hash of the networks' fingerprints. The first one is accepted; later ones are
when nothing regressed, or when a person says so (`paha evaluate --accept`).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import pyarrow as pa

from paha_core.config import Preset
from paha_core.errors import UserError
from paha_core.metrics.row import METRICS, SCHEMA, MetricRow, rows_to_table
from paha_core.networks import NETWORKS, fingerprint
from paha_core.store import Store, sha256_json

PATH = "benchmark/history.parquet"
HISTORY_SCHEMA = pa.schema(
    [
        ("checkpoint", pa.string()),
        ("measured_at", pa.timestamp("us", tz="UTC")),
        ("accepted", pa.bool_()),
        *SCHEMA,
    ]
)
NOT_JUDGED = {"lip_correlation_exchanged"}  # a control


def checkpoint_of(store: Store, preset: Preset) -> str:
    """A hash of the networks that the preset's videos are made by, and of how; 16 characters."""
    found = [fingerprint(store, name) for name in NETWORKS]
    return sha256_json([found, preset.generation.settings()])[:16]


def read(store: Store) -> list[dict[str, Any]]:
    return store.read_table(PATH).to_pylist() if store.exists(PATH) else []


def append(store: Store, preset: Preset, rows: Sequence[MetricRow]) -> None:
    """Add an evaluation; one of the same checkpoint and protocol takes its earlier one's place."""
    checkpoint, old = checkpoint_of(store, preset), read(store)
    kept = [row for row in old if row["checkpoint"] != checkpoint]
    made = {"checkpoint": checkpoint, "measured_at": datetime.now(UTC)}
    new = [made | row for row in rows_to_table(rows).to_pylist()]
    accepted = _last_accepted(kept)
    calm = not accepted or not regressions(new, accepted)
    new = [row | {"accepted": calm} for row in new]
    store.write_table(PATH, pa.Table.from_pylist([*kept, *new], schema=HISTORY_SCHEMA))


def accept(store: Store) -> str:
    """Accept the newest evaluation, whatever it says; returns its checkpoint.

    Raises `UserError` when there is none.
    """
    rows = read(store)
    if not rows:
        raise UserError("nothing has been evaluated yet: run `paha evaluate`")
    newest = max(rows, key=lambda row: row["measured_at"])["checkpoint"]
    changed = [row | {"accepted": row["accepted"] or row["checkpoint"] == newest} for row in rows]
    store.write_table(PATH, pa.Table.from_pylist(changed, schema=HISTORY_SCHEMA))
    return str(newest)


@dataclass(frozen=True)
class Regression:
    """A cell that is worse than the accepted one by more than both intervals."""

    system: str
    metric: str
    before: float
    now: float

    @property
    def words(self) -> str:
        digits = METRICS[self.metric].digits
        values = f"{self.before:.{digits}f} to {self.now:.{digits}f}"
        return f"{self.system}: {METRICS[self.metric].title} from {values}"


def regressions(
    new: Sequence[dict[str, Any]], accepted: Sequence[dict[str, Any]]
) -> list[Regression]:
    """What got worse beyond the interval: each value lies outside the other's interval.

    Only the system's own numbers over all datasets count; times are the machine's affair. Numbers
    of another protocol or extractor are not compared.
    """
    same = ("system", "dataset", "metric", "protocol", "extractor", "extractor_sha256")
    before = {tuple(row[name] for name in same): row for row in accepted}
    scope = "all" if any(row["dataset"] == "all" for row in new) else None
    found = []
    for row in new:
        old = before.get(tuple(row[name] for name in same))
        if old is None or row["value"] is None or old["value"] is None:
            continue
        if row["dataset"] != (scope or row["dataset"]) or row["metric"].startswith("tc"):
            continue
        if row["metric"] in NOT_JUDGED:
            continue
        sign = 1 if row["direction"] == "up" else -1
        worse = sign * (row["value"] - old["value"]) < 0
        beyond = not old["low"] <= row["value"] <= old["high"]
        if worse and beyond and not row["low"] <= old["value"] <= row["high"]:
            found.append(Regression(row["system"], row["metric"], old["value"], row["value"]))
    return found


@dataclass(frozen=True)
class Verdict:
    """What the newest evaluation is worth beside the last accepted one before it."""

    checkpoint: str
    against: str  # empty: there was none
    regressions: list[Regression]
    evaluations: int

    @property
    def words(self) -> str:
        if not self.checkpoint:
            return "nothing has been evaluated yet"
        if not self.against:
            return f"{self.checkpoint} is the first evaluation: nothing to compare with"
        if not self.regressions:
            return f"{self.checkpoint} is no worse than {self.against}"
        said = "; ".join(r.words for r in self.regressions[:3])
        return f"{self.checkpoint} is worse than {self.against}: {said}"


def judge(store: Store) -> Verdict:
    """Compare the newest evaluation with the last accepted one of another checkpoint."""
    rows = read(store)
    if not rows:
        return Verdict("", "", [], 0)
    newest = max(rows, key=lambda row: row["measured_at"])["checkpoint"]
    new = [row for row in rows if row["checkpoint"] == newest]
    accepted = _last_accepted([row for row in rows if row["checkpoint"] != newest])
    against = accepted[0]["checkpoint"] if accepted else ""
    count = len({row["checkpoint"] for row in rows})
    return Verdict(newest, against, regressions(new, accepted), count)


def _last_accepted(rows: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    accepted = [row for row in rows if row["accepted"]]
    if not accepted:
        return []
    last = max(accepted, key=lambda row: row["measured_at"])["checkpoint"]
    return [row for row in accepted if row["checkpoint"] == last]
