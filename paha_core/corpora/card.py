"""The data set card: a corpus' clips, what was left out and why, and histograms of its scores.

Markdown with the front matter that model hubs read; written beside the clips, and into what
`paha corpus export` publishes.
"""

from __future__ import annotations

import json
import re
from collections import Counter, defaultdict
from collections.abc import Sequence

import numpy as np
import yaml
from numpy.typing import NDArray

from paha_core.config import CorpusConfig
from paha_core.corpora.clips import ClipRow, clip_rows
from paha_core.corpora.filters import Filter
from paha_core.corpora.filters.sync_estimate import best_shift
from paha_core.corpora.record import read_record
from paha_core.corpora.registry import CORPORA, title
from paha_core.engine.manifest_stage import KEPT
from paha_core.media import FPS
from paha_core.store import Store

BINS, BAR = 10, 30
SHOWN = 50  # rows of a table
COLUMNS = (  # that the card is made of
    *("clip_id", "speaker", "split", "status", "reason", "source", "source_id", "start", "end"),
    *("frames", "fps", "size", "source_fps", "sound_shift", "crop", "duplicate_of", "in_train"),
    *("scores", "sync_fits", "licence"),
)
MIN_CLIPS, CONSTANT = 3, 0.6  # of a source, and the share of them that an offset is constant in


def card_path(dataset: str) -> str:
    return f"cards/{dataset}.md"


def write_card(store: Store, dataset: str) -> str:
    """Write the card of `dataset`; returns its path in the store."""
    rel = card_path(dataset)
    rows = clip_rows(store, dataset, COLUMNS)
    text = card(rows, read_record(store, dataset), dataset).encode()
    if not store.exists(rel) or store.read_bytes(rel) != text:
        store.write_bytes(rel, text)
    return rel


def card(rows: Sequence[ClipRow], settings: CorpusConfig, dataset: str) -> str:
    """The card of the clips' manifest `rows`, made with `settings`."""
    kept = [row for row in rows if row["status"] == KEPT]
    parts = [
        _front_matter(dataset, settings, kept),
        f"# {title(settings, dataset)}\n",
        _facts(kept, rows, settings),
        _speakers(kept),
        _rejections(rows),
        _duplicates(kept),
        constant_offsets(rows),
        _scores(rows, CORPORA[settings.kind].filters(settings)),
    ]
    return "\n".join(part for part in parts if part)


def _licences(kept: Sequence[ClipRow]) -> str:
    return "; ".join(sorted({row["licence"] for row in kept})) or "unknown: there are no clips"


def _front_matter(dataset: str, settings: CorpusConfig, kept: Sequence[ClipRow]) -> str:
    count = len(kept)
    size = "n<1K" if count < 1000 else "1K<n<10K" if count < 10_000 else "10K<n<100K"
    facts = {
        "pretty_name": title(settings, dataset),
        "language": [settings.language],
        "license": "other",
        "license_name": _licences(kept),
        "size_categories": [size],
        "tags": ["audio-driven", "talking-head", "co-speech-gesture", "video"],
    }
    return f"---\n{yaml.safe_dump(facts, sort_keys=False, allow_unicode=True)}---\n"


def _facts(kept: Sequence[ClipRow], rows: Sequence[ClipRow], settings: CorpusConfig) -> str:
    seconds = sum(row["frames"] / row["fps"] for row in kept)
    sides = Counter(row["split"] for row in kept)
    videos: dict[str, set[str]] = defaultdict(set)
    for row in kept:
        videos[row["split"]].add(f"{row['speaker']}/{row['source']}")
    both = len(videos["train"] & videos["test"])
    forms = sorted({f"{row['size']} x {row['size']} pixels at {row['fps']:g} fps" for row in kept})
    lines = [
        f"{len(kept)} clips of {len(rows)} candidates, {seconds:.0f} s ({seconds / 3600:.2f} h)",
        f"split: {sides['train']} train, {sides['test']} test; {both} source videos in both",
        f"{', '.join(forms) or 'no clips'}; H.264; 16-bit wav at its own rate",
        f"sources: {_rates(kept)}",
        f"language: {settings.language} (from the settings, not detected)",
        f"licence: {_licences(kept)}",
    ]
    known = [row for row in kept if row.get("in_train")]
    if known:
        lines.append(f"test clips that repeat a training clip or share its source: {len(known)}")
    lines += CORPORA[settings.kind].card_lines(settings)
    return "\n".join(f"- {line}" for line in lines) + "\n"


def _rates(kept: Sequence[ClipRow]) -> str:
    """Frame rates of the sources, and the pixels of the squares that clips were cut from."""
    if not kept:
        return "none"
    rates = Counter(f"{row['source_fps']:.4g}" for row in kept)
    sides = [json.loads(crop)[2] for crop in {row["crop"] for row in kept}]
    listed = ", ".join(f"{count} clips at {rate} fps" for rate, count in rates.most_common(5))
    return f"{listed}; squares of {min(sides)} to {max(sides)} pixels"


def _speakers(kept: Sequence[ClipRow]) -> str:
    lines = [
        "## Speakers\n",
        "| speaker | clips | seconds | train | test |",
        "|---|---|---|---|---|",
    ]
    by_speaker: dict[str, list[ClipRow]] = defaultdict(list)
    for row in kept:
        by_speaker[row["speaker"]].append(row)
    for name, own in sorted(by_speaker.items()):
        sides = Counter(row["split"] for row in own)
        seconds = sum(row["frames"] / row["fps"] for row in own)
        lines.append(
            f"| {name} | {len(own)} | {seconds:.1f} | {sides['train']} | {sides['test']} |"
        )
    return "\n".join(lines) + "\n"


def _rejections(rows: Sequence[ClipRow]) -> str:
    kinds = Counter(kind(row["reason"]) for row in rows if row["status"] != KEPT)
    if not kinds:
        return ""
    lines = ["## Left out\n", "| clips | reason |", "|---|---|"]
    lines += [f"| {count} | {reason.replace('|', '/')} |" for reason, count in kinds.most_common()]
    return "\n".join(lines) + "\n"


def _duplicates(kept: Sequence[ClipRow]) -> str:
    splits = {row["clip_id"]: row["split"] for row in kept}
    pairs = [(row, row["duplicate_of"]) for row in kept if row.get("duplicate_of")]
    if not pairs:
        return ""
    across = sum(splits.get(original) != row["split"] for row, original in pairs)
    lines = [
        "## Near duplicates\n",
        f"{len(pairs)} clips repeat another one, {across} of them one of the other split.\n",
        "| clip | repeats |",
        "|---|---|",
    ]
    lines += [f"| {row['clip_id']} | {original} |" for row, original in pairs[:SHOWN]]
    return "\n".join(lines) + "\n"


def constant_offsets(rows: Sequence[ClipRow]) -> str:
    """Sources whose sound is off by a constant, by all of their clips, whether those were kept,
    corrected or rejected."""
    sources: dict[str, list[ClipRow]] = defaultdict(list)
    for row in rows:
        scores = row.get("scores") or ""
        if "sync_offset" in scores and json.loads(scores).get("sync_offset") is not None:
            sources[f"{row['speaker']}/{row['source_id']}"].append(row)
    lines = []
    for source, clips in sorted(sources.items()):
        offset, share = source_offset(clips)
        if offset and len(clips) >= MIN_CLIPS:
            lines.append(f"| {source} | {len(clips)} | {offset:+d} | {share:.0%} |")
    if not lines:
        return ""
    head = [
        "## Constant offsets of the sound\n",
        "| source | clips | frames late | clips within 1 |",
    ]
    return "\n".join([*head, "|---|---|---|---|", *lines]) + "\n"


def source_offset(clips: Sequence[ClipRow]) -> tuple[int, float]:
    """Frames by which the sound of a source is late, 0 where that is not sure, and the share of its
    clips that are within one frame of it.

    The embedded estimate's fits are averaged over the clips, which finds what no clip of filmed
    people shows by itself; SyncNet's offsets have to agree in most clips.
    """
    corrected = [round((row.get("sound_shift") or 0.0) * FPS) for row in clips]
    scores = [json.loads(row["scores"])["sync_offset"] for row in clips]
    offsets = np.array(scores) + corrected
    curves = [json.loads(row.get("sync_fits") or "[]") for row in clips]
    if all(curves):
        moved = [_shifted(np.array(fits), by) for fits, by in zip(curves, corrected, strict=True)]
        frames = sum(row.get("frames") or round((row["end"] - row["start"]) * FPS) for row in clips)
        sync = best_shift(np.mean(moved, axis=0), frames)
        offset = sync.offset if sync.is_sure else 0
        return offset, float(np.mean(np.abs(offsets - offset) <= 1))
    middle = round(float(np.median(offsets)))
    share = float(np.mean(np.abs(offsets - middle) <= 1))
    return (middle if share >= CONSTANT else 0), share


def _shifted(fits: NDArray[np.float64], by: int) -> NDArray[np.float64]:
    """The fits of a clip whose sound was moved `by` frames ahead, as those of its source; shifts
    that were not tried fit as well as the median."""
    known = np.full(len(fits), np.median(fits))
    low, high = max(0, by), len(fits) + min(0, by)
    known[low:high] = fits[low - by : high - by]
    return known


def kind(reason: str) -> str:
    """A reason without its measured numbers, which differ from clip to clip; names keep theirs."""
    plain = re.split(r"('[^']*'|\S*[/_]\S*)", reason)
    plain[::2] = [re.sub(r"(?<![\w.-])-?\d+(\.\d+)?(?![\w-])", "…", part) for part in plain[::2]]
    return "".join(plain)


def _scores(rows: Sequence[ClipRow], filters: Sequence[Filter]) -> str:
    """Histograms of every score over kept and rejected clips, with the filter's threshold."""
    values: dict[str, list[float]] = defaultdict(list)
    for row in rows:
        for name, score in json.loads(row.get("scores") or "{}").items():
            if score is not None:
                values[name].append(score)
    thresholds = {each.name: threshold(each) for each in filters}
    parts = []
    for name, scores in values.items():
        bound, limit = thresholds.get(name, ("", float("nan")))
        title = f"### {name}" + (f" (kept: {bound} {limit:g})" if bound else "")
        parts.append("\n".join([title, "", "```", *histogram(scores), "```", ""]))
    return "\n".join(["## Scores\n", *parts]) if parts else ""


def threshold(each: Filter) -> tuple[str, float]:
    """A filter's bound, "at least" or "at most" by the name of its first field, and its value."""
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
