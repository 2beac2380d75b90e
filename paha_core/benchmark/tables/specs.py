"""The paper's tables as runs: what each row changes, and its baseline row.

A row's name is the one printed in the paper (`tables.PUBLISHED`). What the paper fixes is fixed
here: the guidance rate is 0.5 but in table 2. The strengths that the rows share come from
`benchmark.suite.guidance`; a sweep multiplies its own by the paper's factors, so that the row `0.8`
of table 5 is 0.8 times the strength of row `1.0`. Table 4 is the user study.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from paha_core.config import GuidanceConfig, Mode, Preset
from paha_core.errors import StageError

RATE = 0.5  # the paper's, wherever it is not what varies


@dataclass(frozen=True)
class SuiteRow:
    """`times` multiplies strengths; `training` changes what networks are trained."""

    name: str
    mode: Mode
    rate: float = RATE
    times: Mapping[str, float] = field(default_factory=dict)
    training: Mapping[str, Any] = field(default_factory=dict)

    def guidance(self, preset: Preset) -> GuidanceConfig:
        """The row's guidance: strengths of the suite, the form of the preset."""
        strengths = preset.benchmark.suite.guidance.settings()
        scaled = {k: round(v * self.times.get(k, 1.0), 12) for k, v in strengths.items()}
        return GuidanceConfig(**scaled, rate=self.rate, form=preset.generation.guidance.form)


@dataclass(frozen=True)
class Suite:
    """One table. `others`: names of other systems, which are included where their videos were
    imported."""

    number: int
    rows: tuple[SuiteRow, ...]
    baseline: str
    others: tuple[str, ...] = ()

    @property
    def name(self) -> str:
        return f"table{self.number}"


def require_distinct(suite: Suite, preset: Preset) -> None:
    """Raises `StageError` where two rows would be the same run, so that the table would compare a
    video with itself. SG and DG at a rate of 0 % are the same run in the paper too.
    """
    seen: dict[str, str] = {}
    for row in suite.rows:
        if row.mode == "unguided" and not row.training:
            continue
        read = row.guidance(preset).effective_settings(row.mode, preset.generation.ddim_steps)
        run = json.dumps([read, row.training], sort_keys=True, default=dict)
        if run in seen:
            raise StageError(
                f"{suite.name}: rows {seen[run]!r} and {row.name!r} would be the same run; give "
                "benchmark.suite.guidance strengths, and generation.ddim_steps enough to tell "
                "rates apart"
            )
        seen[run] = row.name


def _rate(title: str, mode: Mode, percent: int) -> SuiteRow:
    """A row of one guidance rate; a rate of 0 is unguided, whatever the mode."""
    if not percent:
        return SuiteRow(f"{title} 0 %", "unguided")
    return SuiteRow(f"{title} {percent} %", mode, percent / 100)


_RATES = (0, 25, 50, 75, 100)
_TABLE_2 = (
    *(_rate("SG", "sequential", percent) for percent in _RATES),
    *(_rate("DG", "differential", percent) for percent in _RATES),
)
_NO_PAR: Mapping[str, Any] = {"univdm": {"par": False}}
_TABLE_3 = (
    SuiteRow("w/o PAR", "sequential", training=_NO_PAR),
    SuiteRow("w/o non-face classifier", "sequential", times={"lambda_non_face": 0.0}),
    SuiteRow("w/o face classifier", "sequential", times={"lambda_face": 0.0}),
    SuiteRow("w/o PAR + two classifiers", "unguided", training=_NO_PAR),
    SuiteRow("w/o augmentation", "sequential", training={"negatives": {"augment": False}}),
    SuiteRow("Ours", "sequential"),
)


def _sweep(number: int, key: str, values: tuple[str, ...], baseline: str) -> Suite:
    """One lambda under Differential Guidance, the others as they are."""
    rows = tuple(
        SuiteRow(value, "differential", times={key: float(value) / float(baseline)})
        for value in values
    )
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
    5: _sweep(5, "lambda_non_face", ("0.8", "0.9", "1.0", "1.1", "1.2"), "1.0"),
    6: _sweep(6, "lambda_face", ("0.05", "0.10", "0.15", "0.20", "0.25"), "0.10"),
    7: _sweep(7, "lambda_diff", ("0.15", "0.20", "0.25", "0.30", "0.35"), "0.25"),
}
