"""The generator."""

import dagster as dg

from assets.metadata import materialized
from paha_core.stages import Workspace


@dg.asset(
    deps=["training_shards"],
    group_name="networks",
    kinds={"pytorch", "diffusers"},
    code_version="1",
    pool="gpu",
)
def univdm(
    context: dg.AssetExecutionContext, workspace: dg.ResourceParam[Workspace]
) -> dg.MaterializeResult:
    """UniVDM: audio and one reference frame in, a video of the speaker out; trained with the PAR
    loss.

    Killed in the middle, it goes on from its last checkpoint to the same losses.
    """
    return materialized(context, workspace, own_process=True)
