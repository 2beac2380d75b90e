"""What watches."""

import dagster as dg

from pipelines.reaper import reap


@dg.sensor(
    minimum_interval_seconds=60,
    default_status=dg.DefaultSensorStatus.RUNNING,
    description="Fails runs whose process was killed and frees their GPU slot (also: paha reap).",
)
def killed_runs(context: dg.SensorEvaluationContext) -> dg.SkipReason:
    reaped = reap(context.instance)
    return dg.SkipReason(f"ended {', '.join(reaped)}" if reaped else "every run has its process")


ALL = [killed_runs]
