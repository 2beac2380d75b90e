"""Runs a table of the paper: generates its videos, measures them and tests the paper's claims."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace

import pyarrow as pa

from paha_core.benchmark.measuring.evaluate import evaluate
from paha_core.benchmark.measuring.systems import external_systems
from paha_core.benchmark.measuring.videos import Systems, SystemVideo, real_video
from paha_core.benchmark.run import results_fingerprint
from paha_core.benchmark.tables.claims import Comparison, compare
from paha_core.benchmark.tables.published import PUBLISHED
from paha_core.benchmark.tables.samples import RowSamples
from paha_core.benchmark.tables.specs import SUITES, Suite, require_distinct
from paha_core.benchmark.tables.variants import trained_variant, variant_name
from paha_core.config import Preset, derived
from paha_core.engine.manifest_stage import kept_rows
from paha_core.engine.progress import Progress
from paha_core.errors import StageError
from paha_core.inference.timing import Timings
from paha_core.metrics.protocol import protocol_of
from paha_core.metrics.row import MetricRow, rows_to_table
from paha_core.store import Store

FORM = 3  # of the stored results


@dataclass(frozen=True)
class SuiteResult:
    """A table as it was measured. `strengths`: the lambdas that its rows share or multiply.
    `computed`: whether anything had to be."""

    number: int
    fingerprint: str
    rows: list[MetricRow]
    comparisons: list[Comparison]
    seeds: list[int]
    clips: int
    strengths: dict[str, float]
    computed: bool = False

    @property
    def path(self) -> str:
        return suite_path(self.number)


def suite_path(number: int) -> str:
    return f"benchmark/suites/table{number}.json"


def run_suite(
    store: Store, preset: Preset, number: int, *, workers: int = 1, device: str = "cpu"
) -> SuiteResult:
    """Generate, measure and judge one table; existing results are reused.

    Writes `benchmark/suites/table<N>.json` and `.parquet`, and the verdicts as
    `table<N>_verdicts.parquet`. Raises `StageError` for a table that can't be run or has two rows
    that would be the same, and `FileNotFoundError` that names the stage whose weights are missing.
    """
    if number not in SUITES:
        others = ", ".join(map(str, SUITES))
        raise StageError(f"table {number} can't be run (4 is the user study): there are {others}")
    suite, settings = SUITES[number], preset.benchmark.suite
    require_distinct(suite, preset)
    clips = settings.clips or preset.generation.clips
    frames = min(settings.max_frames or 10**9, preset.generation.max_frames)
    whole = preset
    preset = derived(whole, {"generation": {"clips": clips, "max_frames": frames}})
    _require_same_window(store, whole, preset)
    seeds = [preset.generation.seed + k for k in range(settings.seeds)]
    samples = _samples(store, preset, suite, device)
    systems = _systems(store, suite, samples, seeds)
    times = _times(suite, samples)
    fingerprint = results_fingerprint(store, preset, systems, suite.name, times)
    stored = load_suite(store, number)
    if stored is not None and stored.fingerprint == fingerprint:
        return stored
    evaluation = evaluate(store, preset, systems, times=times, workers=workers, device=device)
    rows = [
        row
        for system in systems
        for dataset in evaluation.scopes()
        for row in evaluation.rows(suite.name, system, dataset)
    ]
    found = compare(suite, evaluation, rows)
    strengths = settings.guidance.settings()
    made_of = len(samples[suite.baseline].clips)
    result = SuiteResult(number, fingerprint, rows, found, seeds, made_of, strengths, computed=True)
    _write(store, preset, result)
    return result


def _require_same_window(store: Store, whole: Preset, cut: Preset) -> None:
    """A table must use the run's own pose autoencoder, or its FGD could not be compared with the
    run's."""
    from paha_core.training.tasks.pose_autoencoder import pose_window

    ours, theirs = pose_window(store, whole), pose_window(store, cut)
    if ours != theirs:
        raise StageError(
            f"benchmark.suite.max_frames {cut.generation.max_frames} holds no pose window of "
            f"{ours} frames at 15 fps, which FGD takes: raise it, or set benchmark.pose_window "
            f"to {theirs}"
        )


def load_suite(store: Store, number: int) -> SuiteResult | None:
    """The result that `run_suite` last wrote, or None."""
    if not store.exists(suite_path(number)):
        return None
    stored = store.read_json(suite_path(number))
    if stored.get("form") != FORM:
        return None  # an earlier version's: it is measured again
    rows = [MetricRow(**row) for row in stored["rows"]]
    found = [Comparison(**cell) for cell in stored["comparisons"]]
    about = (stored[name] for name in ("seeds", "clips", "strengths"))
    return SuiteResult(number, stored["fingerprint"], rows, found, *about)


def _write(store: Store, preset: Preset, result: SuiteResult) -> None:
    base = result.path.removesuffix(".json")
    store.write_table(f"{base}.parquet", rows_to_table(result.rows))
    if result.comparisons:
        store.write_table(f"{base}_verdicts.parquet", verdict_table(result.comparisons))
    described = asdict(result) | {"preset": preset.name, "protocol": asdict(protocol_of(preset))}
    described["form"] = FORM
    del described["computed"]
    store.write_json(result.path, described)


def verdict_table(comparisons: Sequence[Comparison]) -> pa.Table:
    """Cells with the paper's numbers, our differences and the verdicts."""
    return pa.Table.from_pylist([asdict(c) | {"claimed": c.claimed} for c in comparisons])


def _samples(store: Store, preset: Preset, suite: Suite, device: str) -> dict[str, RowSamples]:
    """The samples of each row; networks are trained for rows with `training`, and shared by rows
    with the same."""
    by_networks = {"": RowSamples(store, store, preset, device)}
    for row in suite.rows:
        name = variant_name(row.training)
        if name not in by_networks:
            alike = [other for other in suite.rows if other.training == row.training]
            guided = any(other.mode != "unguided" for other in alike)
            own = trained_variant(store, preset, row.training, device, guided=guided)
            by_networks[name] = RowSamples(store, *own, device)
    return {row.name: by_networks[variant_name(row.training)] for row in suite.rows}


def _systems(
    store: Store, suite: Suite, samples: dict[str, RowSamples], seeds: Sequence[int]
) -> Systems:
    """The table's videos by row, `real` first; missing ones are generated."""
    for row in suite.rows:
        for seed in seeds:
            samples[row.name].video_set(row, seed)
    distinct = list({id(one): one for one in samples.values()}.values())
    with Progress(sum(one.missing for one in distinct), suite.name) as progress:
        for one in distinct:
            one.generate(progress)
            one.close()
    real = _real(store, distinct[0])
    others = external_systems(store, real)
    systems: Systems = {"real": real} | {k: v for k, v in others.items() if k in suite.others}
    for row in suite.rows:
        systems[row.name] = [v for seed in seeds for v in samples[row.name].videos(row, seed)]
    return systems


def _real(store: Store, samples: RowSamples) -> list[SystemVideo]:
    rows = {r["clip_id"]: r for r in kept_rows(store, "clips", samples.preset.corpora.datasets)}
    videos = ((clip, real_video(rows[clip.clip_id], clip.frames)) for clip in samples.clips)
    return [replace(video, reference=clip.reference) for clip, video in videos]


def _times(suite: Suite, samples: dict[str, RowSamples]) -> Timings:
    """Seconds of each row's segments, where the paper prints them."""
    if not any(cell.metric == "tc" for cell in PUBLISHED[suite.number].cells):
        return {}
    ours = samples[suite.baseline]
    found = ours.times(suite.rows, f"benchmark/suites/{suite.name}_times.json")
    ours.close()
    return found
