"""Measures every video of every system, in several processes where that is quicker."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from typing import Any

from paha_core.benchmark.measuring.evaluation import Evaluation
from paha_core.benchmark.measuring.extractors import Extractors, VideoSpace
from paha_core.benchmark.measuring.video_metrics import (
    ON_CPU,
    ON_DEVICE,
    Measured,
    measure,
    measured_path,
)
from paha_core.benchmark.measuring.videos import KeypointSource, Systems, SystemVideo
from paha_core.config import Preset
from paha_core.engine.processes import die_with_parent, quiet_native_stderr
from paha_core.engine.progress import Progress
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
    """Measure every video of every system; what is cached by content is not measured again.

    `times`: for each timed system, a dict of TC's metrics (seconds) per repeat.
    """
    source = KeypointSource(store, preset)
    extractors = Extractors(source, device)
    videos = [video for group in systems.values() for video in group]
    result = Evaluation(preset, systems, extractors, times=times or {})
    result.detector = (preset.pose.detector, "")
    windows = extractors.window_extractors()
    result.features = {reads: {} for reads in windows}
    _fill_caches(source, extractors, videos, workers)
    with Progress(len(videos), "benchmark", unit="video") as progress:
        for video in videos:
            result.measured[video.key] = _measured(source, extractors, video)
            for reads, extractor in windows.items():
                result.features[reads][video.key] = extractor.features(video)
            keypoints = source.of(video)
            if keypoints is not None:
                result.detector = (keypoints.detector, keypoints.weights_sha256)
            progress.update()
    if videos:
        result.references = {reads: one.references() for reads, one in windows.items()}
    return result


def _measured(source: KeypointSource, extractors: Extractors, video: SystemVideo) -> Measured:
    """Both parts of a video's measurements: those on the CPU, and those of networks that may be on
    a GPU."""
    on_cpu = measure(source, extractors, video, ON_CPU)
    on_device = measure(source, extractors, video, ON_DEVICE)
    return Measured(on_cpu.values | on_device.values, on_cpu.mouth, on_cpu.true_mouth)


# --- side by side -----------------------------------------------------------------------------


def _fill_caches(
    source: KeypointSource, extractors: Extractors, videos: Sequence[SystemVideo], workers: int
) -> None:
    """Do all CPU work in worker processes, one core per video. Networks on a GPU stay in this
    process; the workers measure what needs none, and detect the boxes for SyncNet's crops.
    """
    todo = {measured_path(source, extractors, video, ON_CPU): video for video in videos}
    todo = {rel: video for rel, video in todo.items() if not source.store.exists(rel)}
    workers = min(workers, len(os.sched_getaffinity(0)))  # only the cores that this process may use
    if workers < 2 or len(todo) < WORTH_A_POOL:
        return
    if source.preset.pose.device != "cpu":  # a detector on a GPU belongs to this process too
        for video in todo.values():
            source.of(video)
    alone = extractors.device == "cpu"
    pool = ProcessPoolExecutor(
        workers,
        get_context("spawn"),
        initializer=_open_worker,
        initargs=(source.store, source.preset, alone),
    )
    with pool, Progress(len(todo), "measure", unit="video") as progress:
        for _ in pool.map(_measure_one, todo.values()):
            progress.update()


_worker: dict[str, Any] = {}


def _open_worker(store: Store, preset: Preset, networks: bool) -> None:
    import torch

    die_with_parent()
    quiet_native_stderr()
    torch.set_num_threads(1)
    source = KeypointSource(store, preset)
    _worker.update(source=source, extractors=Extractors(source), networks=networks)


def _measure_one(video: SystemVideo) -> None:
    """`networks`: whether the CPU runs SyncNet and the video networks as well."""
    source, extractors = _worker["source"], _worker["extractors"]
    measure(source, extractors, video, ON_CPU)
    if _worker["networks"]:
        measure(source, extractors, video, ON_DEVICE)
        for extractor in extractors.window_extractors().values():
            if isinstance(extractor, VideoSpace):
                extractor.features(video)
    elif source.preset.benchmark.syncnet:
        source.face_boxes(video)
