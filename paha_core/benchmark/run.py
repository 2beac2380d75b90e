"""One call evaluates every system of a run under one protocol.

Systems are `real` (the held-out clips themselves: the best value a metric can be asked for) and
each generated mode. All are compared with the same reference, the real training clips, over the
same held-out clips and as many frames.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass

import numpy as np

from paha_core.benchmark.measure import Measured, common_reason, measure, truth_openness
from paha_core.benchmark.poses import PoseSpace, pose_space
from paha_core.benchmark.videos import NO_VIDEOS, KeypointSource, Video, collect_videos
from paha_core.config import Preset
from paha_core.metrics import lips
from paha_core.metrics.bootstrap import Interval, bootstrap_mean, bootstrap_statistic
from paha_core.metrics.diversity import derangement, diversity
from paha_core.metrics.fgd import fgd
from paha_core.metrics.row import METRICS, PROTOCOL, MetricRow, rows_to_table
from paha_core.progress import Progress
from paha_core.stages import kept_rows
from paha_core.store import Store, sha256_json

SUITE = "main"
RESULTS = "benchmark/results"
CODE_VERSION = 1

UNAVAILABLE = {
    "sync_c": "needs SyncNet weights: none are configured",
    "fvd": "needs I3D Kinetics-400 weights: none are configured",
}


@dataclass(frozen=True)
class _Evaluation:
    """Everything that the rows are made of."""

    preset: Preset
    measured: dict[tuple[str, str], Measured]  # (system, clip id)
    features: dict[tuple[str, str], np.ndarray]  # pose features [n, 32]
    truths: dict[str, np.ndarray]  # the drawn mouth by clip id
    space: PoseSpace | str
    detector: tuple[str, str]  # name, weights' sha256


def run_benchmark(store: Store, preset: Preset) -> list[MetricRow]:
    """Every metric of every system, overall and by dataset; a cell that can't be had says why.

    Written to `benchmark/results.parquet` and `.json`. When nothing it depends on has changed, the
    stored rows are returned and nothing is computed.
    """
    systems = collect_videos(store, preset)
    fingerprint = _fingerprint(store, preset, systems)
    if (stored := load_results(store)) is not None and stored[0] == fingerprint:
        return stored[1]
    evaluation = _evaluate(store, preset, systems)
    present = {video.dataset for videos in systems.values() for video in videos}
    datasets = [name for name in preset.corpora.datasets if name in present]
    # With a single corpus its row and `all` would be the same numbers twice.
    scopes = datasets if len(datasets) == 1 else ["all", *datasets]
    rows = [
        row
        for system, videos in systems.items()
        for dataset in scopes
        for row in _system_rows(evaluation, system, dataset, videos)
    ]
    store.write_table(f"{RESULTS}.parquet", rows_to_table(rows))
    store.write_json(
        f"{RESULTS}.json",
        {
            "fingerprint": fingerprint,
            "preset": preset.name,
            "protocol": PROTOCOL,
            "rows": [asdict(row) for row in rows],
        },
    )
    return rows


def load_results(store: Store) -> tuple[str, list[MetricRow]] | None:
    """The stored results with their fingerprint, or None before the first run."""
    if not store.exists(f"{RESULTS}.json"):
        return None
    stored = store.read_json(f"{RESULTS}.json")
    return stored["fingerprint"], [MetricRow(**row) for row in stored["rows"]]


def _fingerprint(store: Store, preset: Preset, systems: dict[str, list[Video]]) -> str:
    keypoints = kept_rows(store, "keypoints", preset.corpora.datasets)
    return sha256_json(
        {
            "protocol": PROTOCOL,
            "code": CODE_VERSION,
            "settings": [preset.benchmark.settings(), preset.pose.settings()],
            "size": preset.corpora.clip.size,
            "videos": [asdict(video) for videos in systems.values() for video in videos],
            "references": [
                store.exists(video.reference) for video in systems["real"] if video.reference
            ],
            "keypoints": [[row["clip_id"], row["split"], row["sha256"]] for row in keypoints],
            "truth": store.glob("sources/truth/*/*.npz"),
        }
    )


def _evaluate(store: Store, preset: Preset, systems: dict[str, list[Video]]) -> _Evaluation:
    source = KeypointSource(store, preset)
    videos = [video for group in systems.values() for video in group]
    clips = {row["clip_id"]: row for row in kept_rows(store, "clips", preset.corpora.datasets)}
    space = pose_space(store, preset, source, min((v.frames for v in videos), default=0))
    measured: dict[tuple[str, str], Measured] = {}
    features: dict[tuple[str, str], np.ndarray] = {}
    truths: dict[str, np.ndarray] = {}
    detector: tuple[str, str] = (preset.pose.detector, "")
    with Progress(len(videos), "benchmark", unit="video") as progress:
        for video in videos:
            key = (video.system, video.clip_id)
            measured[key] = measure(store, preset, source, video)
            keypoints = source.of(video)
            if keypoints is not None:
                detector = (keypoints.detector, keypoints.weights_sha256)
            if isinstance(space, PoseSpace):
                features[key] = space.features(keypoints)
            truth = truth_openness(store, clips.get(video.clip_id), video.frames)
            if truth is not None:
                truths[video.clip_id] = truth
            progress.update()
    return _Evaluation(preset, measured, features, truths, space, detector)


# --- rows -----------------------------------------------------------------------------------------

_Cell = tuple[Interval | None, int, str]  # value, n, reason


def _system_rows(
    evaluation: _Evaluation, system: str, dataset: str, videos: Sequence[Video]
) -> list[MetricRow]:
    videos = [video for video in videos if dataset in ("all", video.dataset)]
    rows = []
    for metric in METRICS:
        if metric in UNAVAILABLE:
            cell: _Cell = (None, 0, UNAVAILABLE[metric])
        elif not videos:
            cell = (None, 0, NO_VIDEOS)
        else:
            cell = _CELLS.get(metric, _mean_cell)(evaluation, metric, dataset, videos)
        rows.append(_row(evaluation, system, dataset, metric, cell))
    return rows


def _row(evaluation: _Evaluation, system: str, dataset: str, metric: str, cell: _Cell) -> MetricRow:
    interval, n, reason = cell
    about = METRICS[metric]
    extractor, sha256 = _extractor(evaluation, metric)
    return MetricRow(
        suite=SUITE,
        system=system,
        dataset=dataset,
        metric=metric,
        value=interval.value if interval else None,
        low=interval.low if interval else None,
        high=interval.high if interval else None,
        n=n,
        unit=about.unit,
        direction=about.direction,
        extractor=extractor,
        extractor_sha256=sha256,
        reason=reason,
    )


def _extractor(evaluation: _Evaluation, metric: str) -> tuple[str, str]:
    detector, sha256 = evaluation.detector
    if metric in UNAVAILABLE:
        return "", ""
    if metric in ("fgd", "diversity"):
        space = evaluation.space
        return (space.name, space.sha256) if isinstance(space, PoseSpace) else ("", "")
    if metric.startswith("tc"):
        return "wall clock", ""
    if metric.startswith("bas"):
        return f"librosa onsets, {detector} keypoints", sha256
    if metric in ("lip_correlation_truth", "lip_correlation_exchanged"):
        against = "drawn truth" if evaluation.truths else "real landmarks"
        return f"{detector} landmarks against {against}", sha256
    return f"{detector} keypoints", sha256


def _mean_cell(
    evaluation: _Evaluation, metric: str, dataset: str, videos: Sequence[Video]
) -> _Cell:
    """The mean over the clips that have the metric."""
    measured = [evaluation.measured[video.system, video.clip_id] for video in videos]
    values = [m.values[metric] for m in measured if metric in m.values]
    reasons = [m.reasons.get(metric, "the clip has no keypoints") for m in measured]
    return _mean(evaluation, values, common_reason(reasons))


def _mean(evaluation: _Evaluation, values: Sequence[float], reason: str) -> _Cell:
    if not values:
        return None, 0, reason
    settings = evaluation.preset.benchmark
    interval = bootstrap_mean(values, rounds=settings.bootstrap, seed=settings.seed)
    return interval, len(values), ""


def _pose_cell(
    evaluation: _Evaluation, metric: str, dataset: str, videos: Sequence[Video]
) -> _Cell:
    space, settings = evaluation.space, evaluation.preset.benchmark
    if isinstance(space, str):
        return None, 0, space
    groups = [evaluation.features[video.system, video.clip_id] for video in videos]
    groups = [group for group in groups if len(group)]
    if len(groups) < 2:
        return None, 0, f"needs at least 2 clips with a whole pose window, there are {len(groups)}"
    windows = sum(len(group) for group in groups)
    if metric == "fgd":
        reference = space.reference.get(dataset)
        if reference is None or len(reference) < 2:
            return None, 0, "the training clips of this dataset give fewer than 2 pose windows"
        interval = fgd(groups, reference, rounds=settings.bootstrap, seed=settings.seed)
    else:
        interval = bootstrap_statistic(
            groups,
            lambda features: diversity(features, seed=settings.seed, rounds=4),
            rounds=settings.bootstrap,
            seed=settings.seed,
        )
    return interval, windows, ""


def _lip_truth_cell(
    evaluation: _Evaluation, metric: str, dataset: str, videos: Sequence[Video]
) -> _Cell:
    values = [
        lips.lip_correlation(np.asarray(openness), evaluation.truths[video.clip_id])
        for video, openness in _with_mouth(evaluation, videos)
        if video.clip_id in evaluation.truths
    ]
    reason = "no face or a still mouth" if evaluation.truths else "no drawn truth for these clips"
    return _mean(evaluation, [v for v in values if v is not None], reason)


def _lip_exchanged_cell(
    evaluation: _Evaluation, metric: str, dataset: str, videos: Sequence[Video]
) -> _Cell:
    """The control: each video against another clip's mouth. Real lip sync is near 0 here."""
    pairs = []
    for video, openness in _with_mouth(evaluation, videos):
        truth = evaluation.truths.get(video.clip_id)
        if truth is None and not evaluation.truths:
            real = evaluation.measured["real", video.clip_id].openness
            truth = None if real is None else np.asarray(real)
        if truth is not None:
            pairs.append((np.asarray(openness), truth))
    if len(pairs) < 2:
        return None, 0, f"needs at least 2 clips with a mouth, there are {len(pairs)}"
    # Every clip with every other when they are few: a single derangement would be mostly luck.
    rng = np.random.default_rng(evaluation.preset.benchmark.seed)
    orders = [derangement(len(pairs), rng) for _ in range(min(len(pairs) - 1, 8))]
    values = []
    for i, (mouth, _) in enumerate(pairs):
        found = [lips.lip_correlation(mouth, pairs[order[i]][1]) for order in orders]
        kept = [value for value in found if value is not None]
        if kept:
            values.append(float(np.mean(kept)))
    return _mean(evaluation, values, "a mouth never moves, or under 16 frames")


def _with_mouth(
    evaluation: _Evaluation, videos: Sequence[Video]
) -> list[tuple[Video, list[float]]]:
    found = []
    for video in videos:
        openness = evaluation.measured[video.system, video.clip_id].openness
        if openness is not None:
            found.append((video, openness))
    return found


_CELLS: dict[str, Callable[[_Evaluation, str, str, Sequence[Video]], _Cell]] = {
    "fgd": _pose_cell,
    "diversity": _pose_cell,
    "lip_correlation_truth": _lip_truth_cell,
    "lip_correlation_exchanged": _lip_exchanged_cell,
}
