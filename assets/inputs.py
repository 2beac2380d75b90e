"""External inputs as observable assets: lineage starts at footage and pretrained weights."""

import warnings
from collections.abc import Iterator

import dagster as dg

from assets.metadata import table
from paha_core.stages import Workspace
from paha_core.stages.inputs import digest, inputs, versions_of

warnings.filterwarnings(
    "ignore", message=".*multi_observable_source_asset.*", category=dg.BetaWarning
)

SHOWN = 50  # files listed with an observation


def input_key(name: str) -> dg.AssetKey:
    return dg.AssetKey(["inputs", name])


def inputs_of(stage: str) -> list[dg.AssetKey]:
    """The external inputs that a stage reads."""
    return [input_key(name) for name, each in inputs().items() if stage in each.stages]


INPUT_KEYS = [input_key(name) for name in inputs()]


@dg.multi_observable_source_asset(
    specs=[
        dg.AssetSpec(
            input_key(name),
            description=each.title,
            group_name="inputs",
            kinds=set(each.kinds),
            metadata={"source": each.source} if each.source else {},
        )
        for name, each in inputs().items()
    ],
    name="inputs",
    can_subset=True,
)
def observed_inputs(
    context: dg.AssetExecutionContext, workspace: dg.ResourceParam[Workspace]
) -> Iterator[dg.ObserveResult]:
    """The versions of their files: sha256 of weights, size and time (or ETag) of footage."""
    from paha_core.errors import EXPECTED

    for key in sorted(context.selected_asset_keys):
        try:
            versions = versions_of(workspace.preset, key.path[-1])
        except EXPECTED as error:
            raise dg.Failure(str(error), allow_retries=False) from None
        shown = dict(list(versions.items())[:SHOWN])
        yield dg.ObserveResult(
            asset_key=key,
            data_version=dg.DataVersion(digest(versions)),
            metadata={
                "preset": workspace.preset.name,
                "files": len(versions),
                "versions": table(shown, "file", "version"),
            },
        )
