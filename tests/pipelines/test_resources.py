"""Which preset and which store a run gets."""

import json
from pathlib import Path

import dagster as dg
import pytest
from production import LAUNCH, job_selector

from paha_core.config import PresetError, load_preset, preset_names
from paha_core.stages import Workspace
from pipelines.definitions import defs
from pipelines.resources import PahaResource, PresetName


def workspace_of(resource, **tags):
    seen = []

    @dg.op
    def look(workspace: dg.ResourceParam[Workspace]) -> None:
        seen.append(workspace)

    @dg.job(resource_defs={"workspace": resource}, tags=tags)
    def once():
        look()

    assert once.execute_in_process().success
    return seen[0]


def test_demo_is_the_default(monkeypatch):
    monkeypatch.delenv("PAHA_PRESET", raising=False)
    monkeypatch.delenv("PAHA_STORE", raising=False)
    made = workspace_of(PahaResource())
    assert (made.preset_name, made.store.url) == ("demo", "runs/demo")


def test_the_environment_names_preset_and_store(monkeypatch):
    monkeypatch.setenv("PAHA_PRESET", "smoke")
    monkeypatch.setenv("PAHA_STORE", "memory://x")
    made = workspace_of(PahaResource())
    assert (made.preset_name, made.store.url) == ("smoke", "memory://x")


def test_every_other_preset_has_a_store_of_its_own_below_the_deployments(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PAHA_PRESET", "demo")
    monkeypatch.setenv("PAHA_STORE", "memory://x")
    changes = {"threads": 1}
    for made in (
        workspace_of(PahaResource(), **{"paha/preset": "smoke"}),
        workspace_of(PahaResource(preset=PresetName["smoke"])),
        workspace_of(PahaResource(preset=PresetName["smoke"], changes=changes)),
        workspace_of(PahaResource(changes=changes)),
    ):
        assert made.preset.name != "demo"
        assert made.store.url == f"memory://x/runs/{made.preset.name}"
    chosen = workspace_of(PahaResource(preset=PresetName["demo"]))
    assert chosen.store.url == "memory://x"
    elsewhere = workspace_of(PahaResource(changes=changes, store="memory://y"))
    assert elsewhere.store.url == "memory://y"


def test_config_comes_first(monkeypatch):
    monkeypatch.setenv("PAHA_PRESET", "demo")
    made = workspace_of(PahaResource(preset_file="a.yaml", store="b"), **{"paha/preset": "smoke"})
    assert (made.preset_name, made.store.url) == ("a.yaml", "b")


def test_the_launchpad_offers_the_presets_and_refuses_others_before_a_run():
    job = defs.resolve_job_def("full_rebuild")
    for name in preset_names():
        config = {"resources": {"workspace": {"config": {"preset": name}}}}
        assert dg.validate_run_config(job, config)
    for wrong in ({"preset": "dmo"}, {"presett": "demo"}, {"changes": "steps"}, {"store": 3}):
        with pytest.raises(dg.DagsterInvalidConfigError):
            dg.validate_run_config(job, {"resources": {"workspace": {"config": wrong}}})


def test_changes_are_laid_over_a_preset_and_have_a_store_of_their_own(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    changes = {"univdm": {"train": {"steps": 7}}}
    resource = PahaResource(preset=PresetName["smoke"], changes=changes)
    monkeypatch.delenv("PAHA_STORE", raising=False)
    made = workspace_of(resource)
    assert made.preset.univdm.train.steps == 7
    assert made.preset.name.startswith("smoke-")
    assert made.store.url == f"runs/{made.preset.name}"
    again = workspace_of(resource)
    assert again.preset == made.preset
    base = load_preset("smoke")
    assert made.preset.model_copy(update={"name": "smoke", "univdm": base.univdm}) == base


def test_a_wrong_change_is_named_by_its_key(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    resource = PahaResource(preset=PresetName["smoke"], changes={"univdm": {"trian": {}}})
    with pytest.raises(PresetError, match=r"univdm\.trian"):
        _ = workspace_of(resource).preset


def run_config(**workspace):
    return {"resources": {"workspace": {"config": workspace}}}


REFUSED = {
    "unknown key": ({"changes": {"univdm": {"trian": {}}}}, "univdm.trian: Extra inputs"),
    "wrong value": (
        {"preset": "smoke", "changes": {"univdm": {"train": {"steps": "many"}}}},
        "univdm.train.steps: Input should be a valid integer",
    ),
    "null": ({"changes": {"univdm": None}}, "univdm: Input should be a valid dictionary"),
    "no file": ({"preset_file": "mine.yaml"}, "no preset file mine.yaml"),
}


@pytest.mark.parametrize("wrong", REFUSED)
def test_a_preset_that_cant_be_used_is_refused_before_the_run_is_made(wrong):
    config, message = REFUSED[wrong]
    job = defs.resolve_job_def("full_rebuild")
    with dg.DagsterInstance.ephemeral() as instance:
        with pytest.raises(dg.DagsterInvalidConfigError, match=message):
            job.execute_in_process(run_config(**config), instance=instance)
        assert instance.get_runs() == []


def test_changes_without_a_preset_may_be_those_of_the_smoke_job(monkeypatch):
    monkeypatch.setenv("PAHA_PRESET", "gone.yaml")
    job = defs.resolve_job_def("smoke_rebuild")
    assert dg.validate_run_config(job, run_config(changes={"threads": 1}))
    with pytest.raises(dg.DagsterInvalidConfigError, match=r"gone\.yaml"):
        job.execute_in_process(run_config(changes={"thread": 1}))


def test_the_launchpad_names_the_wrong_key_and_starts_nothing(dagster_shell, tmp_path, monkeypatch):
    """Through the webserver's own schema and a code server, as the launchpad does it."""
    config = run_config(changes={"univdm": {"trian": {}}})
    run = {"selector": job_selector("smoke_rebuild"), "runConfigData": config, "mode": "default"}
    workspace = str(Path(__file__).parents[2] / "workspace.yaml")
    asked = ("-w", workspace, "-t", LAUNCH, "-v", json.dumps({"p": run}), "-o", "answer.json")
    done = dagster_shell(*asked, command="dagster-graphql", DAGSTER_HOME=str(tmp_path))
    assert done.returncode == 0, done.stdout
    answer = json.loads((tmp_path / "answer.json").read_text())["data"]["launchRun"]
    assert answer["__typename"] == "PythonError"
    assert answer["message"].endswith(
        "preset demo with changes can't be used:\n  univdm.trian: Extra inputs are not permitted\n"
    )
    monkeypatch.chdir(tmp_path)
    with dg.DagsterInstance.from_config(str(tmp_path)) as instance:
        assert instance.get_runs() == []
