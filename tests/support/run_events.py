"""What a run's events say, read from Dagster's instance."""

from __future__ import annotations

import dagster as dg


def failures(instance: dg.DagsterInstance, run_id: str) -> str:
    """The messages of the steps that failed; empty for none."""
    events = events_of(instance, run_id, dg.DagsterEventType.STEP_FAILURE)
    errors = [event.step_failure_data.error for event in events]
    return "\n".join(error.message for error in errors if error is not None)


def observations(instance: dg.DagsterInstance, run_id: str) -> list[dg.AssetObservation]:
    events = events_of(instance, run_id, dg.DagsterEventType.ASSET_OBSERVATION)
    return [event.asset_observation_data.asset_observation for event in events]


def events_of(
    instance: dg.DagsterInstance, run_id: str, kind: dg.DagsterEventType
) -> list[dg.DagsterEvent]:
    """The run's events of that kind, in their order."""
    records = instance.get_records_for_run(run_id, of_type=kind, ascending=True).records
    events = [record.event_log_entry.dagster_event for record in records]
    return [event for event in events if event is not None]
