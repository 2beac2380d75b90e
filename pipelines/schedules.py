"""Schedules, off by default."""

import dagster as dg

from pipelines.jobs import reevaluate

weekly_reevaluation = dg.ScheduleDefinition(
    name="weekly_reevaluation",
    job=reevaluate,
    cron_schedule="0 3 * * 1",
    default_status=dg.DefaultScheduleStatus.STOPPED,
    description="Mondays at 3: benchmark and report again.",
)

ALL = [weekly_reevaluation]
