"""The paper's tables as things to run: what each row changes, and which row it is held against.

A row's name is the one printed in the paper (`tables.PUBLISHED`). Table 4 is the user study.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

Mode = Literal["unguided", "sequential", "differential"]


@dataclass(frozen=True)
class SuiteRow:
    """`guidance` goes into `generation.guidance`; `training` changes what networks are trained."""

    name: str
    mode: Mode
    guidance: Mapping[str, float] = field(default_factory=dict)
    training: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Suite:
    """One table. `others`: names of systems whose videos enter it when they were taken over."""

    number: int
    rows: tuple[SuiteRow, ...]
    baseline: str
    others: tuple[str, ...] = ()

    @property
    def name(self) -> str:
        return f"table{self.number}"


def _rate(title: str, mode: Mode, percent: int) -> SuiteRow:
    """A guidance rate of nothing is no guidance, whatever the mode."""
    if not percent:
        return SuiteRow(f"{title} 0 %", "unguided")
    return SuiteRow(f"{title} {percent} %", mode, {"rate": percent / 100})


_RATES = (0, 25, 50, 75, 100)
_TABLE_2 = (
    *(_rate("SG", "sequential", percent) for percent in _RATES),
    *(_rate("DG", "differential", percent) for percent in _RATES),
)
_NO_PAR: Mapping[str, Any] = {"univdm": {"par": False}}
_TABLE_3 = (
    SuiteRow("w/o PAR", "sequential", training=_NO_PAR),
    SuiteRow("w/o non-face classifier", "sequential", {"non_face": 0.0}),
    SuiteRow("w/o face classifier", "sequential", {"face": 0.0}),
    SuiteRow("w/o PAR + two classifiers", "unguided", training=_NO_PAR),
    SuiteRow("w/o augmentation", "sequential", training={"negatives": {"augment": False}}),
    SuiteRow("Ours", "sequential"),
)


def _sweep(number: int, key: str, values: tuple[str, ...], baseline: str) -> Suite:
    """One lambda under Differential Guidance, the others as the preset has them."""
    rows = tuple(SuiteRow(value, "differential", {key: float(value)}) for value in values)
    return Suite(number, rows, baseline)


SUITES: dict[int, Suite] = {
    1: Suite(
        1,
        (SuiteRow("PAHA-SG", "sequential"), SuiteRow("PAHA-DG", "differential")),
        "PAHA-DG",
        ("SDT", "ANGIE", "MM-Diffusion", "S2G"),
    ),
    2: Suite(2, _TABLE_2, "SG 0 %"),
    3: Suite(3, _TABLE_3, "Ours"),
    5: _sweep(5, "non_face", ("0.8", "0.9", "1.0", "1.1", "1.2"), "1.0"),
    6: _sweep(6, "face", ("0.05", "0.10", "0.15", "0.20", "0.25"), "0.10"),
    7: _sweep(7, "differential", ("0.15", "0.20", "0.25", "0.30", "0.35"), "0.25"),
}
