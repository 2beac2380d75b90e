import os

import pyarrow as pa
import yaml

from paha_core.config import load_preset
from paha_core.engine.manifest_stage import BASE_SCHEMA
from paha_core.stages import Workspace
from paha_core.stages.report_cache import recall, remember
from paha_core.stages.stage_report import StepReport


def workspace(tmp_path, name="smoke"):
    made = Workspace(name, str(tmp_path))
    row = dict.fromkeys(BASE_SCHEMA.names, "x") | {"status": "kept", "path": "generated/a.mp4"}
    table = pa.Table.from_pylist([row], schema=BASE_SCHEMA)
    made.store.write_table("manifests/generated_clips/unguided.parquet", table)
    made.store.write_bytes("generated/a.mp4", b"video")
    return made


def test_an_unchanged_step_is_recalled_as_done(tmp_path):
    made = workspace(tmp_path)
    assert recall("generated_clips", made) is None
    remember("generated_clips", made, StepReport("generated_clips", kept=1, computed=1))
    again = recall("generated_clips", made)
    assert again is not None
    assert (again.kept, again.computed, again.reused) == (1, 0, 1)


def test_what_comes_in_or_went_missing_forgets(tmp_path):
    made = workspace(tmp_path)
    remember("generated_clips", made, StepReport("generated_clips", kept=1, computed=1))
    made.store.write_json("checkpoints/univdm/final/training.json", {"fingerprint": "new"})
    assert recall("generated_clips", made) is None
    remember("generated_clips", made, StepReport("generated_clips", kept=1, computed=1))
    made.store.remove("generated/a.mp4")
    assert recall("generated_clips", made) is None


def test_what_an_earlier_step_made_anew_forgets(tmp_path):
    made = workspace(tmp_path)
    remember("generated_clips", made, StepReport("generated_clips", kept=1, computed=1))
    row = dict.fromkeys(BASE_SCHEMA.names, "x")
    table = pa.Table.from_pylist([row], schema=BASE_SCHEMA)
    made.store.write_table("manifests/face_boxes/pats.parquet", table)
    assert recall("generated_clips", made) is None


def test_weights_replaced_in_place_forget(tmp_path):
    weights, preset = tmp_path / "weights", tmp_path / "mine.yaml"
    weights.mkdir()
    (weights / "model.safetensors").write_bytes(b"one")
    audio = {"encoder": "wav2vec2", "pretrained": str(weights)}
    settings = load_preset("smoke").model_dump(mode="json") | {"audio": audio}
    preset.write_text(yaml.safe_dump(settings))
    made = workspace(tmp_path, str(preset))
    remember("generated_clips", made, StepReport("generated_clips", kept=1, computed=1))
    assert recall("generated_clips", made) is not None
    (weights / "model.safetensors").write_bytes(b"two")
    os.utime(weights / "model.safetensors", ns=(1, 1))
    assert recall("generated_clips", made) is None


def test_a_table_is_remembered_and_looked_at_again(tmp_path):
    made = workspace(tmp_path)
    remember("table2", made, StepReport("table2", kept=1, computed=1))
    assert recall("table2", made) is None  # its results are no manifest: the step itself knows


def test_another_preset_forgets(tmp_path):
    made = workspace(tmp_path)
    remember("generated_clips", made, StepReport("generated_clips", kept=1, computed=1))
    assert recall("generated_clips", Workspace("demo", str(tmp_path))) is None
