"""The stage's own process: its report comes back, its failures have names, nothing outlives it."""

import os
import sys
import time

import pytest
import yaml
from stage_process import materialize_univdm, write_script

from assets import process
from assets.process import run_in_process
from paha_core.config import load_preset
from paha_core.stages import Workspace
from paha_core.store import Store

CHILD = """
import json, os, signal, subprocess, sys, time
from contextlib import nullcontext
from dagster_pipes import open_dagster_pipes
from paha_core.stages import Workspace
first = os.environ.get("RANK", "0") == "0"
with open_dagster_pipes() if first else nullcontext() as pipes:
    {body}
"""


@pytest.fixture
def run_child(tmp_path):
    """Runs `body` as the stage `univdm`: its report or None, the failure's words, observations."""

    def run(body: str, preset: str = "smoke"):
        script = tmp_path / "child.py"
        write_script(script, CHILD, body)
        workspace = Workspace(preset, str(tmp_path / "store"))
        worker = (sys.executable, str(script))
        return materialize_univdm(
            lambda context: run_in_process(context, workspace, "univdm", worker)
        )

    return run


def test_the_report_is_returned(run_child):
    report, failure, _ = run_child(
        """
        assert os.environ["PAHA_PRESET"] == "smoke"
        assert os.getsid(0) == os.getpid()
        pipes.report_custom_message({"report": {"stage": sys.argv[1], "kept": 3}})
        """
    )
    assert failure == ""
    assert (report.stage, report.kept) == ("univdm", 3)


def test_each_of_several_processes_has_preset_and_store(run_child, tmp_path):
    settings = load_preset("smoke").model_dump(mode="json") | {"trainer": {"processes": 2}}
    preset = tmp_path / "two.yaml"
    preset.write_text(yaml.safe_dump(settings))
    report, failure, _ = run_child(
        """
        workspace = Workspace(os.environ["PAHA_PRESET"], os.environ["PAHA_STORE"])
        started_with = (workspace.preset.trainer.processes, os.environ["WORLD_SIZE"], sys.argv[1:])
        workspace.store.write_json(f"rank{os.environ['RANK']}.json", started_with)
        if first:
            pipes.report_custom_message({"report": {"stage": "univdm"}})
        """,
        str(preset),
    )
    assert failure == ""
    assert report.stage == "univdm"
    for rank in (0, 1):
        assert Store(str(tmp_path / "store")).read_json(f"rank{rank}.json") == [2, "2", ["univdm"]]


def test_its_own_sentence_is_the_failure(run_child):
    _, failure, _ = run_child(
        """
        pipes.report_custom_message({"error": "the shards are torn"})
        os._exit(1) if time.sleep(0.3) is None else None
        """
    )
    assert "the shards are torn" in failure


def test_a_killed_child_names_memory(run_child):
    _, failure, _ = run_child("os.kill(os.getpid(), signal.SIGKILL)")
    assert "memory" in failure


def test_a_child_that_saved_itself_is_started_again(run_child, tmp_path, monkeypatch):
    monkeypatch.setattr(process, "RESUME_AFTER", 0.1)
    saved = str(tmp_path / "saved")
    report, failure, _ = run_child(
        f"""
        if not os.path.exists({saved!r}):
            open({saved!r}, "w").close()
            os._exit(75)
        pipes.report_custom_message({{"report": {{"stage": "univdm", "computed": 1}}}})
        """
    )
    assert failure == ""
    assert report.computed == 1


def test_a_repeatedly_interrupted_child_can_resume_later(run_child, monkeypatch):
    monkeypatch.setattr(process, "RESUMES", 1)
    monkeypatch.setattr(process, "RESUME_AFTER", 0.1)
    _, failure, _ = run_child("os._exit(75)")
    assert "resume from its checkpoint" in failure


def test_nothing_of_its_group_is_left(run_child, tmp_path):
    started = time.monotonic()
    run_child(
        f"""
        sleeper = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
        open({str(tmp_path / "pid")!r}, "w").write(str(sleeper.pid))
        pipes.report_custom_message({{"report": {{"stage": "univdm"}}}})
        """
    )
    assert time.monotonic() - started < 300  # not waited for
    pid = int((tmp_path / "pid").read_text())
    deadline = time.monotonic() + 120  # its new parent may take a moment to notice
    while alive(pid) and time.monotonic() < deadline:
        time.sleep(0.1)
    assert not alive(pid)


def alive(pid):
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


def test_figures_are_seen_while_it_runs(run_child, tmp_path, monkeypatch):
    seen, observe = tmp_path / "seen", process.observe

    def observe_and_tell(context, session):
        arrived = session.get_custom_messages()
        observe(context, session)
        if arrived:
            seen.touch()

    monkeypatch.setattr(process, "OBSERVE_EVERY", 0.0)
    monkeypatch.setattr(process, "observe", observe_and_tell)
    _, _, observed = run_child(
        f"""
        pipes.report_custom_message({{"figures": {{"step": 10, "loss": 0.5}}}})
        while not os.path.exists({str(seen)!r}):
            time.sleep(0.05)
        pipes.report_custom_message({{"report": {{"stage": "univdm"}}}})
        """
    )
    assert observed
    assert observed[0].metadata["loss"].value == 0.5
