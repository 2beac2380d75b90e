"""Numbers."""

import dagster as dg

from assets.metadata import materialized
from paha_core.stages import Workspace


@dg.asset(
    deps=["generated_clips", "keypoints", "pose_autoencoder", "video_encoder"],
    group_name="results",
    kinds={"python", "parquet"},
    code_version="1",
    pool="gpu",
)
def benchmark(
    context: dg.AssetExecutionContext, workspace: dg.ResourceParam[Workspace]
) -> dg.MaterializeResult:
    """Every metric of every system under one protocol, with confidence intervals.

    A number that can't be had says why.
    """
    return materialized(context, workspace, own_process=True)
