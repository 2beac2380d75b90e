"""What the networks read."""

import dagster as dg

from assets.metadata import materialized
from paha_core.stages import Workspace


@dg.asset(
    deps=["latent_codec", "par_masks", "face_boxes"],
    group_name="data",
    kinds={"pytorch", "tar"},
    code_version="1",
    pool="gpu",
)
def training_shards(
    context: dg.AssetExecutionContext, workspace: dg.ResourceParam[Workspace]
) -> dg.MaterializeResult:
    """Every clip as latents, audio features, reference embeddings and masks, in WebDataset shards.

    Only shards whose clips changed are written again.
    """
    return materialized(context, workspace, own_process=True)
