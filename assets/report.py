"""The page that shows a run."""

import dagster as dg

from assets.metadata import materialized
from paha_core.steps import Workspace


@dg.asset(
    deps=["benchmark"],
    group_name="results",
    kinds={"html"},
    code_version="1",
)
def report(
    context: dg.AssetExecutionContext, workspace: dg.ResourceParam[Workspace]
) -> dg.MaterializeResult:
    """One self-contained page: tables, curves, frame strips, playable videos, provenance."""
    return materialized(context, workspace)
