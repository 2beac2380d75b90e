"""Sensors: killed runs, new checkpoints, new footage, alerts."""

import dagster as dg

from paha_core.stages import Workspace
from pipelines import alerts
from pipelines.jobs import ingest_footage, reevaluate
from pipelines.reaper import reap

FOOTAGE_TAG = "paha/footage"  # of a run: the digest of the listing that it ingests
FAILED = {dg.DagsterRunStatus.FAILURE, dg.DagsterRunStatus.CANCELED}


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


@dg.sensor(
    job=ingest_footage,
    minimum_interval_seconds=120,
    default_status=dg.DefaultSensorStatus.STOPPED,
    description="Footage came or changed in a folder or bucket of the preset: one run for all of "
    "it, once the listing has been the same at two ticks.",
)
def new_footage(
    context: dg.SensorEvaluationContext, workspace: dg.ResourceParam[Workspace]
) -> dg.RunRequest | dg.SkipReason:
    """The cursor is `ingested seen`: the digests of the listing for which a run was last requested,
    and of the last tick's. A listing is ingested when it is the same at two ticks, so that files
    which are still being copied are not cut. The cursor alone decides: with a run key, Dagster
    would skip a listing that comes back, such as after a removed file is restored."""
    from paha_core.errors import EXPECTED
    from paha_core.stages.inputs import digest, footage_versions

    try:
        versions = footage_versions(workspace.preset)
    except EXPECTED as error:
        return dg.SkipReason(str(error))
    if not versions:
        return dg.SkipReason(f"preset {workspace.preset.name} names no footage")
    ingested, _, seen = (context.cursor or "none ").partition(" ")
    found = digest(versions)
    if found == ingested:
        last = context.instance.get_runs(dg.RunsFilter(tags={FOOTAGE_TAG: found}), limit=1)
        if last and last[0].status in FAILED:
            return dg.SkipReason(
                f"{len(versions)} files, but run {last[0].run_id} did not ingest them: re-execute "
                "it, or `dagster sensor cursor new_footage --delete` starts another"
            )
        return dg.SkipReason(f"{len(versions)} files, all ingested or about to be")
    if found != seen:
        context.update_cursor(f"{ingested} {found}")
        return dg.SkipReason(f"{len(versions)} files, the listing is changing")
    context.update_cursor(f"{found} {found}")
    return dg.RunRequest(tags={FOOTAGE_TAG: found})


ALL = [killed_runs, new_checkpoint, new_footage, *alerts.ALL]
