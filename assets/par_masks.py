"""Parts-Aware Re-weighting."""

import dagster as dg

from assets.metadata import materialized
from assets.partitions import CORPORA, ONE_RUN
from paha_core.stages import Workspace


@dg.asset(
    deps=["keypoints"],
    group_name="data",
    kinds={"numpy", "parquet"},
    code_version="1",
    partitions_def=CORPORA,
    backfill_policy=ONE_RUN,
)
def par_masks(
    context: dg.AssetExecutionContext, workspace: dg.ResourceParam[Workspace]
) -> dg.MaterializeResult:
    """How much each latent cell counts in the loss: hands and face more than body, body more than
    the rest (equations 2 and 3 of the paper).
    """
    return materialized(context, workspace)
