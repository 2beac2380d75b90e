"""The paper's tables 1-3 and 5-7 as data. Published numbers, never ours; table 4 is the user study.

The paper contradicts itself in places (docs/design.md 11): those cells carry a note, and nothing
may gate on them.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass


@dataclass(frozen=True)
class PublishedCell:
    """One number: `metric` is a name of `paha_core.metrics.row.METRICS`."""

    table: int
    system: str
    dataset: str  # pats | cnas
    metric: str
    printed: str  # as the paper has it, zeros at the end included
    note: str = ""

    @property
    def value(self) -> float:
        return float(self.printed)


@dataclass(frozen=True)
class PublishedTable:
    number: int
    title: str
    row_name: str  # what a row is
    cells: tuple[PublishedCell, ...]

    @property
    def systems(self) -> list[str]:
        return list(dict.fromkeys(cell.system for cell in self.cells))

    def cell(self, system: str, metric: str, dataset: str = "pats") -> PublishedCell | None:
        """None where the paper has a dash."""
        for cell in self.cells:
            if (cell.system, cell.metric, cell.dataset) == (system, metric, dataset):
                return cell
        return None

    def value(self, system: str, metric: str, dataset: str = "pats") -> float | None:
        cell = self.cell(system, metric, dataset)
        return None if cell is None else cell.value


_FIVE = ("fvd", "bas", "fgd", "sync_c", "diversity")

_SG_DIVERSITY = "SG's Diversity is 100.917 in tables 1 and 3, 99.604 in table 2"
_DG_FVD = "DG's FVD is 2048.75 in tables 1 and 2, 2045.75 in tables 5-7"
_NOTES = {
    (1, "PAHA-SG", "diversity"): _SG_DIVERSITY,
    (2, "SG 50 %", "diversity"): _SG_DIVERSITY,
    (3, "Ours", "diversity"): _SG_DIVERSITY,
    (1, "PAHA-DG", "fvd"): _DG_FVD,
    (2, "DG 50 %", "fvd"): _DG_FVD,
    (5, "1.0", "fvd"): _DG_FVD,
    (6, "0.10", "fvd"): _DG_FVD,
    (7, "0.25", "fvd"): _DG_FVD,
}

_Rows = dict[str, str]


def _cells(
    number: int, rows: _Rows, dataset: str, metrics: tuple[str, ...] = _FIVE
) -> Iterator[PublishedCell]:
    for system, printed in rows.items():
        for metric, text in zip(metrics, printed.split(), strict=True):
            note = _NOTES.get((number, system, metric), "") if dataset == "pats" else ""
            yield PublishedCell(number, system, dataset, metric, text, note)


_TABLE_1_PATS: _Rows = {
    "SDT": "2281.65 0.1067 22.966 5.337 83.917",
    "ANGIE": "2477.23 0.0892 42.081 4.927 79.102",
    "MM-Diffusion": "2204.09 0.1085 23.782 5.348 82.545",
    "S2G": "2118.41 0.1227 19.816 5.294 85.623",
    "PAHA-SG": "2052.95 0.1561 15.021 6.183 100.917",
    "PAHA-DG": "2048.75 0.1602 14.661 6.328 98.235",
}
_TABLE_1_CNAS: _Rows = {
    "SDT": "1592.48 0.0819 28.559 3.374 29.73",
    "MM-Diffusion": "1531.21 0.0883 27.664 3.288 26.11",
    "S2G": "1465.75 0.1087 27.523 3.452 32.65",
    "PAHA-SG": "1379.57 0.1241 24.439 3.81 39.18",
    "PAHA-DG": "1362.44 0.1275 23.715 4.092 37.54",
}
_TABLE_2: _Rows = {
    "SG 0 %": "2047.53 0.1346 17.675 5.709 90.804 85",
    "SG 25 %": "2050.66 0.1423 16.790 6.015 93.713 91",
    "SG 50 %": "2052.95 0.1561 15.021 6.183 99.604 98",
    "SG 75 %": "2056.03 0.1662 17.882 6.306 96.122 107",
    "SG 100 %": "2062.95 0.1674 18.723 6.382 92.071 114",
    "DG 0 %": "2047.53 0.1346 17.675 5.709 90.804 85",
    "DG 25 %": "2048.09 0.1507 16.238 6.094 95.482 96",
    "DG 50 %": "2048.75 0.1602 14.661 6.328 98.235 112",
    "DG 75 %": "2051.78 0.1689 17.104 6.451 97.318 129",
    "DG 100 %": "2055.43 0.1711 17.868 6.546 93.944 141",
}
_TABLE_3: _Rows = {
    "w/o PAR": "2145.72 0.1497 15.452 5.977 89.866",
    "w/o non-face classifier": "2087.49 0.1302 17.957 6.583 97.483",
    "w/o face classifier": "2060.11 0.1554 15.181 5.726 99.154",
    "w/o PAR + two classifiers": "2126.72 0.1197 20.052 5.227 83.772",
    "w/o augmentation": "2068.74 0.1548 15.279 6.126 99.604",
    "Ours": "2052.95 0.1561 15.021 6.183 100.917",
}
_TABLE_5: _Rows = {
    "0.8": "2049.91 0.1578 14.107 6.436 95.271",
    "0.9": "2047.68 0.1591 14.393 6.390 96.648",
    "1.0": "2045.75 0.1602 14.661 6.328 98.235",
    "1.1": "2044.09 0.1599 14.917 6.247 101.443",
    "1.2": "2042.87 0.1596 15.265 6.146 100.143",
}
_TABLE_6: _Rows = {
    "0.05": "2041.67 0.1629 14.682 6.197 100.267",
    "0.10": "2045.75 0.1602 14.661 6.328 98.235",
    "0.15": "2047.85 0.1594 14.736 6.416 96.563",
    "0.20": "2050.99 0.1581 14.799 6.480 94.782",
    "0.25": "2056.39 0.1571 14.882 6.529 93.551",
}
_TABLE_7: _Rows = {
    "0.15": "2053.63 0.1584 14.805 6.257 99.580",
    "0.20": "2048.11 0.1596 14.739 6.301 98.742",
    "0.25": "2045.75 0.1602 14.661 6.328 98.235",
    "0.30": "2043.98 0.1593 14.582 6.296 97.611",
    "0.35": "2045.53 0.1582 14.355 6.235 97.078",
}

PUBLISHED: dict[int, PublishedTable] = {
    1: PublishedTable(
        1,
        "Systems on PATS and CNAS",
        "System",
        (*_cells(1, _TABLE_1_PATS, "pats"), *_cells(1, _TABLE_1_CNAS, "cnas")),
    ),
    2: PublishedTable(
        2,
        "Guidance time rate (the paper's TC: seconds per segment of 256x256, 30 steps)",
        "Guidance",
        tuple(_cells(2, _TABLE_2, "pats", (*_FIVE, "tc"))),
    ),
    3: PublishedTable(
        3, "Core modules, Sequential Guidance", "Variant", tuple(_cells(3, _TABLE_3, "pats"))
    ),
    5: PublishedTable(
        5, "Non-face guidance strength", "lambda_non-face", tuple(_cells(5, _TABLE_5, "pats"))
    ),
    6: PublishedTable(
        6, "Face guidance strength", "lambda_face", tuple(_cells(6, _TABLE_6, "pats"))
    ),
    7: PublishedTable(
        7, "Differential guidance strength", "lambda_diff", tuple(_cells(7, _TABLE_7, "pats"))
    ),
}

PAPER_SYSTEMS = {
    "unguided": (2, "SG 0 %"),
    "sequential": (1, "PAHA-SG"),
    "differential": (1, "PAHA-DG"),
}
"""The published row beside each of our systems: (table, system)."""


def published_beside(system: str, dataset: str, metric: str) -> PublishedCell | None:
    """The paper's number for one of our systems, or None where it prints none.

    TC of the guided systems is in table 2 only, at a guidance rate of 50 %.
    """
    number, name = PAPER_SYSTEMS.get(system, (0, ""))
    if metric == "tc" and number == 1:
        number, name = 2, name.replace("PAHA-", "") + " 50 %"
    if number not in PUBLISHED:
        return None
    return PUBLISHED[number].cell(name, metric, dataset)
