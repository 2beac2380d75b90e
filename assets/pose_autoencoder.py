"""The space of FGD and Diversity."""

import dagster as dg

from assets.metadata import materialized
from paha_core.stages import Workspace


@dg.asset(
    deps=["keypoints", "clips"],
    group_name="networks",
    kinds={"pytorch"},
    code_version="1",
    pool="gpu",
)
def pose_autoencoder(
    context: dg.AssetExecutionContext, workspace: dg.ResourceParam[Workspace]
) -> dg.MaterializeResult:
    """A convolutional autoencoder of gesture windows, trained on the corpus' real poses."""
    return materialized(context, workspace, own_process=True)
