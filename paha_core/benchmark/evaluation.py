"""From videos to cells: everything that is measured on several systems under one protocol.

The unit of every statistic is the clip: what several seeds made of one clip belongs together. A
system's clip is a number (most metrics) or its windows' features (the distribution metrics).
"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, field
from functools import cached_property, partial
from multiprocessing import get_context
from typing import Any

import numpy as np

from paha_core.benchmark.extractors import Extractors
from paha_core.benchmark.measure import (
    Measured,
    Truth,
    common_reason,
    drawn_truth,
    measure,
    measured_path,
)
from paha_core.benchmark.poses import PoseSpace, pose_space
from paha_core.benchmark.videos import (
    NO_VIDEOS,
    KeypointSource,
    Systems,
    Video,
    real_video,
)
from paha_core.config import Preset
from paha_core.metrics import lips
from paha_core.metrics.beats import beat_error
from paha_core.metrics.bootstrap import (
    Interval,
    PairedDifference,
    bootstrap_mean,
    bootstrap_statistic,
    paired_bootstrap,
    paired_statistic,
)
from paha_core.metrics.diversity import derangement, diversity
from paha_core.metrics.frechet import FrechetReference
from paha_core.metrics.row import METRICS, MetricRow
from paha_core.processes import die_with_parent
from paha_core.progress import Progress
from paha_core.stages import kept_rows
from paha_core.store import Store

VIDEO_SPACES = ("fvd", "fvd_random_r3d")
DISTRIBUTIONS = ("fgd", "diversity", *VIDEO_SPACES)
NO_TRUTH = "no drawn truth for these clips"
WORTH_A_POOL = 12  # videos: starting two processes costs as much as measuring a few

Clips = dict[str, Any]
"""A metric's samples by clip: a number, or features `[n, D]`."""


@dataclass
class Evaluation:
    """Everything that the cells are made of."""

    preset: Preset
    systems: Systems
    extractors: Extractors
    space: PoseSpace | str
    measured: dict[tuple[str, str, int], Measured] = field(default_factory=dict)
    poses: dict[tuple[str, str, int], np.ndarray] = field(default_factory=dict)
    features: dict[str, dict[tuple[str, str, int], np.ndarray]] = field(default_factory=dict)
    references: dict[str, dict[str, np.ndarray]] = field(default_factory=dict)
    truths: dict[str, Truth] = field(default_factory=dict)
    detector: tuple[str, str] = ("", "")

    @cached_property
    def _statistics(self) -> dict[tuple[str, str], Callable[[np.ndarray], float] | str]:
        return {}

    # --- samples ----------------------------------------------------------------------------------

    def videos(self, system: str, dataset: str) -> list[Video]:
        found = self.systems.get(system, [])
        return [video for video in found if dataset in ("all", video.dataset)]

    def samples(self, metric: str, system: str, dataset: str) -> tuple[Clips, str]:
        """The metric of each clip that has it, and the reason that holds when none has."""
        videos = self.videos(system, dataset)
        if metric in self.extractors.missing:
            return {}, self.extractors.missing[metric]
        if not videos:
            return {}, NO_VIDEOS
        if metric in DISTRIBUTIONS:
            return self._windows(metric, videos)
        found: dict[str, list[float]] = {}
        reasons = []
        for video in videos:
            value, reason = self._value(metric, video, videos)
            if value is None:
                reasons.append(reason)
            else:
                found.setdefault(video.clip_id, []).append(value)
        clips = {clip_id: float(np.mean(values)) for clip_id, values in found.items()}
        return clips, common_reason(reasons) if reasons else ""

    def _windows(self, metric: str, videos: Sequence[Video]) -> tuple[Clips, str]:
        if metric in VIDEO_SPACES:
            source = self.features[metric]
        elif isinstance(self.space, str):
            return {}, self.space
        else:
            source = self.poses
        found: dict[str, list[np.ndarray]] = {}
        for video in videos:
            if len(source[video.key]):
                found.setdefault(video.clip_id, []).append(source[video.key])
        clips = {clip_id: np.concatenate(parts) for clip_id, parts in found.items()}
        if len(clips) < 2:
            return {}, f"needs at least 2 clips with a whole window, there are {len(clips)}"
        return clips, ""

    def _value(
        self, metric: str, video: Video, videos: Sequence[Video]
    ) -> tuple[float | None, str]:
        measured = self.measured[video.key]
        if metric in ("lip_correlation_truth", "lip_correlation_exchanged"):
            if measured.openness is None:
                return None, "no face in most frames"
            mouth = np.asarray(measured.openness)
            if metric == "lip_correlation_exchanged":
                return self._exchanged(video, mouth, videos)
            truth = self.truths.get(video.clip_id)
            if truth is None:
                return None, NO_TRUTH
            return lips.lip_correlation(mouth, truth.openness), "the drawn mouth never moves"
        if metric == "beat_error":
            truth = self.truths.get(video.clip_id)
            if truth is None or measured.beats is None:
                return None, NO_TRUTH if truth is None else "the shoulders are never seen"
            return beat_error(np.asarray(measured.beats), truth.beats), "no drawn beats"
        return measured.values.get(metric), measured.reasons.get(metric, "no keypoints")

    def _exchanged(
        self, video: Video, mouth: np.ndarray, videos: Sequence[Video]
    ) -> tuple[float | None, str]:
        """The control: a video against other clips' mouths. Real lip sync is near 0 here."""
        clips = sorted({v.clip_id for v in videos} & self._true_mouths.keys())
        if len(clips) < 2 or video.clip_id not in clips:
            return None, f"needs at least 2 clips with a mouth, there are {len(clips)}"
        # Every clip with every other when they are few: a single derangement would be mostly luck.
        rng = np.random.default_rng(self.preset.benchmark.seed)
        orders = [derangement(len(clips), rng) for _ in range(min(len(clips) - 1, 8))]
        at = clips.index(video.clip_id)
        others = [self._true_mouths[clips[order[at]]] for order in orders]
        values = [v for m in others if (v := lips.lip_correlation(mouth, m)) is not None]
        return float(np.mean(values)) if values else None, "the mouths never move"

    @cached_property
    def _true_mouths(self) -> dict[str, np.ndarray]:
        """The drawn mouths, or, where nothing was drawn, those of the real videos."""
        if self.truths:
            return {clip_id: truth.openness for clip_id, truth in self.truths.items()}
        real = ((v.clip_id, self.measured[v.key].openness) for v in self.systems.get("real", []))
        return {clip_id: np.asarray(mouth) for clip_id, mouth in real if mouth is not None}

    # --- statistics -------------------------------------------------------------------------------

    def statistic(self, metric: str, dataset: str) -> Callable[[np.ndarray], float] | str:
        """Of all windows of a distribution metric, or why there is none."""
        key = (metric, dataset)
        if key not in self._statistics:
            self._statistics[key] = self._new_statistic(metric, dataset)
        return self._statistics[key]

    def _new_statistic(self, metric: str, dataset: str) -> Callable[[np.ndarray], float] | str:
        if metric == "diversity":
            return partial(diversity, seed=self.preset.benchmark.seed, rounds=4)
        if metric in VIDEO_SPACES:
            real = self.references.get(metric, {})
        else:
            real = {} if isinstance(self.space, str) else self.space.reference
        if dataset not in real or len(real[dataset]) < 2:
            return "the training clips of this dataset give fewer than 2 windows"
        return FrechetReference(real[dataset]).distance

    def cell(self, metric: str, system: str, dataset: str) -> tuple[Interval | None, int, str]:
        """Value with interval, number of samples, and the reason when there is no value."""
        clips, reason = self.samples(metric, system, dataset)
        settings = self.preset.benchmark
        if not clips:
            return None, 0, reason
        if metric not in DISTRIBUTIONS:
            values = list(clips.values())
            interval = bootstrap_mean(values, rounds=settings.bootstrap, seed=settings.seed)
            return interval, len(values), ""
        statistic = self.statistic(metric, dataset)
        if isinstance(statistic, str):
            return None, 0, statistic
        groups = list(clips.values())
        interval = bootstrap_statistic(
            groups, statistic, rounds=settings.bootstrap, seed=settings.seed
        )
        return interval, sum(len(group) for group in groups), ""

    def difference(
        self, metric: str, system: str, baseline: str, dataset: str
    ) -> PairedDifference | None:
        """System minus baseline over the clips that both have; None where they share none."""
        ours, theirs = (self.samples(metric, s, dataset)[0] for s in (system, baseline))
        common = sorted(ours.keys() & theirs.keys())
        settings = self.preset.benchmark
        how: Any = {"rounds": settings.bootstrap, "seed": settings.seed}
        if metric not in DISTRIBUTIONS:
            pairs = [ours[c] for c in common], [theirs[c] for c in common]
            return paired_bootstrap(*pairs, **how) if len(common) > 1 else None
        statistic = self.statistic(metric, dataset)
        if isinstance(statistic, str) or len(common) < 2:
            return None
        groups = [ours[c] for c in common], [theirs[c] for c in common]
        return paired_statistic(*groups, statistic, **how)

    # --- rows -------------------------------------------------------------------------------------

    def scopes(self) -> list[str]:
        """`all` and each dataset; a single one's row and `all` would be the same numbers twice."""
        present = {video.dataset for videos in self.systems.values() for video in videos}
        datasets = [name for name in self.preset.corpora.datasets if name in present]
        return datasets if len(datasets) == 1 and len(present) == 1 else ["all", *datasets]

    def rows(self, suite: str, system: str, dataset: str) -> list[MetricRow]:
        return [self.row(suite, system, dataset, metric) for metric in METRICS]

    def row(self, suite: str, system: str, dataset: str, metric: str) -> MetricRow:
        interval, n, reason = self.cell(metric, system, dataset)
        extractor, sha256 = self._extractor(metric)
        return MetricRow(
            suite=suite,
            system=system,
            dataset=dataset,
            metric=metric,
            value=interval.value if interval else None,
            low=interval.low if interval else None,
            high=interval.high if interval else None,
            n=n,
            unit=METRICS[metric].unit,
            direction=METRICS[metric].direction,
            extractor=extractor,
            extractor_sha256=sha256,
            reason=reason,
        )

    def _extractor(self, metric: str) -> tuple[str, str]:
        detector, sha256 = self.detector
        if metric in self.extractors.missing:
            return "", ""
        if metric in self.extractors.named:
            return self.extractors.named[metric]
        if metric in ("fgd", "diversity"):
            space = self.space
            return (space.name, space.sha256) if isinstance(space, PoseSpace) else ("", "")
        if metric.startswith("tc"):
            return "wall clock", ""
        if metric.startswith("bas"):
            return f"librosa onsets, {detector} keypoints", sha256
        if metric in ("lip_correlation_truth", "lip_correlation_exchanged", "beat_error"):
            against = "drawn truth" if self.truths else "real landmarks"
            return f"{detector} landmarks against {against}", sha256
        return f"{detector} keypoints", sha256


# --- measuring ------------------------------------------------------------------------------------


def evaluate(
    store: Store, preset: Preset, systems: Systems, *, workers: int = 1, device: str = "cpu"
) -> Evaluation:
    """Measure every video of every system; what is known by content is not measured again."""
    source, extractors = KeypointSource(store, preset), Extractors(preset, device)
    videos = [video for group in systems.values() for video in group]
    clips = {row["clip_id"]: row for row in kept_rows(store, "clips", preset.corpora.datasets)}
    result = Evaluation(preset, systems, extractors, pose_space(store, preset))
    result.detector = (preset.pose.detector, "")
    _measure_in_processes(store, source, extractors, videos, workers)
    result.features = {m: {} for m in VIDEO_SPACES if m not in extractors.missing}
    with Progress(len(videos), "benchmark", unit="video") as progress:
        for video in videos:
            result.measured[video.key] = measure(store, preset, source, extractors, video)
            for metric, found in result.features.items():
                found[video.key] = extractors.video_features(store, metric, video)
            keypoints = source.of(video)
            if keypoints is not None:
                result.detector = (keypoints.detector, keypoints.weights_sha256)
            if isinstance(result.space, PoseSpace):
                result.poses[video.key] = result.space.features(keypoints)
            truth = drawn_truth(store, clips.get(video.clip_id), video.frames)
            if truth is not None:
                result.truths[video.clip_id] = truth
            progress.update()
    if videos:
        result.references = _video_references(store, preset, extractors, list(result.features))
    return result


def _video_references(
    store: Store, preset: Preset, extractors: Extractors, metrics: list[str]
) -> dict[str, dict[str, np.ndarray]]:
    """Features of real training clips by metric and dataset: the same for every system."""
    from paha_core.metrics.video_features import concatenated

    rows = kept_rows(store, "clips", preset.corpora.datasets)
    rows = [row for row in rows if row["split"] == "train" and store.exists(row["path"])]
    stride = max(1, -(-len(rows) // preset.benchmark.video_references))
    videos = [real_video(preset, row) for row in rows[::stride]]
    found: dict[str, dict[str, np.ndarray]] = {}
    with Progress(len(videos) * len(metrics), "real video features", unit="video") as progress:
        for metric in metrics:
            parts: dict[str, list[np.ndarray]] = {"all": []}
            for video in videos:
                features = extractors.video_features(store, metric, video)
                parts.setdefault(video.dataset, []).append(features)
                parts["all"].append(features)
                progress.update()
            found[metric] = {name: concatenated(groups) for name, groups in parts.items()}
    return found


def _measure_in_processes(
    store: Store,
    source: KeypointSource,
    extractors: Extractors,
    videos: Sequence[Video],
    workers: int,
) -> None:
    """Fill the caches side by side: detection takes most of the time, and one core a video."""
    todo = {
        measured_path(source, extractors, video): video
        for video in videos
        if not store.exists(measured_path(source, extractors, video))
    }
    workers = min(workers, len(os.sched_getaffinity(0)))  # not the cores that belong to others
    if workers < 2 or len(todo) < WORTH_A_POOL or extractors.device != "cpu":
        return
    settings = (store, source.preset)
    with (
        ProcessPoolExecutor(
            workers, get_context("spawn"), initializer=_open_worker, initargs=settings
        ) as pool,
        Progress(len(todo), "measure", unit="video") as progress,
    ):
        for _ in pool.map(_measure_one, todo.values()):
            progress.update()


_worker: dict[str, Any] = {}


def _open_worker(store: Store, preset: Preset) -> None:
    import torch

    die_with_parent()
    torch.set_num_threads(1)
    source, extractors = KeypointSource(store, preset), Extractors(preset)
    _worker.update(store=store, preset=preset, source=source, extractors=extractors)


def _measure_one(video: Video) -> None:
    store, extractors = _worker["store"], _worker["extractors"]
    measure(store, _worker["preset"], _worker["source"], extractors, video)
    for metric in VIDEO_SPACES:
        if metric not in extractors.missing:
            extractors.video_features(store, metric, video)
