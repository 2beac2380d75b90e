"""One page that shows a run: numbers, videos, curves, data, provenance.

`build_report` writes `report/index.html`, which needs no network and no second file (unless the
videos are large: then they lie beside it), and the same tables under `report/tables/`. For a stage
that has not run yet the page has a line with the command that runs it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from importlib import resources
from typing import Any

import yaml

from paha_core.benchmark import history
from paha_core.benchmark.cells import (
    ARROWS,
    datasets_of,
    find,
    interval,
    number,
    systems_of,
)
from paha_core.benchmark.measuring.systems import CONTROLS
from paha_core.benchmark.measuring.videos import EXTERNAL
from paha_core.benchmark.report import export, facts, showcase, svg, table_plots
from paha_core.benchmark.report.trends import trends
from paha_core.benchmark.run import load_results
from paha_core.benchmark.study import analyse
from paha_core.benchmark.tables.export import write_suite
from paha_core.benchmark.tables.published import PAPER_SYSTEMS, PUBLISHED, PublishedTable
from paha_core.benchmark.tables.run import load_suite
from paha_core.benchmark.tables.specs import SUITES
from paha_core.config import Preset
from paha_core.metrics.bootstrap import MIN_CLIPS
from paha_core.metrics.protocol import protocol_of
from paha_core.metrics.registry import GROUPS, METRICS, Metric, MetricGroup, shortfall
from paha_core.metrics.row import MetricRow
from paha_core.store import Store
from paha_core.trained import NETWORKS
from paha_core.weights.licences import parts_of, summary

INDEX = "report/index.html"


@dataclass(frozen=True)
class ResultCell:
    text: str
    interval: str
    best: bool
    footnote: str  # the mark of the reason below the table; empty when there is a value


@dataclass(frozen=True)
class ResultLine:
    title: str
    unit: str
    arrow: str
    claims_sync: bool
    cells: list[ResultCell]
    spread: str  # svg
    paper: list[tuple[str, str]]  # the paper's numbers with their notes


@dataclass(frozen=True)
class ResultTable:
    dataset: str
    paper_dataset: str  # empty: other systems' own clips, which the paper has not
    systems: list[tuple[str, str, str]]  # class of the style sheet, title, clips and frames
    groups: list[tuple[MetricGroup, list[ResultLine]]]
    footnotes: list[tuple[str, str]]
    clips: int  # of the system that has the fewest

    @property
    def too_few(self) -> bool:
        """Whether a bootstrap over its clips gives intervals that are too narrow."""
        return self.clips < MIN_CLIPS


def build_report(store: Store, preset: Preset) -> str:
    """Write the report of what is in the store; returns the path of the page, relative to it."""
    results = load_results(store)
    rows = results[1] if results else []
    plain = [row for row in rows if row.system not in CONTROLS]
    players, embedded = showcase.players(store, preset)
    curves = facts.training_curves(store)
    page = {
        "preset": preset,
        "preset_sha256": facts.preset_sha256(preset),
        "preset_yaml": yaml.safe_dump(preset.settings(), sort_keys=False),
        "protocol": protocol_of(preset),
        "fingerprint": results[0] if results else "",
        "headline": headline(rows),
        "stand_ins": facts.stand_ins(preset),
        "forced": facts.forced_guidance(store, preset),
        "tables": [result_table(plain, dataset) for dataset in datasets_of(plain)],
        "players": players,
        "embedded": embedded,
        "strips": showcase.strips(store, preset),
        "overlays": showcase.overlays(store, preset),
        "curves": [
            (title, curves[name], svg.curve_svg(curves[name]))
            if name in curves
            else (title, None, "")
            for name, title in NETWORKS.items()
        ],
        "cards": facts.dataset_cards(store, preset),
        "published": [published_grid(table) for table in PUBLISHED.values()],
        "extractors": extractors(rows),
        "weights": facts.weights_of(store),
        "licences": parts_of(preset),
        "licence_summary": summary(parts_of(preset)),
        "titles": svg.TITLES,
        "radar": table_plots.radar(rows, {mode: f"s-{mode}" for mode in preset.generation.modes}),
        "controls": control_lines(rows),
        "suites": table_plots.suite_tables(store),
        "study": analyse.load(store),
        "study_paper": analyse.PAPER,
        "shifts": table_plots.shift_curves(store),
        "verdict": history.judge(store),
        "trends": trends(store),
        "long_video": facts.long_video(store),
    }
    store.write_bytes(INDEX, render(page).encode())
    if rows:
        export.write_tables(store, rows)
    for table in SUITES:
        if (suite := load_suite(store, table)) is not None:
            write_suite(store, suite)
    return INDEX


def render(page: dict[str, Any]) -> str:
    """The template with `page` filled in; every string is escaped unless it is our own svg."""
    from jinja2 import Environment, FunctionLoader, StrictUndefined

    folder = resources.files("paha_core.benchmark.report") / "templates"
    environment = Environment(
        loader=FunctionLoader(lambda name: (folder / name).read_text()),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    return environment.get_template("report.html.j2").render(**page)


def headline(rows: Sequence[MetricRow]) -> dict[str, Any] | None:
    """The headline figures, all of one system: the last one with generated videos. Each is shown
    with other systems' values, since picking the best cell of each metric would flatter.
    """
    known = PAPER_SYSTEMS
    made = [row.system for row in rows if row.system in known and row.value is not None]
    if not made:
        return None
    system, dataset = made[-1], datasets_of(rows)[0]
    others = [name for name in ("unguided", "real") if name != system]
    shown = []
    for metric in METRICS.values():
        row = find(rows, system, dataset, metric.name)
        if not metric.headline or row is None or row.value is None:
            continue
        beside = [(name, find(rows, name, dataset, metric.name)) for name in others]
        against = "\n".join(
            f"{name} {_figure(other.value, metric)}"
            for name, other in beside
            if other is not None and other.value is not None
        )
        shown.append((_figure(row.value, metric), metric.headline, against))
    return {"title": svg.TITLES.get(system, system), "figures": shown}


def _figure(value: float, metric: Metric) -> str:
    return f"{value:.0%}" if metric.unit.startswith("share") else number(value, metric.name)


def best_generated(rows: Sequence[MetricRow], dataset: str, metric: str) -> MetricRow | None:
    """The best row among the systems that generate, or None; None too where each has clips of its
    own."""
    if dataset == EXTERNAL:
        return None
    real = find(rows, "real", dataset, metric)
    found = []
    for row in rows:
        ours = row.dataset == dataset and row.metric == metric
        if ours and row.system not in ("real", *CONTROLS) and row.value is not None:
            loss = shortfall(row.direction, row.value, real.value if real else None)
            found += [(loss, row)] if loss is not None else []
    return min(found, key=lambda pair: pair[0])[1] if found else None


def result_table(rows: Sequence[MetricRow], dataset: str) -> ResultTable:
    """Metrics down, systems across, the paper's numbers apart. `all` shows the paper's on PATS."""
    rows = [row for row in rows if row.dataset == dataset]
    measured = {row.system for row in rows if row.value is not None}
    systems = [s for s in systems_of(rows) if s in measured or s in svg.TITLES]
    marks: dict[str, str] = {}
    paper_dataset = {"all": "pats", EXTERNAL: ""}.get(dataset, dataset)
    groups = []
    evaluated = {row.metric for row in rows}
    for group, metrics in GROUPS.items():
        lines = [
            _line(rows, systems, dataset, paper_dataset, metric, marks)
            for metric in metrics
            if metric.name in evaluated or not metric.corpus
        ]
        groups.append((group, lines))
    css = svg.palette(systems)
    titles = [(css[s], svg.TITLES.get(s, s), _size(rows, s)) for s in systems]
    footnotes = [(mark, reason) for reason, mark in marks.items()]
    clips = [row.clips for row in rows if row.metric == "face_share"]
    few = min(filter(None, clips), default=0)
    return ResultTable(dataset, paper_dataset, titles, groups, footnotes, few)


def _size(rows: Sequence[MetricRow], system: str) -> str:
    """`6 clips, 342 frames`: of the metric that was measured on the most frames. The time cost has
    the clips of all data sets in each, and no frames."""
    frames, clips = max((r.frames, r.clips) for r in rows if r.system == system)
    return f"{clips} clip{'' if clips == 1 else 's'}, {frames} frames" if clips else ""


def _line(
    rows: Sequence[MetricRow],
    systems: Sequence[str],
    dataset: str,
    paper_dataset: str,
    about: Metric,
    marks: dict[str, str],
) -> ResultLine:
    metric = about.name
    best = None if about.control else best_generated(rows, dataset, metric)
    found = [find(rows, system, dataset, metric) for system in systems]
    shown = [number(row.value, metric) for row in found if row and row.system != "real"]
    tied = len(shown) > 1 and len(set(shown)) == 1  # no best where all print the same
    cells = []
    for row in found:
        if row is None or row.value is None:
            reason = row.reason if row else "not evaluated"
            mark = marks.setdefault(reason, str(len(marks) + 1))
            cells.append(ResultCell("–", "", False, mark))
        else:
            text = number(row.value, metric)
            is_best = best is not None and row.value == best.value and row.system != "real"
            is_best = is_best and not tied
            cells.append(ResultCell(text, interval(row), is_best, ""))
    paper = [export.beside(system, paper_dataset, metric) for system in PAPER_SYSTEMS]
    paper = paper if paper_dataset else []
    spread = svg.interval_svg(found)
    title = about.title
    head, _, more = title.partition(", ")
    if more and any(head == other.title for other in GROUPS[about.group]):  # below its line
        title = f"… {more}"
    arrow = ARROWS[about.direction]
    return ResultLine(title, about.unit, arrow, about.claims_sync, cells, spread, paper)


def control_lines(rows: Sequence[MetricRow]) -> list[tuple[str, list[str]]]:
    """Reference values of each metric, one line each: real videos and the controls made of them."""
    if not any(row.system in CONTROLS for row in rows):
        return []
    dataset = datasets_of(rows)[0]
    lines = []
    for metrics in GROUPS.values():
        for metric in metrics:
            found = [find(rows, name, dataset, metric.name) for name in ("real", *CONTROLS)]
            if any(row is not None and row.value is not None for row in found):
                title = f"{metric.title} {ARROWS[metric.direction]}"
                cells = [number(row.value if row else None, metric.name) for row in found]
                lines.append((title, cells))
    return lines


def published_grid(table: PublishedTable) -> dict[str, Any]:
    """One of the paper's tables in the form the template prints."""
    columns = list(dict.fromkeys((cell.dataset, cell.metric) for cell in table.cells))
    cells = {(cell.system, cell.dataset, cell.metric): cell for cell in table.cells}
    heads = [
        f"{METRICS[m].title} {ARROWS[METRICS[m].direction]}"
        + (f" {d.upper()}" if table.number == 1 else "")
        for d, m in columns
    ]
    body = [
        (system, [cells.get((system, dataset, metric)) for dataset, metric in columns])
        for system in table.systems
    ]
    notes = list(dict.fromkeys(cell.note for cell in table.cells if cell.note))
    return {"table": table, "heads": heads, "body": body, "notes": notes}


def extractors(rows: Sequence[MetricRow]) -> list[tuple[str, str, str]]:
    """(extractor, weights' sha256, its metrics), each once."""
    found: dict[tuple[str, str], list[str]] = {}
    for row in rows:
        if row.extractor:
            names = found.setdefault((row.extractor, row.extractor_sha256), [])
            if METRICS[row.metric].title not in names:
                names.append(METRICS[row.metric].title)
    return [(name, sha256, ", ".join(metrics)) for (name, sha256), metrics in found.items()]
