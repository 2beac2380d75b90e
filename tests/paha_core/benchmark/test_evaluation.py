"""Cells made of measured videos: what is compared with what."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from paha_core.benchmark.measuring.evaluate import evaluate
from paha_core.benchmark.measuring.extractors import Extractors
from paha_core.benchmark.measuring.video_inputs import NoValue, VideoInputs
from paha_core.benchmark.measuring.video_metrics import MEASURES
from paha_core.benchmark.measuring.videos import KeypointSource, SystemVideo, collect_videos
from paha_core.benchmark.tables.groups import rows_by
from paha_core.benchmark.tables.variants import OverlayStore
from paha_core.config import Preset
from paha_core.errors import UserError
from paha_core.metrics import beats
from paha_core.metrics.registry import METRICS
from paha_core.pose.keypoints import Keypoints
from paha_core.store import Store


def test_every_metric_of_a_clip_has_one_measure() -> None:
    of_one_video = {m.name for m in METRICS.values() if m.kind == "clip" and not m.across_clips}
    assert MEASURES.keys() == of_one_video


def test_a_short_video_is_held_against_the_beats_of_its_own_length(
    run_store: Store, run_preset: Preset
) -> None:
    whole = SystemVideo("S2G", "pats/oliver/003", "", "", 64, "", "")
    short = replace(whole, system="SDT", frames=30)  # 1.2 s: the drawn beat at 1.5 s is not in it
    source = KeypointSource(run_store, run_preset)
    for video, error in ((short, 0), (whole, 0.125)):
        inputs = VideoInputs(source, Extractors(source), video)
        stroke = np.array([0.5])
        assert beats.beat_error(stroke, inputs.truth.beats) == pytest.approx(error)


def test_one_clip_has_a_value_and_no_interval(run_store: Store, run_preset: Preset) -> None:

    [video, *_] = collect_videos(run_store, run_preset)["sequential"]
    found = evaluate(run_store, run_preset, {"sequential": [video]})
    row = found.row("main", "sequential", "all", "face_share")
    assert (row.value, row.low, row.high, row.n, row.clips) == (1, None, None, 1, 1)
    assert "at least 2 clips" in found.row("main", "sequential", "all", "diversity").reason
    curve = np.asarray(found.measured[video.key].mouth)
    assert len(curve) == video.frames


def test_rows_by_speaker_are_of_that_speakers_clips(run_store: Store, run_preset: Preset) -> None:
    rows = {(r.dataset, r.system, r.metric): r for r in rows_by(run_store, run_preset, "speaker")}
    assert {group for group, _, _ in rows} == {"speaker=oliver", "speaker=anchor1"}
    evaluation = evaluate(run_store, run_preset, collect_videos(run_store, run_preset))
    for metric in ("bas", "face_share", "sharpness_face"):  # each speaker is a data set here
        row = rows["speaker=oliver", "sequential", metric]
        assert row.value == evaluation.cell(metric, "sequential", "pats").interval.value
        assert row.clips == 2
    assert rows["speaker=oliver", "sequential", "fgd"].value is not None
    assert "| speaker=oliver |" in run_store.read_bytes("benchmark/by_speaker.md").decode()
    with pytest.raises(UserError, match="no clip has a column 'voice'; there are clip_id"):
        rows_by(run_store, run_preset, "voice")


def test_hand_confidence_needs_a_detector_that_scores_points(
    run_store: Store, run_preset: Preset
) -> None:
    source = KeypointSource(run_store, run_preset)
    inputs = VideoInputs(source, Extractors(source), SystemVideo("S2G", "a/b/c", "", "", 5, "", ""))
    points, scores = np.zeros((5, 133, 2), np.float32), np.full((5, 133), 0.5, np.float32)
    inputs.frames = np.zeros((5, 64, 64, 3), np.uint8)
    inputs.keypoints = Keypoints(points, scores, (64, 64), "dwpose", "1", "")
    assert MEASURES["hkc[dwpose]"](inputs) == 0.5
    inputs.keypoints = Keypoints(points, scores, (64, 64), "mediapipe", "1", "")
    with pytest.raises(NoValue, match=r"needs pose\.detector dwpose"):
        MEASURES["hkc[dwpose]"](inputs)


def test_a_worker_beside_a_gpu_measures_all_that_needs_no_network(
    run_store: Store, run_preset: Preset, tmp_path: Path
) -> None:
    """Its parent holds SyncNet and the video networks; the worker must not open them."""
    from paha_core.benchmark.measuring import evaluate as module

    store = OverlayStore(str(tmp_path), run_store.url)
    [video, *_] = collect_videos(store, run_preset)["unguided"]
    source = KeypointSource(store, run_preset)
    extractors = Extractors(source)
    module._worker.update(source=source, extractors=extractors, networks=False)
    module._measure_one(replace(video, frames=video.frames - 1))  # of no other test's cache
    assert list(tmp_path.rglob("metrics/videos/*.json"))
    assert not list(tmp_path.rglob("metrics/features/**/*.npy"))
    assert extractors._opened.keys() == {"arcface", "hog"}
