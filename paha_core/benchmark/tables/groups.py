"""Results by group of clips: speaker, language, or any column of the clips' manifest."""

from __future__ import annotations

from paha_core.benchmark.cells import datasets_of, find, number, systems_of
from paha_core.benchmark.measuring.evaluate import evaluate
from paha_core.benchmark.measuring.systems import CONTROLS
from paha_core.benchmark.run import all_systems
from paha_core.config import Preset
from paha_core.engine.manifest_stage import kept_rows
from paha_core.errors import UserError
from paha_core.metrics.registry import METRICS
from paha_core.metrics.row import MetricRow, rows_to_table
from paha_core.store import Store


def rows_by(
    store: Store, preset: Preset, column: str, *, workers: int = 1, device: str = "cpu"
) -> list[MetricRow]:
    """Every metric of every system for each value of a column, as data set `column=value`.

    Measured videos are reused. Distances are to all training clips, since a group has too few of
    its own. Written to `benchmark/by_<column>.parquet` and `.md`. Raises `UserError` for a column
    that no clip has.
    """
    clips = kept_rows(store, "clips", preset.corpora.datasets)
    columns = sorted({name for row in clips for name, value in row.items() if value is not None})
    if column not in columns:
        raise UserError(f"no clip has a column {column!r}; there are {', '.join(columns)}")
    groups: dict[str, set[str]] = {}
    for row in clips:
        groups.setdefault(f"{column}={row.get(column)}", set()).add(row["clip_id"])
    systems = {n: v for n, v in all_systems(store, preset).items() if n not in CONTROLS}
    evaluation = evaluate(store, preset, systems, workers=workers, device=device)
    shown = {video.clip_id for videos in systems.values() for video in videos}
    evaluation.groups = {name: ids for name, ids in sorted(groups.items()) if ids & shown}
    rows = [
        row
        for group in evaluation.groups
        for system in systems
        for row in evaluation.rows(f"by {column}", system, group)
        if METRICS[row.metric].kind != "repeats"
    ]
    store.write_table(f"benchmark/by_{column}.parquet", rows_to_table(rows))
    store.write_bytes(f"benchmark/by_{column}.md", by_group(rows).encode())
    return rows


def by_group(rows: list[MetricRow]) -> str:
    """A Markdown table for each metric that any group has: groups down, systems across."""
    systems = systems_of(rows)
    lines: list[str] = []
    for metric, about in METRICS.items():
        if not any(row.metric == metric and row.value is not None for row in rows):
            continue
        lines += [f"**{about.title}**", "", f"| group | {' | '.join(systems)} |"]
        lines.append("|---" * (len(systems) + 1) + "|")
        for group in datasets_of(rows):
            found = [find(rows, system, group, metric) for system in systems]
            cells = [f"{number(r.value, metric)} ({r.clips})" if r else "–" for r in found]
            lines.append(f"| {group} | {' | '.join(cells)} |")
        lines.append("")
    return "\n".join(lines)
