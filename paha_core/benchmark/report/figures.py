"""Plots as inline SVG that follow the page's colours, and pictures as data URIs."""

from __future__ import annotations

import base64
import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
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
