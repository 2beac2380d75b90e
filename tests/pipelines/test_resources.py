"""Which preset and which store a run gets."""

import dagster as dg

from paha_core.stages import Workspace
from pipelines.resources import PahaResource


def workspace_of(resource, **tags):
    seen = []

    @dg.op
    def look(workspace: dg.ResourceParam[Workspace]) -> None:
        seen.append((workspace.preset_name, workspace.store_url))

    @dg.job(resource_defs={"workspace": resource}, tags=tags)
    def once():
        look()

    assert once.execute_in_process().success
    return seen[0]


def test_demo_is_the_default(monkeypatch):
    monkeypatch.delenv("PAHA_PRESET", raising=False)
    monkeypatch.delenv("PAHA_STORE", raising=False)
    assert workspace_of(PahaResource(preset="", store="")) == ("demo", "")


def test_the_environment_names_preset_and_store(monkeypatch):
    monkeypatch.setenv("PAHA_PRESET", "smoke")
    monkeypatch.setenv("PAHA_STORE", "memory://x")
    assert workspace_of(PahaResource(preset="", store="")) == ("smoke", "memory://x")


def test_a_jobs_own_preset_keeps_its_own_store(monkeypatch):
    monkeypatch.setenv("PAHA_PRESET", "demo")
    monkeypatch.setenv("PAHA_STORE", "memory://x")
    tagged = workspace_of(PahaResource(preset="", store=""), **{"paha/preset": "smoke"})
    assert tagged == ("smoke", "")
    assert Workspace(*tagged).store.url == "runs/smoke"


def test_config_comes_first(monkeypatch):
    monkeypatch.setenv("PAHA_PRESET", "demo")
    given = workspace_of(PahaResource(preset="a.yaml", store="b"), **{"paha/preset": "smoke"})
    assert given == ("a.yaml", "b")
