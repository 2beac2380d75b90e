"""The report's tables of the paper as run here, trade-off plots and shift curves."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from paha_core.benchmark.cells import datasets_of, find
from paha_core.benchmark.report.svg import Plot, Series, line_svg, radar_svg
from paha_core.benchmark.tables.grid import Grid, about, grids
from paha_core.benchmark.tables.published import PUBLISHED
from paha_core.benchmark.tables.run import SuiteResult, load_suite
from paha_core.benchmark.tables.specs import SUITES
from paha_core.metrics.registry import METRICS, plotted, shortfall
from paha_core.metrics.row import MetricRow
from paha_core.store import Store

CLASSIFIERS = {"face_classifier": "Face", "non_face_classifier": "Non-face"}


@dataclass(frozen=True)
class SuiteTable:
    """One table as run here: a grid for each data set."""

    number: int
    title: str
    note: str
    grids: list[Grid]
    plots: list[Plot]


def suite_tables(store: Store) -> list[SuiteTable]:
    """Every table that has been run."""
    results = (load_suite(store, number) for number in SUITES)
    return [suite_table(result) for result in results if result is not None]


def suite_table(result: SuiteResult) -> SuiteTable:
    found = grids(result)
    first = found[0]
    plots = trade_off(result, first.dataset) if result.number == 2 else sweep(result, first)
    title = PUBLISHED[result.number].title
    return SuiteTable(result.number, title, about(result), found, plots)


def _points(
    result: SuiteResult, names: Sequence[str], dataset: str, metric: str
) -> list[tuple[str, MetricRow]]:
    found = [(name, find(result.rows, name, dataset, metric)) for name in names]
    return [(name, row) for name, row in found if row is not None and row.value is not None]


def _whisker(row: MetricRow) -> tuple[float, float]:
    """The interval; the value itself where one clip has none."""
    value = row.value or 0.0
    return (value, value) if row.low is None or row.high is None else (row.low, row.high)


def trade_off(result: SuiteResult, dataset: str) -> list[Plot]:
    """Table 2: metrics against the time that guidance takes, for SG and DG at each rate."""
    plots = []
    for metric in plotted("trade_off"):
        lines = []
        for title, css in (("SG", "s-sequential"), ("DG", "s-differential")):
            names = [row.name for row in SUITES[2].rows if row.name.startswith(title)]
            costs = dict(_points(result, names, dataset, "tc"))
            made = [(n, r) for n, r in _points(result, names, dataset, metric.name) if n in costs]
            points = [(costs[n].value or 0.0, r.value or 0.0) for n, r in made]
            whiskers = [_whisker(r) for _, r in made]
            labels = [n.removeprefix(f"{title} ") for n, _ in made]
            if points:
                lines.append(Series(title, css, points, whiskers, labels))
        if lines:
            legend = tuple((one.css, one.name) for one in lines)
            svg = line_svg(lines, x_title="seconds per segment", y_title=metric.title)
            plots.append(Plot(f"{metric.title} against time", svg, legend=legend))
    return plots


def sweep(result: SuiteResult, grid: Grid) -> list[Plot]:
    """Tables 5 to 7: each metric against the lambda that was used."""
    if result.number < 5:
        return []
    rows = SUITES[result.number].rows
    [swept] = {key for row in rows for key in row.times}
    lambdas = {row.name: row.times[swept] * result.strengths[swept] for row in rows}
    plots = []
    for column in grid.columns:
        made = _points(result, list(lambdas), grid.dataset, column.metric)
        if len(made) < 2:
            continue
        points = [(lambdas[name], row.value or 0.0) for name, row in made]
        line = Series("DG", "s-differential", points, [_whisker(row) for _, row in made])
        title, axis = METRICS[column.metric].title, PUBLISHED[result.number].row_name
        plots.append(Plot(title, line_svg([line], x_title=axis, y_title=title)))
    return plots


def radar(rows: Sequence[MetricRow], css: dict[str, str]) -> Plot | None:
    """A radar chart whose spokes run from the worst system (centre) to the best."""
    if not rows:
        return None
    dataset = datasets_of(rows)[0]
    axes: list[str] = []
    shares: dict[str, list[tuple[float, float]]] = {system: [] for system in css}
    for metric in plotted("radar"):
        real = find(rows, "real", dataset, metric.name)
        losses: dict[str, float] = {}
        for system in css:
            row = find(rows, system, dataset, metric.name)
            if row is not None and row.value is not None:
                loss = shortfall(row.direction, row.value, real.value if real else None)
                losses |= {system: loss} if loss is not None else {}
        if len(losses) < len(css) or max(losses.values()) == min(losses.values()):
            continue
        best, worst = min(losses.values()), max(losses.values())
        for system, loss in losses.items():
            share = 0.15 + 0.85 * (worst - loss) / (worst - best)
            shares[system].append((len(axes), share))
        axes.append(metric.title)
    lines = [Series(name, css[name], points) for name, points in shares.items()]
    svg = radar_svg(axes, lines)
    note = "Each spoke runs from the worst of these systems to the best; its scale is its own."
    legend = tuple((one.css, one.name) for one in lines)
    return Plot("At a glance", svg, note, legend) if svg else None


def shift_curves(store: Store) -> list[Plot]:
    """Each classifier's logit when the voice is moved against the picture."""
    plots = []
    for name, title in CLASSIFIERS.items():
        rel = f"checkpoints/{name}/gate.json"
        gate: dict[str, Any] = store.read_json(rel, absent={})
        table = gate.get("shift") or {}
        pairs = list(zip(table.get("shifts", []), table.get("logits", [])))
        if not pairs:
            continue
        line = Series(title, "s-sequential", [(float(x), float(y)) for x, y in pairs])
        svg = line_svg([line], x_title="frames the voice is moved", y_title="logit", zero=0)
        note = "A classifier that uses the audio has its peak at 0."
        plots.append(Plot(f"{title} classifier", svg, note))
    return plots
