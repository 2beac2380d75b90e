"""From videos to cells: everything that is measured on several systems under one protocol.

The unit of every statistic is the clip: videos of one clip from several noises belong together. A
system's clip is a number (most metrics) or its windows' features by noise (the distributions).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property, partial
from typing import Any

import numpy as np

from paha_core.benchmark.measuring.extractors import Extractors
from paha_core.benchmark.measuring.video_inputs import NO_FACE
from paha_core.benchmark.measuring.video_metrics import Measured, common_reason
from paha_core.benchmark.measuring.videos import EXTERNAL, NO_VIDEOS, Systems, SystemVideo
from paha_core.config import Preset
from paha_core.metrics import lips
from paha_core.metrics.bootstrap import (
    Interval,
    PairedDifference,
    Statistic,
    bootstrap_mean,
    bootstrap_statistic,
    each_resample,
    paired_bootstrap,
    paired_statistic,
)
from paha_core.metrics.diversity import derangement, diversity
from paha_core.metrics.frechet import FrechetReference
from paha_core.metrics.protocol import protocol_of
from paha_core.metrics.registry import METRICS, Metric, Reads, metrics_of
from paha_core.metrics.row import MetricRow, Missing
from paha_core.metrics.video_features import concatenated

VideoKey = tuple[str, str, int]
Clips = dict[str, Any]
"""A metric's samples by clip: a number, or features `[n, D]` by noise."""


@dataclass(frozen=True)
class Estimate:
    """A cell's value with its interval, of `n` samples of `clips` clips with so many frames."""

    interval: Interval
    n: int
    clips: int
    frames: int = 0


@dataclass
class Evaluation:
    """The measurements that all cells are computed from; `features` and `references` are by
    `Metric.reads`.

    `times`: for each timed system, a dict of TC's metrics (seconds) per repeat.
    `detector`: name and weights' sha256 of what found the keypoints.
    """

    preset: Preset
    systems: Systems
    extractors: Extractors
    measured: dict[VideoKey, Measured] = field(default_factory=dict)
    features: dict[Reads, dict[VideoKey, np.ndarray]] = field(default_factory=dict)
    references: dict[Reads, dict[str, np.ndarray]] = field(default_factory=dict)
    times: Mapping[str, Sequence[Mapping[str, float]]] = field(default_factory=dict)
    detector: tuple[str, str] = ("", "")
    groups: dict[str, set[str]] = field(default_factory=dict)  # more scopes: clip ids by name
    _statistics: dict[tuple[str, str], Statistic | Missing] = field(default_factory=dict)

    # --- samples ----------------------------------------------------------------------------------

    def videos(self, system: str, dataset: str) -> list[SystemVideo]:
        """`all`: the held-out clips of all data sets; another system's own clips are no part of it,
        but of `external`."""
        if dataset in self.groups:
            ids = self.groups[dataset]
            return [video for video in self.systems.get(system, []) if video.clip_id in ids]
        wanted = self.preset.corpora.datasets if dataset == "all" else (dataset,)
        return [video for video in self.systems.get(system, []) if video.dataset in wanted]

    def samples(self, metric: str, system: str, dataset: str) -> Clips | Missing:
        """The metric of each clip that has it, or the reason when none has."""
        videos = self.videos(system, dataset)
        if (missing := self.extractors.missing(metric)) is not None:
            return missing
        if not videos:
            ours = system in self.preset.generation.modes
            return Missing(NO_VIDEOS if ours else "no video of this system shows a held-out clip")
        if METRICS[metric].kind == "repeats":
            return self._repeats(metric, system, videos)
        if METRICS[metric].kind == "windows":
            if METRICS[metric].reference == system:
                return Missing("0 by definition: these clips are the reference")
            return self._windows(METRICS[metric].reads, videos)
        values = [(video.clip_id, self._value(metric, video, videos)) for video in videos]
        found: dict[str, list[float]] = {}
        for clip_id, value in values:
            if not isinstance(value, Missing):
                found.setdefault(clip_id, []).append(value)
        if not found:
            return common_reason([value for _, value in values if isinstance(value, Missing)])
        return {clip_id: float(np.mean(numbers)) for clip_id, numbers in found.items()}

    def _value(
        self, metric: str, video: SystemVideo, videos: Sequence[SystemVideo]
    ) -> float | Missing:
        if METRICS[metric].across_clips:
            return self._exchanged(video, videos)
        return self.measured[video.key].values[metric]

    def _repeats(self, metric: str, system: str, videos: Sequence[SystemVideo]) -> Clips | Missing:
        """One segment's times, with repeats in place of clips, so that two systems' repeats are
        paired."""
        repeats = self.times.get(system, ())
        if repeats:
            return {f"repeat {k}": repeat[metric] for k, repeat in enumerate(repeats)}
        if all(video.shows or video.system == "frozen" for video in videos):
            return Missing("real videos are not generated")
        return Missing("no timing was recorded for this system")

    def _windows(self, reads: Reads, videos: Sequence[SystemVideo]) -> Clips | Missing:
        """Clips that have a window for every noise, so that all noises cover the same clips."""
        noises = {video.seed for video in videos}
        found: dict[str, dict[int, np.ndarray]] = {}
        for video in videos:
            features = self.features[reads][video.key]
            if len(features):
                found.setdefault(video.clip_id, {})[video.seed] = features
        clips = {clip_id: by for clip_id, by in found.items() if by.keys() == noises}
        if len(clips) < 2:
            return Missing(f"needs at least 2 clips with a whole window, there are {len(clips)}")
        return clips

    def _exchanged(self, video: SystemVideo, videos: Sequence[SystemVideo]) -> float | Missing:
        """The control: a video against other clips' mouths. Real lip sync is near 0 here."""
        mouth = self.measured[video.key].mouth
        if mouth is None:
            return Missing(NO_FACE)
        clips = sorted({v.clip_id for v in videos} & self._true_mouths.keys())
        if len(clips) < 2 or video.clip_id not in clips:
            return Missing(
                f"needs at least 2 clips whose real or drawn mouth is known, there are {len(clips)}"
            )
        # Every clip with every other when they are few: a single derangement would be mostly luck.
        rng = np.random.default_rng(self.preset.benchmark.seed)
        orders = [derangement(len(clips), rng) for _ in range(min(len(clips) - 1, 8))]
        at = clips.index(video.clip_id)
        others = [self._true_mouths[clips[order[at]]] for order in orders]
        curve = np.asarray(mouth)
        values = [v for m in others if (v := lips.lip_correlation(curve, m)) is not None]
        return float(np.mean(values)) if values else Missing("the mouths never move")

    @cached_property
    def _has_truth(self) -> bool:
        return any(measured.true_mouth for measured in self.measured.values())

    @cached_property
    def _true_mouths(self) -> dict[str, np.ndarray]:
        """The openness of the drawn mouths, or, without drawn truth, of the real videos."""
        if not self._has_truth:
            real = {v.clip_id: self.measured[v.key].mouth for v in self.systems.get("real", [])}
            return {clip_id: np.asarray(mouth) for clip_id, mouth in real.items() if mouth}
        found: dict[str, np.ndarray] = {}
        for (_, clip_id, _), measured in self.measured.items():
            drawn = np.asarray(measured.true_mouth or [])
            if len(drawn) > len(found.get(clip_id, ())):
                found[clip_id] = drawn
        return found

    # --- statistics -------------------------------------------------------------------------------

    def statistic(self, metric: str, dataset: str) -> Statistic | Missing:
        """The statistic of a distribution metric over all its windows, or why there is none."""
        key = (metric, dataset)
        if key not in self._statistics:
            self._statistics[key] = self._new_statistic(metric, dataset)
        return self._statistics[key]

    def _new_statistic(self, metric: str, dataset: str) -> Statistic | Missing:
        if not METRICS[metric].reference:
            return each_resample(partial(diversity, seed=self.preset.benchmark.seed))
        if dataset == EXTERNAL:
            return Missing("another corpus: the distance to our training clips says nothing of it")
        if dataset in self.groups:
            dataset = "all"  # a group has too few training clips of its own
        real = self._references(METRICS[metric])
        if len(real.get(dataset, ())) < 2:
            return Missing("the real clips of this dataset give fewer than 2 windows")
        return FrechetReference(real[dataset]).distances

    def _references(self, metric: Metric) -> dict[str, np.ndarray]:
        """Windows of the training clips by dataset, or of the held-out ones themselves."""
        if metric.reference == "train":
            return self.references[metric.reads]
        found: dict[str, list[np.ndarray]] = {}
        for video in self.systems.get("real", []):
            for dataset in ("all", video.dataset):
                features = self.features[metric.reads][video.key]
                found.setdefault(dataset, []).append(features)
        return {dataset: concatenated(parts) for dataset, parts in found.items()}

    @property
    def _how(self) -> dict[str, int]:
        settings = self.preset.benchmark
        return {"rounds": settings.bootstrap, "seed": settings.seed}

    def cell(self, metric: str, system: str, dataset: str) -> Estimate | Missing:
        """The metric of a system over a dataset's clips."""
        clips = self.samples(metric, system, dataset)
        if isinstance(clips, Missing):
            return clips
        frames = sum(v.frames for v in self.videos(system, dataset) if v.clip_id in clips)
        if METRICS[metric].kind != "windows":
            values = list(clips.values())
            return Estimate(bootstrap_mean(values, **self._how), len(values), len(values), frames)
        statistic = self.statistic(metric, dataset)
        if isinstance(statistic, Missing):
            return statistic
        noises = by_noise(clips, sorted(clips))
        windows = sum(len(features) for groups in noises for features in groups)
        interval = bootstrap_statistic(noises, statistic, **self._how)
        return Estimate(interval, windows, len(clips), frames)

    def difference(
        self, metric: str, system: str, baseline: str, dataset: str
    ) -> PairedDifference | None:
        """System minus baseline over the clips that both have; None where they share none."""
        ours, theirs = (self.samples(metric, s, dataset) for s in (system, baseline))
        if isinstance(ours, Missing) or isinstance(theirs, Missing):
            return None
        common = sorted(ours.keys() & theirs.keys())
        if len(common) < 2:
            return None
        if METRICS[metric].kind != "windows":
            a, b = ([samples[clip] for clip in common] for samples in (ours, theirs))
            return paired_bootstrap(a, b, **self._how)
        statistic = self.statistic(metric, dataset)
        if isinstance(statistic, Missing):
            return None
        a, b = (by_noise(samples, common) for samples in (ours, theirs))
        return paired_statistic(a, b, statistic, **self._how)

    # --- rows -------------------------------------------------------------------------------------

    def scopes(self) -> list[str]:
        """`all` and each dataset; a single dataset has no `all`, which would repeat its numbers.
        `external`: other systems' own clips, which no other system has."""
        present = {video.dataset for videos in self.systems.values() for video in videos}
        datasets = [name for name in self.preset.corpora.datasets if name in present]
        held_out = datasets if len(datasets) == 1 else ["all", *datasets]
        return [*held_out, EXTERNAL] if EXTERNAL in present else held_out

    def rows(self, suite: str, system: str, dataset: str) -> list[MetricRow]:
        """Every metric of the system; none in `external` where it has no clip of its own."""
        if dataset == EXTERNAL and not self.videos(system, dataset):
            return []
        names = [metric.name for metric in metrics_of(self.preset)]
        return [self.row(suite, system, dataset, metric) for metric in names]

    def row(self, suite: str, system: str, dataset: str, metric: str) -> MetricRow:
        cell = self.cell(metric, system, dataset)
        found = None if isinstance(cell, Missing) else cell
        extractor, sha256 = self._extractor(metric)
        return MetricRow(
            suite=suite,
            system=system,
            dataset=dataset,
            metric=metric,
            value=found.interval.value if found else None,
            low=found.interval.low if found else None,
            high=found.interval.high if found else None,
            n=found.n if found else 0,
            clips=found.clips if found else 0,
            frames=found.frames if found else 0,
            unit=METRICS[metric].unit,
            direction=METRICS[metric].direction,
            extractor=extractor,
            extractor_sha256=sha256,
            protocol=protocol_of(self.preset).name,
            reason=cell.reason if isinstance(cell, Missing) else "",
        )

    def _extractor(self, metric: str) -> tuple[str, str]:
        """Name and weights' sha256; empty where the network is missing."""
        if self.extractors.missing(metric) is not None:
            return "", ""
        reads = METRICS[metric].reads
        detector, sha256 = self.detector
        known = "drawn truth" if self._has_truth else "real landmarks"
        without_network = {
            "keypoints": (f"{detector} keypoints", sha256),
            "real_lips": (f"{detector} keypoints", sha256),
            "loudness": (f"{detector} keypoints, Silero VAD", sha256),
            "beats": (f"librosa onsets, {detector} keypoints", sha256),
            "truth": (f"{detector} landmarks against {known}", sha256),
            "clock": ("wall clock", ""),
        }
        if reads in without_network:
            return without_network[reads]
        network = self.extractors.network(reads)
        return network.name, network.sha256


def by_noise(clips: Clips, order: Sequence[str]) -> list[list[np.ndarray]]:
    """Features of the clips in that order, for each noise."""
    noises = sorted(clips[order[0]])
    return [[clips[clip_id][noise] for clip_id in order] for noise in noises]
