"""Face boxes."""

import dagster as dg

from assets.metadata import materialized
from assets.partitions import CORPORA, ONE_RUN
from paha_core.stages import Workspace


@dg.asset(
    deps=["clips", "keypoints"],
    group_name="data",
    kinds={"tensorflow", "parquet"},
    code_version="1",
    partitions_def=CORPORA,
    backfill_policy=ONE_RUN,
)
def face_boxes(
    context: dg.AssetExecutionContext, workspace: dg.ResourceParam[Workspace]
) -> dg.MaterializeResult:
    """The face's box in every frame, widened by the preset's scale: by MediaPipe's face detection,
    or from the keypoints where they are DWPose's.

    The classifiers are masked by it in training.
    """
    return materialized(context, workspace)
