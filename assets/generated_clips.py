"""Videos for audio that no network has heard."""

import dagster as dg

from assets.metadata import materialized
from paha_core.stages import Workspace


@dg.asset(
    deps=["univdm", "face_classifier", "non_face_classifier", "clips"],
    group_name="results",
    kinds={"pytorch", "ffmpeg"},
    code_version="1",
    pool="gpu",
)
def generated_clips(
    context: dg.AssetExecutionContext, workspace: dg.ResourceParam[Workspace]
) -> dg.MaterializeResult:
    """Held-out clips, unguided and guided, exactly as long as their audio."""
    return materialized(context, workspace, own_process=True)
