"""The real command line: `dagster job execute -j …` in a process of its own."""

import json
import re

from typer.testing import CliRunner

from paha_core.cli import app
from paha_core.config import load_preset
from paha_core.stages.status import rows
from paha_core.store import Store


def test_smoke_rebuild_runs_and_leaves_nothing_to_do(dagster_shell, tmp_path):
    first = dagster_shell("job", "execute", "-j", "smoke_rebuild")
    assert first.returncode == 0, first.stdout[-4000:]
    store, preset = Store(str(tmp_path / "runs" / "smoke")), load_preset("smoke")
    assert all(row[-1] != "not yet" for row in rows(store, preset)), rows(store, preset)
    assert store.exists("report/index.html")
    modes = {path.split(".")[-2] for path in store.glob("generated/*.mp4")}
    assert modes == set(preset.generation.modes)
    for name in ("face_classifier", "non_face_classifier"):
        assert "passed" in store.read_json(f"checkpoints/{name}/gate.json")

    before = stamps(tmp_path / "runs" / "smoke")
    again = CliRunner().invoke(app, ["run", "--preset", "smoke", "--store", store.url])
    assert again.exit_code == 0, again.output
    after = stamps(tmp_path / "runs" / "smoke")
    assert {name for name in before if after.get(name) != before[name]} == set()
    assert set(after) == set(before)


def stamps(folder):
    """When each file that costs computing was written last."""
    made = {".mp4", ".wav", ".npz", ".tar", ".safetensors", ".jsonl", ".png"}
    return {
        str(path.relative_to(folder)): path.stat().st_mtime_ns
        for path in folder.rglob("*")
        if path.is_file() and path.suffix in made and "report" not in path.parts
    }


def test_a_broken_preset_is_refused_by_name_before_anything_runs(dagster_shell, tmp_path):
    bad = tmp_path / "bad.yaml"
    bad.write_text(json.dumps({"name": "bad", "corpora": {"cnas": {}, "studio": {"heigt": 3}}}))
    done = dagster_shell("job", "execute", "-j", "full_rebuild", PAHA_PRESET=str(bad))
    assert done.returncode == 1
    assert "corpora.studio.heigt: Extra inputs are not permitted" in done.stdout
    assert not (tmp_path / "runs").exists()
    assert len(re.findall("STEP_START ", done.stdout)) == 1


def test_an_unknown_job_is_a_usage_error(dagster_shell):
    done = dagster_shell("job", "execute", "-j", "no_such_job")
    assert done.returncode != 0
