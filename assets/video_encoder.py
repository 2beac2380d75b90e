"""The space of FVD's stand-in."""

import dagster as dg

from assets.metadata import materialized
from paha_core.stages import Workspace


@dg.asset(
    deps=["clips"],
    group_name="networks",
    kinds={"pytorch"},
    code_version="1",
    pool="gpu",
)
def video_encoder(
    context: dg.AssetExecutionContext, workspace: dg.ResourceParam[Workspace]
) -> dg.MaterializeResult:
    """A small 3D network that tells what was done to a window of real video."""
    return materialized(context, workspace, own_process=True)
