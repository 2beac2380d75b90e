"""Measures every video of every system, in several processes where that is quicker."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from typing import Any

import numpy as np

from paha_core.benchmark.measuring.evaluation import Evaluation
from paha_core.benchmark.measuring.extractors import Extractors
from paha_core.benchmark.measuring.poses import PoseSpace, pose_space
from paha_core.benchmark.measuring.video_metrics import drawn_truth, measure, measured_path
from paha_core.benchmark.measuring.videos import KeypointSource, Systems, Video, real_video
from paha_core.config import Preset
from paha_core.engine.manifest_stage import kept_rows
from paha_core.engine.processes import die_with_parent, quiet_native_stderr
from paha_core.engine.progress import Progress
from paha_core.metrics.video_features import concatenated
from paha_core.store import Store

WORTH_A_POOL = 12  # videos: starting two processes costs as much as measuring a few


def evaluate(
    store: Store,
    preset: Preset,
    systems: Systems,
    *,
    times: Mapping[str, Sequence[Mapping[str, float]]] | None = None,
    workers: int = 1,
    device: str = "cpu",
) -> Evaluation:
    """Measure every video of every system; what is known by content is not measured again.

    `times`: of systems whose segments were timed, one repeat after the other, by TC's metrics.
    """
    source, extractors = KeypointSource(store, preset), Extractors(store, preset, device)
    videos = [video for group in systems.values() for video in group]
    clips = {row["clip_id"]: row for row in kept_rows(store, "clips", preset.corpora.datasets)}
    result = Evaluation(preset, systems, extractors, pose_space(store, preset))
    result.detector, result.times = (preset.pose.detector, ""), times or {}
    result.features = {m: {} for m in extractors.spaces if m not in extractors.missing}
    _fill_caches(source, extractors, videos, workers)
    with Progress(len(videos), "benchmark", unit="video") as progress:
        for video in videos:
            result.measured[video.key] = measure(source, extractors, video)
            for metric, found in result.features.items():
                found[video.key] = extractors.video_features(metric, video)
            keypoints = source.of(video)
            if keypoints is not None:
                result.detector = (keypoints.detector, keypoints.weights_sha256)
            if isinstance(result.space, PoseSpace):
                result.poses[video.key] = result.space.features(keypoints)
            which = video.clip_id, video.frames
            if which not in result.truths:
                truth = drawn_truth(store, clips.get(video.clip_id), video.frames)
                if truth is not None:
                    result.truths[which] = truth
            progress.update()
    if videos:
        result.references = _video_references(store, extractors, list(result.features))
    return result


def _video_references(
    store: Store, extractors: Extractors, metrics: list[str]
) -> dict[str, dict[str, np.ndarray]]:
    """Features of real training clips by metric and dataset: the same for every system."""
    protocol = extractors.protocol
    rows = kept_rows(store, "clips", extractors.preset.corpora.datasets)
    rows = [row for row in rows if row["split"] == "train" and store.exists(row["path"])]
    stride = max(1, -(-len(rows) // protocol.video_references))
    videos = [real_video(row, protocol.max_frames) for row in rows[::stride]]
    found: dict[str, dict[str, np.ndarray]] = {}
    with Progress(len(videos) * len(metrics), "real video features", unit="video") as progress:
        for metric in metrics:
            parts: dict[str, list[np.ndarray]] = {"all": []}
            for video in videos:
                features = extractors.video_features(metric, video)
                parts.setdefault(video.dataset, []).append(features)
                parts["all"].append(features)
                progress.update()
            found[metric] = {name: concatenated(groups) for name, groups in parts.items()}
    return found


# --- side by side -----------------------------------------------------------------------------


def _fill_caches(
    source: KeypointSource, extractors: Extractors, videos: Sequence[Video], workers: int
) -> None:
    """Detection takes most of the time, and one core a video."""
    todo = {measured_path(source, extractors, video): video for video in videos}
    todo = {rel: video for rel, video in todo.items() if not source.store.exists(rel)}
    workers = min(workers, len(os.sched_getaffinity(0)))  # not the cores that belong to others
    on_cpu = extractors.device == "cpu"
    on_gpu_alone = not on_cpu and source.preset.pose.device != "cpu"
    if workers < 2 or len(todo) < WORTH_A_POOL or on_gpu_alone:
        return
    with (
        ProcessPoolExecutor(
            workers,
            get_context("spawn"),
            initializer=_open_worker,
            initargs=(source.store, source.preset),
        ) as pool,
        Progress(len(todo), "measure" if on_cpu else "keypoints", unit="video") as progress,
    ):
        # Networks that run on a GPU stay in this process: the others only look for keypoints.
        for _ in pool.map(_measure_one if on_cpu else _detect_one, todo.values()):
            progress.update()


_worker: dict[str, Any] = {}


def _open_worker(store: Store, preset: Preset) -> None:
    import torch

    die_with_parent()
    quiet_native_stderr()
    torch.set_num_threads(1)
    _worker.update(source=KeypointSource(store, preset), extractors=Extractors(store, preset))


def _detect_one(video: Video) -> None:
    _worker["source"].of(video)


def _measure_one(video: Video) -> None:
    source, extractors = _worker["source"], _worker["extractors"]
    measure(source, extractors, video)
    for metric in extractors.spaces.keys() - extractors.missing.keys():
        extractors.video_features(metric, video)
