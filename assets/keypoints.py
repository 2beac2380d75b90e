"""Whole-body keypoints."""

import dagster as dg

from assets.metadata import materialized
from assets.partitions import CORPORA, ONE_RUN
from paha_core.stages import Workspace


@dg.asset(
    deps=["clips"],
    group_name="data",
    kinds={"onnx", "parquet"},
    code_version="1",
    partitions_def=CORPORA,
    backfill_policy=ONE_RUN,
)
def keypoints(
    context: dg.AssetExecutionContext, workspace: dg.ResourceParam[Workspace]
) -> dg.MaterializeResult:
    """The 133 COCO-WholeBody points of every frame, with scores, by the preset's detector."""
    return materialized(context, workspace)
