"""The latent space."""

import dagster as dg

from assets.metadata import materialized
from paha_core.stages import Workspace


@dg.asset(
    deps=["par_masks"],
    group_name="networks",
    kinds={"pytorch", "diffusers"},
    code_version="1",
    pool="gpu",
)
def latent_codec(
    context: dg.AssetExecutionContext, workspace: dg.ResourceParam[Workspace]
) -> dg.MaterializeResult:
    """A small autoencoder trained on the corpus, unless the preset names pretrained weights.

    Killed in the middle, it goes on from its last checkpoint.
    """
    return materialized(context, workspace, own_process=True)
