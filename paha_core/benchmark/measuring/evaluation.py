"""From videos to cells: everything that is measured on several systems under one protocol.

The unit of every statistic is the clip: what several seeds made of one clip belongs together. A
system's clip is a number (most metrics) or its windows' features (the distribution metrics).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property, partial
from typing import Any

import numpy as np

from paha_core.benchmark.measuring.extractors import Extractors
from paha_core.benchmark.measuring.poses import PoseSpace
from paha_core.benchmark.measuring.video_metrics import Measured, Truth, common_reason
from paha_core.benchmark.measuring.videos import NO_VIDEOS, Systems, Video
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
from paha_core.metrics.protocol import protocol_of
from paha_core.metrics.row import FVD_STAND_INS, METRICS, MetricRow

TIMES = frozenset(name for name, metric in METRICS.items() if metric.sample == "repeats")
NO_TRUTH = "no drawn truth for these clips"

Clips = dict[str, Any]
"""A metric's samples by clip: a number, or features `[n, D]`."""
Key = tuple[str, str, int]
Statistic = Callable[[np.ndarray], float]


@dataclass(frozen=True)
class Estimate:
    """A cell: its value with the interval, or the reason for none. `n` samples of `clips` clips."""

    interval: Interval | None
    n: int = 0
    clips: int = 0
    reason: str = ""


@dataclass
class Evaluation:
    """Everything that the cells are made of. Truths are those of a clip's first frames."""

    preset: Preset
    systems: Systems
    extractors: Extractors
    space: PoseSpace | str
    measured: dict[Key, Measured] = field(default_factory=dict)
    poses: dict[Key, np.ndarray] = field(default_factory=dict)
    features: dict[str, dict[Key, np.ndarray]] = field(default_factory=dict)
    references: dict[str, dict[str, np.ndarray]] = field(default_factory=dict)
    truths: dict[tuple[str, int], Truth] = field(default_factory=dict)
    times: Mapping[str, Sequence[Mapping[str, float]]] = field(default_factory=dict)
    detector: tuple[str, str] = ("", "")
    _statistics: dict[tuple[str, str], Statistic | str] = field(default_factory=dict)

    # --- samples ----------------------------------------------------------------------------------

    def videos(self, system: str, dataset: str) -> list[Video]:
        found = self.systems.get(system, [])
        return [video for video in found if dataset in ("all", video.dataset)]

    def is_distribution(self, metric: str) -> bool:
        """Whether it is of all windows together, and a clip alone has no value."""
        return metric in ("fgd", "diversity", *self.extractors.spaces)

    def samples(self, metric: str, system: str, dataset: str) -> tuple[Clips, str]:
        """The metric of each clip that has it, and the reason that holds when none has."""
        videos = self.videos(system, dataset)
        if metric in self.extractors.missing:
            return {}, self.extractors.missing[metric]
        if not videos:
            return {}, self._without(system)
        if metric in TIMES:
            return self._repeats(metric, system, videos)
        if self.is_distribution(metric):
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

    def _without(self, system: str) -> str:
        ours = system in self.preset.generation.modes
        return NO_VIDEOS if ours else "no video of this system, or none of this data set"

    def _repeats(self, metric: str, system: str, videos: Sequence[Video]) -> tuple[Clips, str]:
        """One segment's times, a repeat in the place of a clip: two systems' are pairs."""
        found = self.times.get(system, ())
        if found:
            return {f"repeat {k}": one[metric] for k, one in enumerate(found)}, ""
        if all(video.shows or video.system == "frozen" for video in videos):
            return {}, "real videos are not generated"
        return {}, "nobody told how long its generation took"

    def _windows(self, metric: str, videos: Sequence[Video]) -> tuple[Clips, str]:
        if metric in self.extractors.spaces:
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
            truth = self.truths.get((video.clip_id, video.frames))
            if truth is None:
                return None, NO_TRUTH
            return lips.lip_correlation(mouth, truth.openness), "the drawn mouth never moves"
        if metric == "beat_error":
            truth = self.truths.get((video.clip_id, video.frames))
            if truth is None or measured.strokes is None:
                return None, NO_TRUTH if truth is None else "the shoulders are never seen"
            return beat_error(np.asarray(measured.strokes), truth.beats), "no drawn beats"
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
        """The drawn mouths, each as long as is known, or, where nothing was drawn, the real
        videos'."""
        if self.truths:
            return {clip_id: self.truths[clip_id, n].openness for clip_id, n in sorted(self.truths)}
        real = ((v.clip_id, self.measured[v.key].openness) for v in self.systems.get("real", []))
        return {clip_id: np.asarray(mouth) for clip_id, mouth in real if mouth is not None}

    # --- statistics -------------------------------------------------------------------------------

    def statistic(self, metric: str, dataset: str) -> Statistic | str:
        """Of all windows of a distribution metric, or why there is none."""
        key = (metric, dataset)
        if key not in self._statistics:
            self._statistics[key] = self._new_statistic(metric, dataset)
        return self._statistics[key]

    def _new_statistic(self, metric: str, dataset: str) -> Statistic | str:
        if metric == "diversity":
            return partial(diversity, seed=self.preset.benchmark.seed)
        if metric in self.extractors.spaces:
            real = self.references.get(metric, {})
        else:
            real = {} if isinstance(self.space, str) else self.space.reference
        if dataset not in real or len(real[dataset]) < 2:
            return "the training clips of this dataset give fewer than 2 windows"
        return FrechetReference(real[dataset]).distance

    def cell(self, metric: str, system: str, dataset: str) -> Estimate:
        """The metric of a system over a dataset's clips."""
        clips, reason = self.samples(metric, system, dataset)
        settings = self.preset.benchmark
        how: Any = {"rounds": settings.bootstrap, "seed": settings.seed}
        if not clips:
            return Estimate(None, reason=reason)
        values = list(clips.values())
        if not self.is_distribution(metric):
            return Estimate(bootstrap_mean(values, **how), len(values), len(values))
        statistic = self.statistic(metric, dataset)
        if isinstance(statistic, str):
            return Estimate(None, reason=statistic)
        interval = bootstrap_statistic(values, statistic, **how)
        return Estimate(interval, sum(map(len, values)), len(values))

    def difference(
        self, metric: str, system: str, baseline: str, dataset: str
    ) -> PairedDifference | None:
        """System minus baseline over the clips that both have; None where they share none."""
        ours, theirs = (self.samples(metric, s, dataset)[0] for s in (system, baseline))
        common = sorted(ours.keys() & theirs.keys())
        settings = self.preset.benchmark
        how: Any = {"rounds": settings.bootstrap, "seed": settings.seed}
        if len(common) < 2:
            return None
        a, b = ([samples[clip] for clip in common] for samples in (ours, theirs))
        if not self.is_distribution(metric):
            return paired_bootstrap(a, b, **how)
        statistic = self.statistic(metric, dataset)
        return None if isinstance(statistic, str) else paired_statistic(a, b, statistic, **how)

    # --- rows -------------------------------------------------------------------------------------

    def scopes(self) -> list[str]:
        """`all` and each dataset; a single one's row and `all` would be the same numbers twice."""
        present = {video.dataset for videos in self.systems.values() for video in videos}
        datasets = [name for name in self.preset.corpora.datasets if name in present]
        return datasets if len(datasets) == 1 and len(present) == 1 else ["all", *datasets]

    def rows(self, suite: str, system: str, dataset: str) -> list[MetricRow]:
        absent = set(FVD_STAND_INS) - self.extractors.spaces.keys()
        metrics = [metric for metric in METRICS if metric not in absent]
        return [self.row(suite, system, dataset, metric) for metric in metrics]

    def row(self, suite: str, system: str, dataset: str, metric: str) -> MetricRow:
        cell = self.cell(metric, system, dataset)
        extractor, sha256 = self._extractor(metric)
        return MetricRow(
            suite=suite,
            system=system,
            dataset=dataset,
            metric=metric,
            value=cell.interval.value if cell.interval else None,
            low=cell.interval.low if cell.interval else None,
            high=cell.interval.high if cell.interval else None,
            n=cell.n,
            clips=cell.clips,
            unit=METRICS[metric].unit,
            direction=METRICS[metric].direction,
            extractor=extractor,
            extractor_sha256=sha256,
            protocol=protocol_of(self.preset).name,
            reason=cell.reason,
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
