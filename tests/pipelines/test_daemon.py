"""Dagster's own daemon over the project's definitions: what the schedule and each sensor request.

The runs that are requested wait in a queue that starts none.
"""

import json
import os
import signal
import subprocess
import sys
import time
from contextlib import contextmanager
from pathlib import Path

import dagster as dg
import pytest
import yaml
from evaluations import evaluated
from production import wait_for

from assets.checks import no_regression
from paha_core.store import Store
from pipelines import schedules, sensors
from pipelines.reaper import _process_of
from pipelines.resources import PahaResource, PresetName

LIMIT = 600.0  # seconds; only a hang is to be caught
WEEK = 7 * 24 * 3600.0
DEFINITIONS = ("-w", str(Path(__file__).parents[2] / "workspace.yaml"))


@contextmanager
def running(folder, environment, *command):
    """A process of Dagster's, ended with all that it started."""
    with open(folder / f"{command[0]}.log", "a") as log:
        process = subprocess.Popen(
            [Path(sys.executable).with_name(command[0]), *command[1:]],
            cwd=folder, env=environment, stdout=log, stderr=log, start_new_session=True,
        )  # fmt: skip
    try:
        yield process
    finally:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGTERM)
            process.wait()


class Records:
    """What the daemon recorded of schedules and sensors."""

    def __init__(self, instance):
        self.instance = instance

    def state(self, name):
        """None before the daemon has seen a sensor that is on by default."""
        found = {state.instigator_name: state for state in self.instance.all_instigator_state()}
        return found.get(name)

    def ticks(self, name):
        """Those that have ended, oldest first."""
        if (state := self.state(name)) is None:
            return []
        found = self.instance.get_ticks(state.instigator_origin_id, state.selector_id)
        return [tick for tick in reversed(found) if tick.status.value != "STARTED"]

    def tick(self, name, number=0):
        """That tick, once it has ended."""
        wait_for(lambda: len(self.ticks(name)) > number, limit=LIMIT)
        found = self.ticks(name)[number]
        assert found.status.value != "FAILURE", found.error
        return found

    def second_tick(self, name):
        self.hurry(name)
        return self.tick(name, 1)

    def hurry(self, name):
        """Let the sensor tick now, and not after its interval."""
        self.backdate(name, last_tick_timestamp=1.0, last_tick_start_timestamp=1.0)

    def backdate(self, name, **times):
        state = self.state(name)
        data = state.instigator_data._replace(**times)
        self.instance.update_instigator_state(state.with_data(data))

    def requested(self, tick):
        """Job and tags of the one run that the tick requested."""
        [run_id] = tick.run_ids
        run = self.instance.get_run_by_id(run_id)
        assert run.status == dg.DagsterRunStatus.QUEUED
        return run.job_name, run.tags


@pytest.fixture
def project(tmp_path, dagster_environment, webhook):
    """The environment of a deployment: a preset with footage, trained networks, an alert channel;
    and a Dagster instance that starts no run."""
    footage = tmp_path / "anchors" / "li_mei"
    footage.mkdir(parents=True)
    (footage / "news.mp4").write_bytes(b"first")
    preset = tmp_path / "own.yaml"
    preset.write_text(json.dumps({"name": "own", "corpora": {"cnas": {"programmes": "anchors"}}}))
    instance = yaml.safe_load((tmp_path / "dagster.yaml").read_text())
    instance["concurrency"]["runs"]["max_concurrent_runs"] = 0
    (tmp_path / "dagster.yaml").write_text(yaml.safe_dump(instance))
    evaluated(Store(str(tmp_path / "store")), "a", 2.0)
    return dagster_environment | {
        "DAGSTER_HOME": str(tmp_path),
        "PAHA_ALERT_WEBHOOK": os.environ["PAHA_ALERT_WEBHOOK"],
        "PAHA_PRESET": str(preset),
        "PAHA_STORE": str(tmp_path / "store"),
    }


def kill_a_run(folder, environment, instance):
    """A run from the shell whose process is killed; its id."""
    before = {run.run_id for run in instance.get_runs()}
    started = ("dagster", "job", "execute", "-j", "observe_inputs")

    def process_of_new_run():
        new = [run for run in instance.get_runs() if run.run_id not in before]
        return new and _process_of(instance, new[0].run_id)

    with running(folder, environment, *started) as process:
        wait_for(lambda: bool(process_of_new_run()), every=0.02, limit=LIMIT)
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
    [killed] = [run for run in instance.get_runs() if run.run_id not in before]
    assert killed.status == dg.DagsterRunStatus.STARTED
    return killed.run_id


def has_failed(instance, run_id):
    return instance.get_run_by_id(run_id).status == dg.DagsterRunStatus.FAILURE


def posted(webhook, words):
    return any(words in post["text"] for post in webhook)


def test_the_schedule_and_every_sensor_request_what_they_should(
    tmp_path, project, dagster_shell, webhook, monkeypatch
):
    monkeypatch.chdir(tmp_path)
    for kind in ("schedule", "sensor"):
        done = dagster_shell(kind, "start", "--start-all", *DEFINITIONS, **project)
        assert done.returncode == 0, done.stdout
    with dg.DagsterInstance.from_config(str(tmp_path)) as instance:
        records = Records(instance)
        [schedule] = schedules.ALL
        records.backdate(schedule.name, start_timestamp=time.time() - WEEK)  # of one Monday
        with running(tmp_path, project, "dagster-daemon", "run", *DEFINITIONS):
            first = {sensor.name: records.tick(sensor.name) for sensor in sensors.ALL}
            job, tags = records.requested(records.tick(schedule.name))
            assert (job, tags["dagster/schedule_name"]) == ("reevaluate", schedule.name)

            job, tags = records.requested(first["new_checkpoint"])
            assert (job, "paha/checkpoint" in tags) == ("reevaluate", True)
            assert "has been seen" in records.second_tick("new_checkpoint").skip_reason

            assert "the listing is changing" in first["new_footage"].skip_reason
            job, tags = records.requested(records.second_tick("new_footage"))
            assert (job, "paha/footage" in tags) == ("ingest_footage", True)

            assert "every run has its process" in first["killed_runs"].skip_reason
            killed = kill_a_run(tmp_path, project, instance)
            records.hurry("killed_runs")
            wait_for(lambda: has_failed(instance, killed), limit=LIMIT)
            records.hurry("alert_on_failure")
            wait_for(lambda: posted(webhook, f"Run {killed} failed before any stage"), limit=LIMIT)

            evaluated(Store(project["PAHA_STORE"]), "b", 5.0)
            done = dg.materialize(
                [no_regression],
                selection=dg.AssetSelection.checks(no_regression),
                resources={"workspace": PahaResource(preset=PresetName["smoke"], store="store")},
                instance=instance,
            )
            assert done.success
            records.hurry("alert_on_failed_checks")
            wait_for(lambda: posted(webhook, "benchmark: no_regression: "), limit=LIMIT)
