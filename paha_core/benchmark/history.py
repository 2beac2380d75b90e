"""Results by checkpoint: what was measured when, what was accepted, and what got worse.

`benchmark/history.parquet` holds one row for each cell of each evaluation. An evaluation is known
by its checkpoint, a hash of the networks' fingerprints, and its protocol. The first one of a
protocol is accepted; later ones are when nothing regressed, or when a user accepts them
(`paha evaluate --accept`).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TypedDict, cast

import pyarrow as pa

from paha_core.benchmark.measuring.systems import CONTROLS
from paha_core.config import Preset
from paha_core.errors import UserError
from paha_core.metrics.registry import METRICS, shortfall
from paha_core.metrics.row import SCHEMA, MetricRow, rows_to_table
from paha_core.store import Store, sha256_json
from paha_core.trained import NETWORKS, fingerprint

PATH = "benchmark/history.parquet"
HISTORY_SCHEMA = pa.schema(
    [
        ("checkpoint", pa.string()),
        ("measured_at", pa.timestamp("us", tz="UTC")),
        ("accepted", pa.bool_()),
        *SCHEMA,
    ]
)


class HistoryRow(TypedDict):
    """A row of the history: `HISTORY_SCHEMA`; the fields of `MetricRow` mean the same there."""

    checkpoint: str
    measured_at: datetime
    accepted: bool
    suite: str
    system: str
    dataset: str
    metric: str
    value: float | None
    low: float | None
    high: float | None
    n: int
    clips: int
    frames: int
    unit: str
    direction: str
    extractor: str
    extractor_sha256: str
    protocol: str
    reason: str


def checkpoint_of(store: Store, preset: Preset) -> str:
    """A hash of the networks that the preset's videos are made by, and of how; 16 characters."""
    found = [fingerprint(store, name) for name in NETWORKS]
    return sha256_json([found, preset.generation.settings()])[:16]


def read(store: Store) -> list[HistoryRow]:
    """Every evaluation's rows, oldest first; none before the first."""
    rows = store.read_table(PATH).to_pylist() if store.exists(PATH) else []
    return cast(list[HistoryRow], rows)


def newest(rows: Sequence[HistoryRow]) -> list[HistoryRow]:
    """The rows of the evaluation that was made last."""
    last = max((row["measured_at"] for row in rows), default=None)
    return [row for row in rows if row["measured_at"] == last]


def append(store: Store, preset: Preset, rows: Sequence[MetricRow]) -> None:
    """Add an evaluation; it replaces an earlier one of the same checkpoint and protocol, and stays
    accepted if that was.
    """
    old, made_by = read(store), (checkpoint_of(store, preset), rows[0].protocol)
    kept = [row for row in old if (row["checkpoint"], row["protocol"]) != made_by]
    replaced = [row for row in old if (row["checkpoint"], row["protocol"]) == made_by]
    made = {"checkpoint": made_by[0], "measured_at": datetime.now(UTC)}
    new = [made | row for row in rows_to_table(rows).to_pylist()]
    calm = not regressions(new, _last_accepted(kept, made_by[1]))
    accepted = calm or any(row["accepted"] for row in replaced)
    new = [row | {"accepted": accepted} for row in new]
    store.write_table(PATH, pa.Table.from_pylist([*kept, *new], schema=HISTORY_SCHEMA))


def accept(store: Store) -> str:
    """Accept the newest evaluation, even with regressions; returns its checkpoint.

    Raises `UserError` when there is none.
    """
    rows = read(store)
    if not rows:
        raise UserError("nothing has been evaluated yet: run `paha evaluate`")
    last = newest(rows)[0]
    now = [row["accepted"] or row["measured_at"] == last["measured_at"] for row in rows]
    changed = [row | {"accepted": accepted} for row, accepted in zip(rows, now, strict=True)]
    store.write_table(PATH, pa.Table.from_pylist(changed, schema=HISTORY_SCHEMA))
    return str(last["checkpoint"])


@dataclass(frozen=True)
class Regression:
    """A cell that is worse than the accepted one by more than both intervals."""

    system: str
    metric: str
    before: float
    now: float

    @property
    def message(self) -> str:
        digits = METRICS[self.metric].digits
        values = f"{self.before:.{digits}f} to {self.now:.{digits}f}"
        return f"{self.system}: {METRICS[self.metric].title} from {values}"


def cell_of(row: HistoryRow) -> tuple[str, ...]:
    """What two numbers must share to be compared, or joined by a line."""
    extractor = (row["extractor"], row["extractor_sha256"])
    return row["system"], row["dataset"], row["metric"], row["protocol"], *extractor


def interval_of(row: HistoryRow) -> tuple[float, float] | None:
    """The 95 % interval; None where the cell is missing or rests on one clip."""
    low, high = row["low"], row["high"]
    return None if low is None or high is None else (low, high)


def regressions(new: Sequence[HistoryRow], accepted: Sequence[HistoryRow]) -> list[Regression]:
    """What got worse beyond the interval: each value lies outside the other's interval.

    Only generated videos count, over all datasets; times are left out, since they depend on the
    machine. Numbers of another protocol or extractor are not compared.
    """
    before = {cell_of(row): row for row in accepted}
    real, real_before = _real_values(new), _real_values(accepted)
    scope = "all" if any(row["dataset"] == "all" for row in new) else None
    found = []
    for row in new:
        old, which = before.get(cell_of(row)), (row["dataset"], row["metric"])
        value, interval = row["value"], interval_of(row)
        if old is None or value is None or interval is None:
            continue
        old_value, old_interval = old["value"], interval_of(old)
        if old_value is None or old_interval is None:
            continue
        if row["dataset"] != (scope or row["dataset"]) or row["system"] in ("real", *CONTROLS):
            continue
        about = METRICS.get(row["metric"])
        if about is None or about.control or about.kind == "repeats":
            continue
        now = shortfall(row["direction"], value, real.get(which))
        then = shortfall(row["direction"], old_value, real_before.get(which))
        worse = now is not None and then is not None and now > then
        beyond = not old_interval[0] <= value <= old_interval[1]
        if worse and beyond and not interval[0] <= old_value <= interval[1]:
            found.append(Regression(row["system"], row["metric"], old_value, value))
    return found


def _real_values(rows: Sequence[HistoryRow]) -> dict[tuple[str, str], float | None]:
    return {(r["dataset"], r["metric"]): r["value"] for r in rows if r["system"] == "real"}


@dataclass(frozen=True)
class Verdict:
    """The newest evaluation compared with the last accepted one before it."""

    checkpoint: str
    against: str  # empty: there was none
    regressions: list[Regression]
    evaluations: int
    accepted: bool = False  # the newest itself: because nothing regressed, or by a person

    @property
    def passed(self) -> bool:
        return self.accepted or not self.regressions

    @property
    def message(self) -> str:
        if not self.checkpoint:
            return "nothing has been evaluated yet"
        if not self.against:
            return (
                f"no other networks were evaluated under this protocol: {self.checkpoint} has "
                "nothing to be compared with"
            )
        if not self.regressions:
            return f"{self.checkpoint} is no worse than {self.against}"
        worse = "; ".join(r.message for r in self.regressions[:3])
        but = " and was accepted" if self.accepted else ""
        return f"{self.checkpoint} is worse than {self.against}{but}: {worse}"


def judge(store: Store) -> Verdict:
    """Compare the newest evaluation with the last accepted other one under the same protocol."""
    rows = read(store)
    if not rows:
        return Verdict("", "", [], 0)
    new = newest(rows)
    others = [row for row in rows if row["measured_at"] != new[0]["measured_at"]]
    before = _last_accepted(others, new[0]["protocol"])
    against = before[0]["checkpoint"] if before else ""
    count = len({row["measured_at"] for row in rows})
    found = regressions(new, before)
    return Verdict(new[0]["checkpoint"], against, found, count, new[0]["accepted"])


def _last_accepted(rows: Sequence[HistoryRow], protocol: str) -> list[HistoryRow]:
    return newest([row for row in rows if row["accepted"] and row["protocol"] == protocol])
