"""One cell of a benchmark: a number with its interval, its extractor and its protocol, or the
reason for none.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING

import pyarrow as pa

from paha_core.metrics.protocol import PROTOCOL

if TYPE_CHECKING:
    from paha_core.config import Preset

SCHEMA = pa.schema(
    [
        ("suite", pa.string()),
        ("system", pa.string()),  # real | a mode | a control | any system's name
        ("dataset", pa.string()),  # pats | cnas | all
        ("metric", pa.string()),
        ("value", pa.float64()),  # null: missing, see `reason`
        ("low", pa.float64()),  # bounds of the 95 % bootstrap interval; null with one clip
        ("high", pa.float64()),
        ("n", pa.int64()),  # samples behind the value, in the metric's own unit (`Metric.sample`)
        ("clips", pa.int64()),  # clips they are of
        ("unit", pa.string()),
        ("direction", pa.string()),  # which way is better: see `Metric`
        ("extractor", pa.string()),  # what made the features; a stand-in under its own name
        ("extractor_sha256", pa.string()),
        ("protocol", pa.string()),  # `Protocol.name`
        ("reason", pa.string()),  # why the value is missing, in words; empty otherwise
    ]
)


@dataclass(frozen=True)
class Metric:
    """What a metric is called and which way is better.

    `direction`: up, down, or real: the nearer to the real videos' value the better, since both a
    blurred and an oversharpened picture are wrong. `sample`: what `n` counts. `claims_sync`:
    whether it says that picture and voice go together in time; a shifted voice then makes it worse.
    """

    name: str
    title: str
    unit: str
    direction: str
    sample: str = "clips"
    digits: int = 3
    claims_sync: bool = False


METRICS: dict[str, Metric] = {
    m.name: m
    for m in (
        Metric("fvd", "FVD", "", "down", "windows", 1),
        Metric("fvd[studio-r3d]", "FVD[studio-r3d]", "", "down", "windows", 1),
        Metric("fvd[corpus-r3d]", "FVD[corpus-r3d]", "", "down", "windows", 1),
        Metric("fgd", "FGD", "", "down", "windows", 2),
        Metric("diversity", "Diversity", "", "up", "windows", 2),
        Metric("bas", "BAS", "", "up"),
        Metric("bas_aist", "BAS, AIST++ way", "", "up"),
        Metric("beat_error", "Beat error, drawn truth", "s", "down", claims_sync=True),
        Metric("sync_c", "Sync-C", "", "up", digits=2, claims_sync=True),
        Metric("sync_d", "Sync-D", "", "down", digits=2, claims_sync=True),
        Metric("face_track", "Face track for Sync-C", "share of clips", "up"),
        Metric("lip_correlation", "Lip correlation", "", "up", claims_sync=True),
        Metric("lip_correlation_truth", "Lip correlation, drawn truth", "", "up", claims_sync=True),
        Metric("lip_correlation_exchanged", "Lip correlation, audio exchanged", "", "down"),
        Metric("identity", "Identity", "cosine", "up"),
        Metric("identity_hog", "Identity[hog-colour]", "cosine", "up"),
        Metric("face_share", "Face found", "share of frames", "up"),
        Metric("background_psnr", "Background PSNR", "dB", "up", digits=1),
        Metric("sharpness_face", "Sharpness, face", "grey levels²", "real", digits=0),
        Metric("sharpness_hands", "Sharpness, hands", "grey levels²", "real", digits=0),
        Metric("flicker", "Background flicker", "grey levels", "down", digits=2),
        Metric("flicker_face", "Flicker, face", "grey levels", "real", digits=2),
        Metric("flicker_hands", "Flicker, hands", "grey levels", "real", digits=2),
        Metric("tc", "Time cost", "s per segment", "down", "repeats", 2),
        Metric("tc_solver", "Time cost, solver", "s per segment", "down", "repeats", 2),
        Metric("tc_classifiers", "Time cost, classifiers", "s per segment", "down", "repeats", 2),
        Metric("tc_codec", "Time cost, codec", "s per segment", "down", "repeats", 2),
    )
}

FVD_STAND_INS = ("fvd[studio-r3d]", "fvd[corpus-r3d]")


def fvd_stand_in(preset: Preset) -> str:
    """The Fréchet distance by a network that the corpus trained, called by what that corpus is."""
    drawn, filmed = FVD_STAND_INS
    return filmed if preset.corpora.studio is None else drawn


def shortfall(direction: str, value: float, real: float | None) -> float | None:
    """How bad a value is: lower is better, whatever the direction. None where that can't be said:
    a direction of `real` without the real videos' value.
    """
    if direction == "real":
        return None if real is None else abs(value - real)
    return -value if direction == "up" else value


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

    def __post_init__(self) -> None:
        if (self.value is None) != bool(self.reason):
            raise ValueError(
                f"{self.system}/{self.metric}: a row has a value or a reason for none, not both"
            )


def rows_to_table(rows: Sequence[MetricRow]) -> pa.Table:
    """The rows in Arrow's form; `MetricRow(**row)` of its `to_pylist()` takes each back."""
    return pa.Table.from_pylist([asdict(row) for row in rows], schema=SCHEMA)
