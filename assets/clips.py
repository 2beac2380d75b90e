"""Ingestion: from raw footage to clips of one speaker."""

import dagster as dg

from assets.metadata import materialized
from assets.partitions import CORPORA, ONE_RUN
from paha_core.stages import Workspace


@dg.asset(
    deps=["programmes"],
    group_name="data",
    kinds={"ffmpeg", "parquet"},
    code_version="2",
    partitions_def=CORPORA,
    backfill_policy=ONE_RUN,
)
def clips(
    context: dg.AssetExecutionContext, workspace: dg.ResourceParam[Workspace]
) -> dg.MaterializeResult:
    """Square clips at 25 fps with their audio beside them, cut from PATS intervals or raw
    programmes.

    What can't be used (truncated, silent, without a face) is a rejected row with its reason.
    """
    return materialized(context, workspace)
