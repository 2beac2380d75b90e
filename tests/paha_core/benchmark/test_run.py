from pathlib import Path

import pytest

from paha_core.benchmark.measuring.systems import CONTROLS
from paha_core.benchmark.run import load_results, run_benchmark
from paha_core.config import Preset
from paha_core.metrics.protocol import protocol_of
from paha_core.metrics.registry import METRICS
from paha_core.metrics.row import MetricRow
from paha_core.store import Store
from synthetic import PixelDetector


@pytest.fixture(scope="module")
def rows(run_store: Store, run_preset: Preset) -> dict[tuple[str, str, str], MetricRow]:
    patch = pytest.MonkeyPatch()
    patch.setattr("paha_core.pose.open_detector", lambda config: PixelDetector())
    found = run_benchmark(run_store, run_preset)
    patch.undo()
    return {(row.system, row.dataset, row.metric): row for row in found}


def test_every_cell_has_a_value_or_a_reason(rows: dict, run_preset: Preset) -> None:
    systems = ("real", "unguided", "sequential", "differential", *CONTROLS)
    datasets = ("all", "pats", "cnas")
    metrics = METRICS.keys() - {"fvd[corpus-r3d]"}  # this corpus is the drawn one
    assert set(rows) == {(s, d, m) for s in systems for d in datasets for m in metrics}
    for row in rows.values():
        assert row.protocol == protocol_of(run_preset).name
        assert (row.value is None) == bool(row.reason)
        if row.value is not None:
            assert row.low <= row.value + 1e-9
            assert row.high >= row.value - 1e-9
            assert row.n >= row.clips > 1
            assert row.extractor


def test_missing_weights_are_a_missing_cell(rows: dict) -> None:
    expected = {"sync_c": "SyncNet", "sync_d": "SyncNet", "fvd": "I3D", "identity": "ArcFace"}
    expected |= {"fid": "FID's Inception", "lpips": "LPIPS"}
    for metric, weights in expected.items():
        row = rows["sequential", "all", metric]
        assert row.value is None
        assert f"needs {weights}" in row.reason


def test_the_numbers_match_the_drawing(rows: dict) -> None:
    def value(system: str, metric: str) -> float:
        return rows[system, "all", metric].value

    assert rows["real", "all", "lip_correlation"].value is None
    assert value("real", "lip_correlation_truth") > 0.9
    for metric in ("lip_correlation", "lip_correlation_truth"):
        assert value("differential", metric) > value("sequential", metric)
        assert value("sequential", metric) > value("unguided", metric)
        assert value("differential", metric) > 0.85
    assert abs(value("differential", "lip_correlation_exchanged")) < 0.4
    assert value("differential", "face_share") == 1
    assert value("differential", "background_psnr") > 24
    assert value("real", "fgd") < value("unguided", "fgd")
    assert value("real", "sharpness_face") > value("unguided", "sharpness_face")
    assert value("real", "identity_hog") > 0.8
    assert value("differential", "fvd[studio-r3d]") > value("real", "fvd[studio-r3d]")
    assert rows["real", "all", "tc"].value is None
    assert value("unguided", "tc") == pytest.approx(1.1 * 1.025)
    assert value("differential", "tc_classifiers") == pytest.approx(0.3 * 1.025)
    repeats = rows["unguided", "all", "tc"]  # an interval over them, not over clips
    assert (repeats.n, repeats.reason) == (6, "")
    assert repeats.low < repeats.value < repeats.high


def test_controls_say_what_a_number_is_worth(rows: dict) -> None:
    def value(system: str, metric: str) -> float:
        return rows[system, "all", metric].value

    for metric in ("lip_correlation_truth", "lip_correlation"):
        best = 1.0 if metric == "lip_correlation" else value("real", metric)
        assert value("real_exchanged", metric) < best - 0.4
        assert value("random_real", metric) < best - 0.4
        assert value("frozen", metric) == 0
    assert value("frozen", "bas") == 0
    assert value("frozen", "bas_aist") == 0  # without motion beats, as mint's code gives
    assert value("frozen", "beat_error") == 0.5
    assert value("frozen", "diversity") < value("real", "diversity")
    assert value("frozen", "background_psnr") > 24


def test_extractors_are_named_with_their_hash(rows: dict) -> None:
    row = rows["sequential", "pats", "fgd"]
    assert row.extractor == "pose-autoencoder[w34, 15 fps, mediapipe]"
    assert len(row.extractor_sha256) == 64
    assert rows["real", "all", "bas"].extractor == "librosa onsets, pixels keypoints"
    assert "drawn truth" in rows["real", "all", "lip_correlation_truth"].extractor


def test_a_second_run_computes_nothing(
    rows: dict, run_store: Store, run_preset: Preset, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("paha_core.benchmark.run.evaluate", None)
    assert run_benchmark(run_store, run_preset) == list(rows.values())
    table = run_store.read_table("benchmark/results.parquet").to_pylist()
    assert [MetricRow(**row) for row in table] == list(rows.values())


def test_other_settings_reuse_detection_and_measurements(
    rows: dict, run_store: Store, run_preset: Preset, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("paha_core.benchmark.measuring.video_metrics.VideoInputs", None)
    fewer = run_preset.benchmark.model_copy(update={"bootstrap": 10})
    again = run_benchmark(run_store, run_preset.model_copy(update={"benchmark": fewer}))
    assert PixelDetector.calls == 0
    same = {(row.system, row.dataset, row.metric): row.value for row in again}
    assert same == {key: row.value for key, row in rows.items()}


def test_before_generation_only_real_has_numbers(data_store: Store, run_preset: Preset) -> None:
    rows = run_benchmark(data_store, run_preset)
    assert {row.system for row in rows if row.value is not None} == {"real", *CONTROLS}
    assert all(
        "no generated clips" in row.reason
        for row in rows
        if row.metric == "bas"
        if row.system in run_preset.generation.modes
    )
    truth = next(
        row for row in rows if row.metric == "lip_correlation_truth" and row.system == "real"
    )
    assert truth.reason == "no drawn truth for these clips"


def test_an_empty_store_gives_reasons_not_errors(tmp_path: Path, run_preset: Preset) -> None:
    store = Store(str(tmp_path))
    rows = run_benchmark(store, run_preset)
    assert rows
    assert all(row.value is None for row in rows)
    assert load_results(store) is not None
