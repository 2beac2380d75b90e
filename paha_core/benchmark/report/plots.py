"""Plots of several systems or checkpoints as inline SVG that follow the page's colours."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape

WIDTH, HEIGHT = 420, 260
LEFT, RIGHT, TOP, BOTTOM = 52, 14, 12, 40
LABEL = 34.0  # width that a label needs


@dataclass(frozen=True)
class Series:
    """One line: `points` (x, y), and each point's interval and label where there are any."""

    name: str
    css: str
    points: Sequence[tuple[float, float]]
    intervals: Sequence[tuple[float, float]] = ()
    labels: Sequence[str] = ()


@dataclass(frozen=True)
class Plot:
    title: str
    svg: str
    note: str = ""
    legend: tuple[tuple[str, str], ...] = ()  # (css class, name)


def line_svg(
    series: Sequence[Series], *, x_title: str, y_title: str, zero: float | None = None
) -> str:
    """Lines with dots, whiskers and labels on linear axes; `zero` draws an upright there."""
    xs = [x for one in series for x, _ in one.points]
    ys = [y for one in series for _, y in one.points]
    ys += [bound for one in series for pair in one.intervals for bound in pair]
    if not xs:
        return ""
    x0, x1 = _padded(min(xs), max(xs))
    y0, y1 = _padded(min(ys), max(ys))

    def at(x: float, y: float) -> tuple[float, float]:
        across = LEFT + (WIDTH - LEFT - RIGHT) * (x - x0) / (x1 - x0)
        return across, HEIGHT - BOTTOM - (HEIGHT - TOP - BOTTOM) * (y - y0) / (y1 - y0)

    named = escape(f"{y_title} against {x_title}")
    parts = [f'<svg viewBox="0 0 {WIDTH} {HEIGHT}" role="img" aria-label="{named}">']
    for tick in _ticks(y0, y1):
        _, y = at(x0, tick)
        ends = f'x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{y:.1f}" y2="{y:.1f}"'
        parts.append(f'<line class="grid" {ends}/>')
        parts.append(f'<text x="{LEFT - 6}" y="{y + 3.5:.1f}" text-anchor="end">{tick:g}</text>')
    for tick in _ticks(x0, x1):
        x, _ = at(tick, y0)
        where = f'x="{x:.1f}" y="{HEIGHT - BOTTOM + 15}"'
        parts.append(f'<text {where} text-anchor="middle">{tick:g}</text>')
    if zero is not None and x0 <= zero <= x1:
        x, _ = at(zero, y0)
        ends = f'x1="{x:.1f}" x2="{x:.1f}" y1="{TOP}" y2="{HEIGHT - BOTTOM}"'
        parts.append(f'<line class="grid" {ends}/>')
    for k, one in enumerate(series):
        parts.append(_line(one, [at(x, y) for x, y in one.points], at, below=k % 2 == 1))
    middle = (LEFT + WIDTH - RIGHT) / 2
    parts.append(
        f'<text x="{middle}" y="{HEIGHT - 6}" text-anchor="middle">{escape(x_title)}</text>'
    )
    return "".join([*parts, "</svg>"])


# What the page's style sheet says, for a plot that stands by itself.
_STYLE = (
    "svg{font:11.5px sans-serif}text{fill:#636873}.grid{stroke:#dedbd4}.stroke{fill:none;"
    "stroke:currentColor;stroke-width:1.8}circle,.name{fill:currentColor}.whisker{stroke:"
    "currentColor;stroke-width:1.2;opacity:.55}.s-unguided{color:#a08a4b}.s-sequential{color:"
    "#2f66a8}.s-differential{color:#b0472f}"
)
_ROOM = 18  # pixels above the plot, for its names


def standalone(svg: str, legend: Sequence[tuple[str, str]]) -> str:
    """A `line_svg` as a picture that needs no page: white, with its own style and names."""
    body = svg.partition(">")[2].removesuffix("</svg>")
    width, height = WIDTH, HEIGHT + _ROOM
    size = f'width="{width}" height="{height}" viewBox="0 {-_ROOM} {width} {height}"'
    names = [
        f'<g class="{css}"><text class="name" x="{LEFT + 110 * k}" y="-4">{escape(name)}</text></g>'
        for k, (css, name) in enumerate(legend)
    ]
    back = f'<rect y="{-_ROOM}" width="{width}" height="{height}" fill="#fff"/>'
    head = f'<svg xmlns="http://www.w3.org/2000/svg" {size}><style>{_STYLE}</style>{back}'
    return "".join([head, *names, body, "</svg>"])


def _line(one: Series, places: Sequence[tuple[float, float]], at, below: bool) -> str:
    """Labels of every other line stand below its dots; one that would meet its neighbour is left
    out."""
    path = "M" + "L".join(f"{x:.1f},{y:.1f}" for x, y in places)
    parts = [f'<g class="{one.css}"><path class="stroke" d="{path}"/>']
    for (x, _), (low, high), (px, _) in zip(one.points, one.intervals, places):
        (_, top), (_, bottom) = at(x, high), at(x, low)
        ends = f'x1="{px:.1f}" x2="{px:.1f}" y1="{top:.1f}" y2="{bottom:.1f}"'
        parts.append(f'<line class="whisker" {ends}/>')
    labelled = -LABEL
    for i, (x, y) in enumerate(places):
        parts.append(f'<circle cx="{x:.1f}" cy="{y:.1f}" r="3"/>')
        if i < len(one.labels) and abs(x - labelled) >= LABEL:
            labelled = x
            anchor = "end" if x > WIDTH - RIGHT - LABEL else "start"
            where = (
                f'x="{x + (-5 if anchor == "end" else 5):.1f}" y="{y + (14 if below else -6):.1f}"'
            )
            parts.append(f'<text {where} text-anchor="{anchor}">{escape(one.labels[i])}</text>')
    return "".join([*parts, "</g>"])


def radar_svg(axes: Sequence[str], series: Sequence[Series]) -> str:
    """Shares 0 to 1 on spokes, one for each axis; `points` are (axis number, share)."""
    if len(axes) < 3 or not series:
        return ""
    width, height, radius = 420, 300, 98
    x0, y0 = width / 2, height / 2

    def at(axis: float, share: float) -> tuple[float, float]:
        angle = 2 * math.pi * axis / len(axes) - math.pi / 2
        return x0 + radius * share * math.cos(angle), y0 + radius * share * math.sin(angle)

    names = escape(", ".join(axes))
    parts = [f'<svg viewBox="0 0 {width} {height}" role="img" aria-label="Radar of {names}">']
    for share in (0.5, 1.0):
        ring = "L".join("{:.1f},{:.1f}".format(*at(k, share)) for k in range(len(axes)))
        parts.append(f'<path class="ring" d="M{ring}Z"/>')
    for k, name in enumerate(axes):
        x, y = at(k, 1.12)
        anchor = "middle" if abs(x - x0) < 8 else "start" if x > x0 else "end"
        parts.append(
            f'<text x="{x:.1f}" y="{y + 4:.1f}" text-anchor="{anchor}">{escape(name)}</text>'
        )
    for one in series:
        outline = "L".join("{:.1f},{:.1f}".format(*at(k, v)) for k, v in one.points)
        parts.append(f'<g class="{one.css}"><path class="area" d="M{outline}Z"/></g>')
    return "".join([*parts, "</svg>"])


def _padded(low: float, high: float) -> tuple[float, float]:
    gap = (high - low) or abs(high) or 1.0
    return low - 0.06 * gap, high + 0.06 * gap


def _ticks(low: float, high: float) -> list[float]:
    """About four round numbers between the two."""
    raw = (high - low) / 4
    power = 10.0 ** math.floor(math.log10(raw))
    step = next(s * power for s in (1, 2, 5, 10) if s * power >= raw)
    first = math.ceil(low / step)
    return [round(k * step, 12) for k in range(first, math.floor(high / step) + 1)]
