"""The assets: one for each stage of `paha_core.stages.registry`, which describes them."""

from datetime import timedelta

import dagster as dg

from assets.inputs import inputs_of
from assets.launchers.resource import Launchers
from assets.metadata import materialized
from assets.partitions import CORPORA, ONE_RUN
from paha_core.stages import ALL, TABLES, Stage, Workspace

# The schedule `weekly_reevaluation` keeps it fresh; the UI warns after a week without, and a day.
FRESH = {
    "benchmark": dg.FreshnessPolicy.time_window(
        warn_window=timedelta(days=8), fail_window=timedelta(days=15)
    )
}


def key_of(name: str) -> dg.AssetKey:
    """A table's asset has a prefix, since the table's job has the bare name."""
    return dg.AssetKey(["tables", name] if name in TABLES else [name])


def _asset(name: str, stage: Stage) -> dg.AssetsDefinition:
    @dg.asset(
        key=key_of(name),
        deps=[*map(key_of, (*stage.needs, *stage.shows)), *inputs_of(name)],
        group_name=stage.group,
        kinds=set(stage.kinds),
        owners=[f"team:{stage.group}"],
        tags={"paha/device": "gpu" if stage.on_device else "cpu"},
        freshness_policy=FRESH.get(name),
        description=stage.description,
        code_version=stage.code_version,
        pool="gpu" if stage.on_device else None,
        partitions_def=CORPORA if stage.per_dataset else None,
        backfill_policy=ONE_RUN if stage.per_dataset else None,
        metadata={"code": stage.code, "paper": stage.paper or "not in the paper"},
    )
    def asset(
        context: dg.AssetExecutionContext,
        workspace: dg.ResourceParam[Workspace],
        launchers: Launchers,
    ) -> dg.MaterializeResult:
        return materialized(context, workspace, name, launchers)

    return asset


ASSETS = {name: _asset(name, stage) for name, stage in ALL.items()}
