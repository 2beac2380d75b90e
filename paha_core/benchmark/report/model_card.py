"""The model card of an exported pipeline, in the form that model hubs read: `README.md`."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import yaml

from paha_core.benchmark.cells import number
from paha_core.benchmark.measuring.systems import CONTROLS
from paha_core.benchmark.report.facts import stand_ins
from paha_core.benchmark.run import load_results
from paha_core.config import Preset
from paha_core.inference.components import PipelineComponents
from paha_core.local_files import published
from paha_core.metrics.registry import METRICS
from paha_core.metrics.row import MetricRow
from paha_core.store import Store
from paha_core.trained import NETWORKS
from paha_core.weights.licences import LicensedPart, parts_of, summary

CARD = "README.md"
TASK = {"type": "image-to-video", "name": "Audio-driven human animation"}
USE = """```python
from paha_core.inference.pipeline import PahaPipeline

made, wave = PahaPipeline.from_pretrained("FOLDER")("portrait.jpg", "voice.wav")
```

or `paha generate --folder FOLDER --image portrait.jpg --audio voice.wav --out video.mp4`.
"""
MISUSE = """Show people only what they agreed to be shown saying, and say of every video that it is
generated. Likeness and lip motion are as good as the footage that the networks were trained on;
they know no other people.
"""


def write_model_card(
    folder: Path, pipeline: PipelineComponents, store: Store | None, adapters: Sequence[str] = ()
) -> Path:
    """Write the card into an exported folder; figures and training are read from the run's `store`
    where there is one. `adapters`: licence lines of those that were merged."""
    results = load_results(store) if store is not None else None
    text = card(pipeline, store, results[1] if results else [], adapters)
    path = folder / CARD
    with published(path) as temporary:
        temporary.write_text(text)
    return path


def card(
    pipeline: PipelineComponents,
    store: Store | None,
    rows: Sequence[MetricRow],
    adapters: Sequence[str] = (),
) -> str:
    """The text of the card."""
    preset = pipeline.preset
    parts = parts_of(preset)
    shown = [r for r in rows if r.value is not None and r.system in preset.generation.modes]
    sections = [
        "---\n" + yaml.safe_dump(_front_matter(preset, parts, shown), sort_keys=False) + "---\n",
        f"# PAHA, {preset.name}\n",
        "A picture of a person and a voice to a video: UniVDM and the two sync classifiers of PAHA "
        f"(Parts-Aware Audio-Driven Human Animation), trained with the preset `{preset.name}`.\n",
        f"## Use\n\n{USE}",
        _licences(parts, adapters),
        _making(pipeline, store),
        _figures(rows, shown),
        f"## Limits\n\n{MISUSE}",
    ]
    return "\n".join(sections)


def _front_matter(
    preset: Preset, parts: list[LicensedPart], shown: list[MetricRow]
) -> dict[str, Any]:
    bound = [part for part in parts if part.binds and part.terms != "free"]
    licence: dict[str, Any] = {"license": "apache-2.0"}
    if bound:
        licence = {"license": "other", "license_name": ", ".join({p.licence: 0 for p in bound})}
    front: dict[str, Any] = licence | {
        "library_name": "paha",
        "pipeline_tag": TASK["type"],
        "tags": ["talking-head", "audio-driven", "video-generation", "diffusers"],
    }
    if shown:
        front["model-index"] = [
            {
                "name": f"paha-{preset.name}",
                "results": [_result(row) for row in shown if row.dataset == shown[0].dataset],
            }
        ]
    return front


def _result(row: MetricRow) -> dict[str, Any]:
    metric = METRICS[row.metric]
    return {
        "task": TASK,
        "dataset": {"type": row.dataset, "name": f"held-out clips of {row.dataset}"},
        "metrics": [
            {"type": row.metric, "name": f"{metric.title}, {row.system}", "value": row.value}
        ],
    }


def _licences(parts: list[LicensedPart], adapters: Sequence[str]) -> str:
    lines = [
        f"| {part.name} | {part.kind} | {part.licence} | {'yes' if part.binds else 'no'} |"
        for part in parts
    ]
    merged = "".join(f"\nA merged adapter: {line}.\n" for line in adapters)
    head = "| what | kind | licence | binds these weights |\n|---|---|---|---|\n"
    return (
        f"## Licence\n\nThese weights: {summary(parts)}.\n{merged}\n{head}"
        + "\n".join(lines)
        + "\n"
    )


def _making(pipeline: PipelineComponents, store: Store | None) -> str:
    preset = pipeline.preset
    lines = []
    for name, about in pipeline.networks.items():
        rel = f"checkpoints/{name if name != 'codec' else 'latent_codec'}/final/training.json"
        trained = store.read_json(rel, absent={}) if store is not None else {}
        steps = f"{trained['step']:,} steps" if "step" in trained else "not trained here"
        gate = {True: "passed", False: "failed"}.get(about.get("passed_gate"), "")
        title = NETWORKS.get(name, name)
        lines.append(f"| {title} | {about['name']} | {steps} | {gate} | `{about['sha256'][:12]}` |")
    table = "| network | what | training | audio-swap gate | sha256 |\n|---|---|---|---|---|\n"
    instead = "".join(
        f"- {one.part}: {one.name}, in place of {one.instead_of}\n" for one in stand_ins(preset)
    )
    note = f"\nNot as in the paper:\n\n{instead}" if instead else ""
    corpora = ", ".join(preset.corpora.datasets)
    return (
        f"## How it was made\n\nTrained on {corpora}; every number is in `preset.yaml`, and "
        f"`paha run --preset preset.yaml` makes the networks again.\n\n{table}"
        + "\n".join(lines)
        + f"\n{note}"
    )


def _figures(rows: Sequence[MetricRow], shown: list[MetricRow]) -> str:
    if not shown:
        return "## Figures\n\nNothing is measured of this export.\n"
    dataset = shown[0].dataset
    systems = [*dict.fromkeys(row.system for row in shown)]
    if any(row.system == "real" for row in rows):
        systems = ["real", *systems]
    lines = []
    for name, metric in METRICS.items():
        found = {r.system: r for r in rows if (r.metric, r.dataset) == (name, dataset)}
        values = [found.get(system) for system in systems if system not in CONTROLS]
        if any(row is not None and row.value is not None for row in values):
            cells = [_cell(row) for row in values]
            lines.append(f"| {metric.title} ({metric.direction}) | " + " | ".join(cells) + " |")
    head = "| metric | " + " | ".join(systems) + " |\n|" + "---|" * (len(systems) + 1) + "\n"
    return (
        f"## Figures\n\nHeld-out clips of {dataset}, with 95 % bootstrap intervals over clips. A "
        "metric in another's place bears its own name.\n\n" + head + "\n".join(lines) + "\n"
    )


def _cell(row: MetricRow | None) -> str:
    if row is None or row.value is None:
        return "–"
    text = number(row.value, row.metric)
    if row.low is None or row.high is None:
        return text
    return f"{text} ({number(row.low, row.metric)} to {number(row.high, row.metric)})"
