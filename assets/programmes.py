"""Where footage comes from when there is none: the studio corpus."""

import dagster as dg

from assets.metadata import materialized
from paha_core.stages import Workspace


@dg.asset(
    group_name="data",
    kinds={"ffmpeg", "python"},
    code_version="1",
)
def programmes(
    context: dg.AssetExecutionContext, workspace: dg.ResourceParam[Workspace]
) -> dg.MaterializeResult:
    """Raw programmes of drawn presenters, spoken by espeak-ng, as real footage would come.

    A programme whose recipe is unchanged is left alone. A preset with real footage renders nothing.
    """
    return materialized(context, workspace)
