"""What the classifiers learn to tell from real video."""

import dagster as dg

from assets.metadata import materialized
from paha_core.stages import Workspace


@dg.asset(
    deps=["univdm", "training_shards"],
    group_name="data",
    kinds={"pytorch", "tar"},
    code_version="1",
    pool="gpu",
)
def negative_samples(
    context: dg.AssetExecutionContext, workspace: dg.ResourceParam[Workspace]
) -> dg.MaterializeResult:
    """Clips by UniVDM at 60 % of its training, one for each real one, from random references and
    audio.
    """
    return materialized(context, workspace, own_process=True)
