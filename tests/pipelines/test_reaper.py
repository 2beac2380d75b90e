"""Runs whose process is gone are ended; the others are left alone."""

import os
import subprocess
import sys

import dagster as dg
from dagster._core.events import EngineEventData

from pipelines.definitions import defs
from pipelines.jobs import HOST_TAG
from pipelines.reaper import reap


@dg.job
def idle():
    pass


def started_run(instance, pid, **tags):
    run = instance.create_run_for_job(idle, tags=tags)
    instance.report_engine_event("started", run, EngineEventData.multiprocess(pid))
    instance.report_dagster_event(
        dg.DagsterEvent(dg.DagsterEventType.RUN_START.value, run.job_name), run.run_id
    )
    return run.run_id


def gone_pid():
    child = subprocess.Popen([sys.executable, "-c", ""])
    child.wait()
    return child.pid


def test_a_killed_run_is_failed_and_a_living_one_is_not():
    with dg.DagsterInstance.ephemeral() as instance:
        killed = started_run(instance, gone_pid())
        alive = started_run(instance, os.getpid())
        assert reap(instance) == [killed]
        assert instance.get_run_by_id(killed).status == dg.DagsterRunStatus.FAILURE
        assert instance.get_run_by_id(alive).status == dg.DagsterRunStatus.STARTED
        assert reap(instance) == []


def test_another_machines_run_is_left_alone():
    with dg.DagsterInstance.ephemeral() as instance:
        started_run(instance, gone_pid(), **{HOST_TAG: "elsewhere"})
        assert reap(instance) == []


def test_the_sensor_ends_killed_runs_and_logs_them():
    sensor = defs.resolve_sensor_def("killed_runs")
    assert sensor.default_status == dg.DefaultSensorStatus.RUNNING
    with dg.DagsterInstance.ephemeral() as instance:
        killed = started_run(instance, gone_pid())
        for words in (f"ended {killed}", "every run has its process"):
            context = dg.build_sensor_context(instance, repository_def=defs.get_repository_def())
            tick = sensor.evaluate_tick(context)
            assert (tick.run_requests, tick.skip_message) == ([], words)
        assert instance.get_run_by_id(killed).status == dg.DagsterRunStatus.FAILURE
