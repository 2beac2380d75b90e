"""What watches."""

import dagster as dg

from paha_core.stages import Workspace
from pipelines.jobs import reevaluate
from pipelines.reaper import reap


@dg.sensor(
    minimum_interval_seconds=60,
    default_status=dg.DefaultSensorStatus.RUNNING,
    description="Fails runs whose process was killed and frees their GPU slot (also: paha reap).",
)
def killed_runs(context: dg.SensorEvaluationContext) -> dg.SkipReason:
    reaped = reap(context.instance)
    return dg.SkipReason(f"ended {', '.join(reaped)}" if reaped else "every run has its process")


@dg.sensor(
    job=reevaluate,
    minimum_interval_seconds=300,
    default_status=dg.DefaultSensorStatus.STOPPED,
    description="A new checkpoint appeared: generate, measure and report again.",
)
def new_checkpoint(
    context: dg.SensorEvaluationContext, workspace: dg.ResourceParam[Workspace]
) -> dg.RunRequest | dg.SkipReason:
    """One run for each set of networks; the cursor holds the last one that was seen."""
    from paha_core.benchmark.history import checkpoint_of
    from paha_core.trained import CLASSIFIERS, fingerprint

    store = workspace.store
    if not fingerprint(store, CLASSIFIERS[-1]):
        return dg.SkipReason(f"no trained networks in {store.url}")
    found = checkpoint_of(store, workspace.preset)
    if found == context.cursor:
        return dg.SkipReason(f"checkpoint {found} has been seen")
    context.update_cursor(found)
    return dg.RunRequest(run_key=f"{store.url}#{found}", tags={"paha/checkpoint": found})


ALL = [killed_runs, new_checkpoint]
