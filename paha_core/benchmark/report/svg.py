"""Plots as inline SVG that follow the page's colours, and pictures as data URIs."""

from __future__ import annotations

import base64
import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from html import escape
from io import BytesIO

import numpy as np

from paha_core.metrics.row import MetricRow

TITLES = {
    "real": "Real",
    "unguided": "Unguided",
    "sequential": "Sequential guidance",
    "differential": "Differential guidance",
}
OTHERS = 6  # colours for systems that are not ours
WIDTH, HEIGHT = 420, 260
LEFT, RIGHT, TOP, BOTTOM = 52, 14, 12, 40
LABEL = 34.0  # width that a label needs


def palette(systems: Iterable[str]) -> dict[str, str]:
    """The class of the style sheet that gives each system its colour."""
    names = list(dict.fromkeys(systems))
    others = [name for name in names if name not in TITLES]
    return {name: f"s-{name}" for name in names if name in TITLES} | {
        name: f"s-other{k % OTHERS}" for k, name in enumerate(sorted(others))
    }


def data_uri(data: bytes, kind: str) -> str:
    """Bytes as a URI that needs no file; `kind` is the media type."""
    return f"data:{kind};base64,{base64.b64encode(data).decode()}"


def picture_uri(picture: np.ndarray, *, quality: int = 88) -> str:
    """uint8 RGB `[H, W, 3]` as a jpeg data URI."""
    from PIL import Image

    out = BytesIO()
    Image.fromarray(picture).save(out, "JPEG", quality=quality, subsampling=0)
    return data_uri(out.getvalue(), "image/jpeg")


@dataclass(frozen=True)
class Curve:
    """A training log: `loss` and `validation` are (step, value) pairs."""

    name: str
    loss: list[tuple[int, float]]
    validation: list[tuple[int, float]]


def smooth(values: Sequence[float], width: int) -> list[float]:
    """Running mean over `width` values, shorter at the ends."""
    total = np.concatenate([[0.0], np.cumsum(values)])
    ends = range(len(values))
    half = width // 2
    windows = [(max(i - half, 0), min(i + half + 1, len(values))) for i in ends]
    return [float((total[b] - total[a]) / (b - a)) for a, b in windows]


def curve_svg(curve: Curve, *, width: int = 420, height: int = 220) -> str:
    """Loss against step on a logarithmic axis: raw faint, smoothed firm, held-out loss as dots."""
    left, right, top, bottom = 46, 12, 10, 26
    points = [*curve.loss, *curve.validation]
    values = [v for _, v in points if v > 0 and math.isfinite(v)]
    if not values:
        return ""
    steps = max(step for step, _ in points) or 1
    low, high = math.log10(min(values)), math.log10(max(values))
    low, high = low - 0.05 * (high - low + 0.1), high + 0.05 * (high - low + 0.1)

    def x(step: float) -> float:
        return left + (width - left - right) * step / steps

    def y(value: float) -> float:
        share = (math.log10(max(value, 10**low)) - low) / (high - low)
        return height - bottom - (height - top - bottom) * share

    def path(pairs: Sequence[tuple[float, float]]) -> str:
        return "M" + "L".join(f"{x(s):.1f},{y(v):.1f}" for s, v in pairs)

    parts = [f'<svg viewBox="0 0 {width} {height}" role="img" aria-label="{curve.name} loss">']
    for tick in _log_ticks(low, high):
        at = y(tick)
        parts.append(
            f'<line class="grid" x1="{left}" x2="{width - right}" y1="{at:.1f}" y2="{at:.1f}"/>'
        )
        parts.append(f'<text x="{left - 6}" y="{at + 3.5:.1f}" text-anchor="end">{tick:.3g}</text>')
    for share in (0, 0.5, 1):
        anchor = ("start", "middle", "end")[round(share * 2)]
        label = f"{round(steps * share):,}".replace(",", " ")
        at = x(steps * share)
        parts.append(f'<text x="{at:.1f}" y="{height - 8}" text-anchor="{anchor}">{label}</text>')
    loss = [(step, value) for step, value in curve.loss if math.isfinite(value)]
    if loss:
        thin = _thinned(loss, 600)
        parts.append(f'<path class="raw" d="{path(thin)}"/>')
        mean = smooth([v for _, v in loss], max(len(loss) // 25, 1))
        firm = _thinned([(s, v) for (s, _), v in zip(loss, mean, strict=True)], 300)
        parts.append(f'<path class="firm" d="{path(firm)}"/>')
    for step, value in curve.validation:
        if math.isfinite(value):
            parts.append(f'<circle class="held" cx="{x(step):.1f}" cy="{y(value):.1f}" r="3"/>')
    return "".join([*parts, "</svg>"])


def _thinned(pairs: Sequence[tuple[int, float]], most: int) -> list[tuple[int, float]]:
    return list(pairs[:: max(len(pairs) // most, 1)])


def _log_ticks(low: float, high: float) -> list[float]:
    """Three to five round values between 10^low and 10^high."""
    for steps in ((1,), (1, 3), (1, 2, 5), (1, 1.5, 2, 3, 4, 5, 6, 8)):
        ticks = [
            step * 10.0**power
            for power in range(math.floor(low) - 1, math.ceil(high) + 1)
            for step in steps
            if low <= math.log10(step * 10.0**power) <= high
        ]
        if len(ticks) >= 3:
            return ticks[:: max(len(ticks) // 4, 1)]
    return [10.0 ** ((low + high) / 2)]


def interval_svg(rows: Sequence[MetricRow | None], *, width: int = 150) -> str:
    """One line per system: a dot at the value, a whisker over its interval, on a common scale."""
    bounds = [b for row in rows if row for b in (row.low, row.high, row.value) if b is not None]
    if not bounds:
        return ""
    low, high = min(bounds), max(bounds)
    span = (high - low) or 1.0
    height = 9 * len(rows) + 3

    def x(value: float) -> float:
        return 6 + (width - 12) * (value - low) / span

    css = palette(row.system for row in rows if row)
    parts = [f'<svg class="spread" viewBox="0 0 {width} {height}" aria-hidden="true">']
    for i, row in enumerate(rows):
        if row is None or row.value is None or row.low is None or row.high is None:
            continue
        y = 6 + 9 * i
        parts.append(
            f'<g class="{css[row.system]}"><line x1="{x(row.low):.1f}" x2="{x(row.high):.1f}" '
            f'y1="{y}" y2="{y}"/><circle cx="{x(row.value):.1f}" cy="{y}" r="3.2"/></g>'
        )
    return "".join([*parts, "</svg>"])


# --- several systems or checkpoints ---------------------------------------------------------------


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


# The part of the page's style sheet that a standalone plot needs.
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


def _line(
    one: Series,
    places: Sequence[tuple[float, float]],
    at: Callable[[float, float], tuple[float, float]],
    below: bool,
) -> str:
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
