"""The data set card: what a corpus holds, what was left out and why, and its scores' spread.

Markdown with the front matter that model hubs read; written beside the clips, and into what
`paha corpus export` publishes.
"""

from __future__ import annotations

import json
import re
from collections import Counter, defaultdict
from collections.abc import Sequence
from typing import Any

import numpy as np
import yaml

from paha_core.config import CnasConfig, CorporaConfig, PatsConfig
from paha_core.corpora.cnas import anchor_filters
from paha_core.corpora.filters import Filter
from paha_core.corpora.pats import interval_filters
from paha_core.errors import UserError
from paha_core.stages import KEPT, read_manifest
from paha_core.store import Store

BINS, BAR = 10, 30
FULL_NAMES = {
    "pats": "PATS clips (Pose, Audio, Transcript, Style)",
    "cnas": "Clips of CNAS's form (Chinese news anchors' speech)",
}


def card_path(dataset: str) -> str:
    return f"cards/{dataset}.md"


def write_card(store: Store, corpora: CorporaConfig, dataset: str) -> str:
    """Write the card of `dataset` where it belongs; returns its place in the store."""
    rel = card_path(dataset)
    text = card(read_manifest(store, "clips", dataset), corpora, dataset).encode()
    if not store.exists(rel) or store.read_bytes(rel) != text:
        store.write_bytes(rel, text)
    return rel


def card(rows: Sequence[dict[str, Any]], corpora: CorporaConfig, dataset: str) -> str:
    """The card of the clips' manifest `rows`. Raises `UserError` without such a corpus."""
    settings = getattr(corpora, dataset, None)
    if settings is None:
        raise UserError(f"the preset has no corpus {dataset}")
    kept = [row for row in rows if row["status"] == KEPT]
    parts = [
        _front_matter(dataset, settings, licence_of(corpora, settings), len(kept)),
        f"# {FULL_NAMES[dataset]}\n",
        _facts(kept, rows, corpora, settings),
        _speakers(kept),
        _rejections(rows),
        _scores(rows, filters_of(settings)),
    ]
    return "\n".join(part for part in parts if part)


def filters_of(settings: PatsConfig | CnasConfig) -> tuple[Filter, ...]:
    return (
        anchor_filters(settings) if isinstance(settings, CnasConfig) else interval_filters(settings)
    )


def is_drawn(corpora: CorporaConfig, settings: PatsConfig | CnasConfig) -> bool:
    """Whether the clips are the studio corpus' own."""
    own = settings.programmes if isinstance(settings, CnasConfig) else settings.csv
    return corpora.studio is not None and not own


def licence_of(corpora: CorporaConfig, settings: PatsConfig | CnasConfig) -> str:
    """What the preset says; drawn footage is under this project's licence."""
    return "apache-2.0" if is_drawn(corpora, settings) else settings.licence


def _front_matter(dataset: str, settings: PatsConfig | CnasConfig, licence: str, kept: int) -> str:
    size = "n<1K" if kept < 1000 else "1K<n<10K" if kept < 10_000 else "10K<n<100K"
    facts = {
        "pretty_name": FULL_NAMES[dataset],
        "language": [settings.language],
        "license": "other",
        "license_name": licence,
        "size_categories": [size],
        "tags": ["audio-driven", "talking-head", "co-speech-gesture", "video"],
    }
    return f"---\n{yaml.safe_dump(facts, sort_keys=False, allow_unicode=True)}---\n"


def _facts(
    kept: Sequence[dict[str, Any]],
    rows: Sequence[dict[str, Any]],
    corpora: CorporaConfig,
    settings: PatsConfig | CnasConfig,
) -> str:
    seconds = sum(row["frames"] / row["fps"] for row in kept)
    sides = Counter(row["split"] for row in kept)
    videos: dict[str, set[str]] = defaultdict(set)
    for row in kept:
        videos[row["split"]].add(f"{row['speaker']}/{row['source']}")
    both = len(videos["train"] & videos["test"])
    drawn = is_drawn(corpora, settings)
    source = "drawn presenters of the embedded studio corpus" if drawn else "your own footage"
    size = corpora.clip.size
    lines = [
        f"{len(kept)} clips of {len(rows)} candidates, {seconds:.0f} s ({seconds / 3600:.2f} h)",
        f"split: {sides['train']} train, {sides['test']} test; {both} source videos on both sides",
        f"{size} x {size} pixels at {corpora.clip.fps} fps, H.264; 16-bit wav at its own rate",
        f"language: {settings.language} (as the preset says; it is not detected)",
        f"licence: {licence_of(corpora, settings)}",
        f"source: {source}",
    ]
    if isinstance(settings, CnasConfig):
        used = "used" if settings.dinov2 and settings.min_part_share is not None else "not used"
        lines.append(f"body parts by DINOv2 (appendix C, optional): {used}")
    return "\n".join(f"- {line}" for line in lines) + "\n"


def _speakers(kept: Sequence[dict[str, Any]]) -> str:
    lines = [
        "## Speakers\n",
        "| speaker | clips | seconds | train | test |",
        "|---|---|---|---|---|",
    ]
    for name in sorted({row["speaker"] for row in kept}):
        own = [row for row in kept if row["speaker"] == name]
        sides = Counter(row["split"] for row in own)
        seconds = sum(row["frames"] / row["fps"] for row in own)
        lines.append(
            f"| {name} | {len(own)} | {seconds:.1f} | {sides['train']} | {sides['test']} |"
        )
    return "\n".join(lines) + "\n"


def _rejections(rows: Sequence[dict[str, Any]]) -> str:
    """Grouped by the reason's words; its numbers differ from clip to clip."""
    kinds = Counter(
        re.sub(r"-?\d+(?:\.\d+)?", "…", row["reason"]) for row in rows if row["status"] != KEPT
    )
    if not kinds:
        return ""
    lines = ["## Left out\n", "| clips | reason |", "|---|---|"]
    lines += [f"| {count} | {kind.replace('|', '/')} |" for kind, count in kinds.most_common()]
    return "\n".join(lines) + "\n"


def _scores(rows: Sequence[dict[str, Any]], filters: Sequence[Filter]) -> str:
    """Histograms of every score over kept and rejected clips, beside what is asked."""
    values: dict[str, list[float]] = defaultdict(list)
    for row in rows:
        for name, score in json.loads(row.get("scores") or "{}").items():
            if score is not None:
                values[name].append(score)
    asked = {each.name: threshold(each) for each in filters}
    parts = []
    for name, scores in values.items():
        bound, limit = asked.get(name, ("", float("nan")))
        title = f"### {name}" + (f" (asked: {bound} {limit:g})" if bound else "")
        parts.append("\n".join([title, "", "```", *histogram(scores), "```", ""]))
    return "\n".join(["## Scores\n", *parts]) if parts else ""


def threshold(each: Filter) -> tuple[str, float]:
    """What a filter asks: "at least" or "at most", and the number; its first field says which."""
    name, value = next(iter(vars(each).items()))
    return ("at least" if name.startswith("min_") else "at most"), float(value)


def histogram(scores: Sequence[float]) -> list[str]:
    """Ten lines: a bin's range, a bar, how many are in it; one line where all scores are alike."""
    if min(scores) == max(scores):
        return [f"{scores[0]:9.3f}  {'#' * BAR} {len(scores)}"]
    counts, edges = np.histogram(scores, bins=BINS)
    longest = max(int(counts.max()), 1)
    return [
        f"{low:9.3f} to {high:9.3f}  {'#' * round(BAR * int(count) / longest):{BAR}} {count}"
        for count, low, high in zip(counts, edges, edges[1:], strict=False)
    ]
