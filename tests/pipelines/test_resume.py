"""`paha resume`: the failed stages of a failed run, again."""

import json
import shutil
from pathlib import Path

import dagster as dg
import pytest
import typer
from dagster._cli.utils import get_possibly_temporary_instance_for_cli
from typer.testing import CliRunner

from pipelines.cli import resume
from pipelines.definitions import defs

ROOT = Path(__file__).parents[2]


@pytest.fixture
def instance(tmp_path, monkeypatch):
    """The one of the working directory's dagster.yaml, which `resume` finds as well."""
    monkeypatch.delenv("DAGSTER_HOME", raising=False)
    monkeypatch.chdir(tmp_path)
    shutil.copy(ROOT / "dagster.yaml", tmp_path)
    with get_possibly_temporary_instance_for_cli("paha") as instance:
        yield instance


def test_a_failed_run_resumes_once_its_cause_is_gone(instance, tmp_path):
    app = typer.Typer()
    app.command()(resume)
    preset, store = tmp_path / "late.yaml", tmp_path / "store"
    preset.write_text(json.dumps({"name": "late", "corpora": {"cnas": {"programmes": "mine"}}}))
    store.touch()
    workspace = {"preset_file": str(preset), "store": str(store)}
    first = defs.resolve_job_def("full_rebuild").execute_in_process(
        {"resources": {"workspace": {"config": workspace}}},
        instance=instance,
        asset_selection=[dg.AssetKey("programmes")],
        raise_on_error=False,
    )
    assert not first.success  # a file is where the store should be
    store.unlink()

    assert CliRunner().invoke(app, [first.run_id]).exit_code == 0
    again, failed = instance.get_runs()
    assert (failed.run_id, failed.status) == (first.run_id, dg.DagsterRunStatus.FAILURE)
    assert (again.parent_run_id, again.status) == (first.run_id, dg.DagsterRunStatus.SUCCESS)
    assert again.tags.items() >= {"dagster/asset_partition_range_end": "cnas"}.items()

    for run_id, words in ((again.run_id, "has not failed: SUCCESS"), ("none", "no run none")):
        refused = CliRunner().invoke(app, [run_id])
        assert refused.exit_code == 1
        assert words in refused.output
