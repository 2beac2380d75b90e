"""Scheduled re-evaluation: schedule, sensor and check, by Dagster's own evaluation."""

import dagster as dg
import pytest
from evaluations import evaluated, networks

from paha_core.store import Store
from pipelines.definitions import defs
from pipelines.resources import PahaResource, PresetName


def tick(store: Store, cursor: str | None):
    with dg.DagsterInstance.ephemeral() as instance:
        context = dg.build_sensor_context(
            instance,
            cursor=cursor,
            repository_def=defs.get_repository_def(),
            resources={"workspace": PahaResource(preset=PresetName["smoke"], store=store.url)},
        )
        return defs.resolve_sensor_def("new_checkpoint").evaluate_tick(context)


def test_a_new_checkpoint_asks_for_one_run(tmp_path):
    store = Store(str(tmp_path))
    empty = tick(store, None)
    assert empty.run_requests == []
    assert "no trained networks" in empty.skip_message
    networks(store, "a")
    first = tick(store, None)
    [request] = first.run_requests
    assert first.cursor in request.run_key
    again = tick(store, first.cursor)
    assert again.run_requests == []
    assert "has been seen" in again.skip_message
    networks(store, "b")
    assert len(tick(store, first.cursor).run_requests) == 1


def test_sensor_and_schedule_are_off_until_turned_on():
    assert defs.resolve_sensor_def("new_checkpoint").default_status == (
        dg.DefaultSensorStatus.STOPPED
    )
    schedule = defs.resolve_schedule_def("weekly_reevaluation")
    assert schedule.default_status == dg.DefaultScheduleStatus.STOPPED
    assert schedule.job_name == "reevaluate"
    assert schedule.cron_schedule == "0 3 * * 1"  # Mondays at 3


@pytest.mark.parametrize(("value", "passed"), [(2.1, True), (5.0, False)])
def test_the_check_warns_of_a_regression(tmp_path, value, passed):
    from assets.checks import no_regression
    from paha_core.stages import Workspace

    store = Store(str(tmp_path))
    evaluated(store, "a", 2.0)
    evaluated(store, "b", value)
    result = no_regression(Workspace("smoke", store.url))
    assert result.passed == passed
    assert result.severity == dg.AssetCheckSeverity.WARN
    assert ("no worse than" if passed else "is worse than") in result.description
    assert ("sequential fgd" in result.metadata) == (not passed)
    trend = result.metadata["trend"].value
    assert "data:image/svg+xml;base64," in trend
