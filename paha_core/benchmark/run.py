"""One call evaluates every system of a run under one protocol.

Systems are `real` (the held-out clips themselves: the best value that a metric can have), each
generated mode, the imported videos of other systems, and controls. All are compared
with the same reference, the real training clips, over the same held-out clips and as many frames.
"""

from __future__ import annotations

from dataclasses import asdict

from paha_core import trained
from paha_core.benchmark import history
from paha_core.benchmark.cells import to_markdown
from paha_core.benchmark.measuring.evaluate import evaluate
from paha_core.benchmark.measuring.extractors import weight_files
from paha_core.benchmark.measuring.systems import control_systems, external_systems
from paha_core.benchmark.measuring.videos import Systems, collect_videos, content_sha256
from paha_core.config import Preset
from paha_core.engine.manifest_stage import kept_rows
from paha_core.inference.timing import HELD_OUT, read_times
from paha_core.metrics.protocol import protocol_of
from paha_core.metrics.registry import metrics_of
from paha_core.metrics.row import MetricRow, rows_to_table
from paha_core.store import Store, sha256_json

SUITE = "main"
RESULTS = "benchmark/results"
SUMMARY = f"{RESULTS}.md"  # over all data sets, with intervals
CODE_VERSION = 5


def all_systems(store: Store, preset: Preset) -> Systems:
    """Our systems, imported ones and the controls."""
    ours = collect_videos(store, preset)
    others = external_systems(store, ours["real"])
    return ours | others | control_systems(store, preset, ours["real"])


def run_benchmark(
    store: Store, preset: Preset, *, workers: int = 1, device: str = "cpu"
) -> list[MetricRow]:
    """Every metric of every system, overall and by dataset; a missing cell has its reason.

    Written to `benchmark/results` (`.parquet`, `.json`, `.md`), and to the history by checkpoint.
    When nothing it depends on has changed, the stored rows are returned and nothing is computed.
    """
    systems = all_systems(store, preset)
    times = read_times(store, HELD_OUT)
    fingerprint = results_fingerprint(store, preset, systems, times)
    if (stored := load_results(store)) is not None and stored[0] == fingerprint:
        return stored[1]
    evaluation = evaluate(store, preset, systems, times=times, workers=workers, device=device)
    rows = [
        row
        for system in systems
        for dataset in evaluation.scopes()
        for row in evaluation.rows(SUITE, system, dataset)
    ]
    store.write_table(f"{RESULTS}.parquet", rows_to_table(rows))
    store.write_bytes(SUMMARY, to_markdown(rows).encode())
    history.append(store, preset, rows)
    store.write_json(
        f"{RESULTS}.json",
        {
            "fingerprint": fingerprint,
            "preset": preset.name,
            "protocol": asdict(protocol_of(preset)),
            "rows": [asdict(row) for row in rows],
        },
    )
    return rows


def load_results(store: Store) -> tuple[str, list[MetricRow]] | None:
    """The stored results with their fingerprint, or None before the first run."""
    stored = store.read_json(f"{RESULTS}.json", absent=None)
    if stored is None:
        return None
    return stored["fingerprint"], [MetricRow(**row) for row in stored["rows"]]


def results_fingerprint(store: Store, preset: Preset, systems: Systems, *more: object) -> str:
    """A hash of the content of everything that the results of these systems depend on."""
    datasets = preset.corpora.datasets
    clips, keypoints = (kept_rows(store, stage, datasets) for stage in ("clips", "keypoints"))
    videos = [video for group in systems.values() for video in group]
    beside = {rel for video in videos for rel in (video.audio_path, video.reference) if rel}
    beside |= set(store.glob("sources/truth/*/*.npz"))
    return sha256_json(
        {
            "protocol": protocol_of(preset).sha256,
            "code": CODE_VERSION,
            "settings": [preset.benchmark.settings(), preset.pose.identity()],
            "weights": weight_files(preset),
            "metrics": sorted(metric.name for metric in metrics_of(preset)),
            "videos": [asdict(video) for video in videos],
            "systems": list(systems),
            "beside": {rel: content_sha256(store, rel) for rel in sorted(beside)},
            "real": [[r["clip_id"], r["split"], r["sha256"]] for r in (*clips, *keypoints)],
            "trained": [trained.fingerprint(store, name) for name in trained.FEATURE_NETWORKS],
            "more": more,
        }
    )
