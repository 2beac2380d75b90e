"""One cell of a benchmark: a number with its interval, its extractor and its protocol, or the
reason for none.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass

import pyarrow as pa

from paha_core.metrics.protocol import PROTOCOL

SCHEMA = pa.schema(
    [
        ("suite", pa.string()),
        ("system", pa.string()),  # real | a mode | a control | any system's name
        ("dataset", pa.string()),  # pats | cnas | all
        ("metric", pa.string()),
        ("value", pa.float64()),  # null: missing, see `reason`
        ("low", pa.float64()),  # bounds of the 95 % bootstrap interval; null with one clip
        ("high", pa.float64()),
        ("n", pa.int64()),  # samples behind the value, clips, windows or repeats (`Metric.kind`)
        ("clips", pa.int64()),  # clips they are of
        ("frames", pa.int64()),  # of these clips' videos
        ("unit", pa.string()),
        ("direction", pa.string()),  # which way is better: see `Metric`
        ("extractor", pa.string()),  # what made the features; a stand-in under its own name
        ("extractor_sha256", pa.string()),
        ("protocol", pa.string()),  # `Protocol.name`
        ("reason", pa.string()),  # why the value is missing, in words; empty otherwise
    ]
)


@dataclass(frozen=True)
class Missing:
    """Takes the place of a value: the reason why there is none, as a table prints it."""

    reason: str


@dataclass(frozen=True)
class MetricRow:
    """See `SCHEMA` for what each field holds."""

    suite: str
    system: str
    dataset: str
    metric: str
    value: float | None
    low: float | None
    high: float | None
    n: int
    unit: str
    direction: str
    extractor: str
    extractor_sha256: str
    protocol: str = PROTOCOL.name
    reason: str = ""
    clips: int = 0
    frames: int = 0

    def __post_init__(self) -> None:
        if (self.value is None) != bool(self.reason):
            raise ValueError(
                f"{self.system}/{self.metric}: a row has a value or a reason for none, not both"
            )


def rows_to_table(rows: Sequence[MetricRow]) -> pa.Table:
    """The rows in Arrow's form; `MetricRow(**row)` of its `to_pylist()` takes each back."""
    return pa.Table.from_pylist([asdict(row) for row in rows], schema=SCHEMA)
