import os

import pyarrow as pa
import yaml

from paha_core.config import load_preset
from paha_core.engine.manifest_stage import BASE_SCHEMA
from paha_core.stages import Workspace
from paha_core.stages.report_cache import ReportCache
from paha_core.stages.stage_report import StageReport


def workspace(tmp_path, name="smoke"):
    made = Workspace(name, str(tmp_path))
    row = dict.fromkeys(BASE_SCHEMA.names, "x") | {"status": "kept", "path": "generated/a.mp4"}
    table = pa.Table.from_pylist([row], schema=BASE_SCHEMA)
    made.store.write_table("manifests/generated_clips/unguided.parquet", table)
    made.store.write_bytes("generated/a.mp4", b"video")
    return made


def test_the_report_of_an_unchanged_stage_is_loaded_as_reused(tmp_path):
    made = workspace(tmp_path)
    assert ReportCache("generated_clips", made).load() is None
    ReportCache("generated_clips", made).save(StageReport("generated_clips", kept=1, computed=1))
    again = ReportCache("generated_clips", made).load()
    assert again is not None
    assert (again.kept, again.computed, again.reused) == (1, 0, 1)


def test_a_changed_input_or_a_missing_file_invalidates_the_report(tmp_path):
    made = workspace(tmp_path)
    ReportCache("generated_clips", made).save(StageReport("generated_clips", kept=1, computed=1))
    made.store.write_json("checkpoints/univdm/final/training.json", {"fingerprint": "new"})
    assert ReportCache("generated_clips", made).load() is None
    ReportCache("generated_clips", made).save(StageReport("generated_clips", kept=1, computed=1))
    made.store.remove("generated/a.mp4")
    assert ReportCache("generated_clips", made).load() is None


def test_a_new_manifest_of_an_earlier_stage_invalidates_the_report(tmp_path):
    made = workspace(tmp_path)
    ReportCache("generated_clips", made).save(StageReport("generated_clips", kept=1, computed=1))
    row = dict.fromkeys(BASE_SCHEMA.names, "x")
    table = pa.Table.from_pylist([row], schema=BASE_SCHEMA)
    made.store.write_table("manifests/face_boxes/pats.parquet", table)
    assert ReportCache("generated_clips", made).load() is None


def test_weights_replaced_in_place_invalidate_the_report(tmp_path):
    weights, preset = tmp_path / "weights", tmp_path / "mine.yaml"
    weights.mkdir()
    (weights / "model.safetensors").write_bytes(b"one")
    audio = {"encoder": "wav2vec2", "pretrained": str(weights)}
    settings = load_preset("smoke").model_dump(mode="json") | {"audio": audio}
    preset.write_text(yaml.safe_dump(settings))
    made = workspace(tmp_path, str(preset))
    ReportCache("generated_clips", made).save(StageReport("generated_clips", kept=1, computed=1))
    assert ReportCache("generated_clips", made).load() is not None
    (weights / "model.safetensors").write_bytes(b"two")
    os.utime(weights / "model.safetensors", ns=(1, 1))
    assert ReportCache("generated_clips", made).load() is None


def test_the_report_of_a_table_is_never_loaded(tmp_path):
    made = workspace(tmp_path)
    ReportCache("table2", made).save(StageReport("table2", kept=1, computed=1))
    assert (
        ReportCache("table2", made).load() is None
    )  # its results are no manifest: the stage itself decides


def test_another_preset_invalidates_the_report(tmp_path):
    made = workspace(tmp_path)
    ReportCache("generated_clips", made).save(StageReport("generated_clips", kept=1, computed=1))
    assert ReportCache("generated_clips", Workspace("demo", str(tmp_path))).load() is None


def test_a_row_that_is_to_be_tried_again_invalidates_the_report(tmp_path):
    made = workspace(tmp_path)
    row = dict.fromkeys(BASE_SCHEMA.names, "x") | {"status": "rejected", "fingerprint": ""}
    table = pa.Table.from_pylist([row], schema=BASE_SCHEMA)
    made.store.write_table("manifests/generated_clips/sequential.parquet", table)
    ReportCache("generated_clips", made).save(StageReport("generated_clips", kept=1))
    assert ReportCache("generated_clips", made).load() is None


def test_each_corpus_has_its_report_and_stages_that_read_outside_have_none(tmp_path):
    made = workspace(tmp_path)
    row = dict.fromkeys(BASE_SCHEMA.names, "x") | {"status": "rejected"}
    table = pa.Table.from_pylist([row], schema=BASE_SCHEMA)
    for stage in ("clips", "keypoints"):
        made.store.write_table(f"manifests/{stage}/pats/ada.parquet", table)
        ReportCache(stage, made, ["pats"]).save(StageReport(stage, rejected=1))
    found = ReportCache("keypoints", made, ["pats"]).load()
    assert found is not None
    assert found.rejected == 1
    assert ReportCache("keypoints", made, ["cnas"]).load() is None
    assert ReportCache("keypoints", made).load() is None
    assert ReportCache("clips", made, ["pats"]).load() is None  # its sources lie outside
