"""The page that shows a run."""

import dagster as dg

from assets.metadata import materialized
from assets.tables import KEYS
from paha_core.stages import Workspace


@dg.asset(
    deps=["benchmark", *KEYS.values()],
    group_name="results",
    kinds={"html"},
    code_version="2",
)
def report(
    context: dg.AssetExecutionContext, workspace: dg.ResourceParam[Workspace]
) -> dg.MaterializeResult:
    """One self-contained page: tables, curves, frame strips, playable videos, provenance.

    It shows the paper's tables too, those that have been run.
    """
    return materialized(context, workspace)
