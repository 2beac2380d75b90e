"""The paper's tables, one asset each: materialised on demand, no part of a whole run."""

import dagster as dg

from assets.metadata import materialized
from paha_core.stages import TABLES, Workspace
from paha_core.trained import CLASSIFIERS, FEATURE_NETWORKS

KEYS = {name: dg.AssetKey(["tables", name]) for name in TABLES}  # a job bears the bare name


def _table(name: str) -> dg.AssetsDefinition:
    @dg.asset(
        key=KEYS[name],
        deps=["univdm", *CLASSIFIERS, *FEATURE_NETWORKS, "clips"],
        group_name="tables",
        kinds={"pytorch", "parquet"},
        code_version="2",
        pool="gpu",
        description=f"Table {name.removeprefix('table')} of the paper: its rows, and its claims.",
    )
    def table(
        context: dg.AssetExecutionContext, workspace: dg.ResourceParam[Workspace]
    ) -> dg.MaterializeResult:
        return materialized(context, workspace, own_process=True)

    return table


ALL = [_table(name) for name in TABLES]
