"""Metrics over evaluations, oldest first: for the report and Dagster's check of regressions."""

from __future__ import annotations

from paha_core.benchmark import history
from paha_core.benchmark.report.svg import Plot, Series, data_uri, line_svg, standalone
from paha_core.metrics.registry import plotted
from paha_core.store import Store


def trend_markdown(store: Store) -> str:
    """The plots of `trends` as pictures, for Dagster; empty before there are two evaluations."""
    lines = []
    for plot in trends(store):
        picture = data_uri(standalone(plot.svg, plot.legend).encode(), "image/svg+xml")
        lines.append(f"**{plot.title}**\n\n![{plot.title}]({picture})")
    return "\n\n".join(lines)


def trends(store: Store) -> list[Plot]:
    """One for each metric; none before there are two evaluations.

    A line joins only what may be compared with the newest: one protocol, one extractor.
    """
    rows = history.read(store)
    newest = history.newest(rows)
    times = sorted({r["measured_at"] for r in rows if r["protocol"] == newest[0]["protocol"]})
    if len(times) < 2:
        return []
    cells = {(r["system"], r["metric"], r["dataset"]): history.cell_of(r) for r in newest}
    scope = "all" if any(row["dataset"] == "all" for row in newest) else newest[0]["dataset"]
    plots = []
    for metric in plotted("trend"):
        lines = []
        for system in ("unguided", "sequential", "differential"):
            wanted = cells.get((system, metric.name, scope))
            made = sorted(
                (times.index(row["measured_at"]), row["value"], interval)
                for row in rows
                if history.cell_of(row) == wanted
                and row["value"] is not None
                and (interval := history.interval_of(row)) is not None
            )
            if made:
                points = [(time, value) for time, value, _ in made]
                whiskers = [interval for *_, interval in made]
                lines.append(Series(system, f"s-{system}", points, whiskers))
        if lines:
            legend = tuple((one.css, one.name) for one in lines)
            svg = line_svg(lines, x_title="evaluation", y_title=metric.title)
            plots.append(Plot(metric.title, svg, legend=legend))
    return plots
