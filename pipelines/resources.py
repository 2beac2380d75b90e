"""What every asset is handed: a preset and a store."""

import os

import dagster as dg
from pydantic import Field

from paha_core.stages import Workspace

PRESET_TAG = "paha/preset"


class PahaResource(dg.ConfigurableResource[Workspace]):
    """The preset of a run and where its artifacts live.

    Who says so, first of all the run's own config; then the job's tag `paha/preset`, with a store
    of its own; then the environment, `PAHA_PRESET` and `PAHA_STORE`; else the demo. (A job over
    partitions has no default config in Dagster, so its preset is a tag.)

    The preset is read when an asset asks for it, so that a bad one is one sentence in that asset's
    failure and not the stack of a resource that could not be made.
    """

    preset: str = Field("", description="name of a preset, or path of a .yaml file")
    store: str = Field("", description="fsspec URL of the artifacts; empty: runs/<preset>")

    def create_resource(self, context: dg.InitResourceContext) -> Workspace:
        tags = context.run.tags if context.run is not None else {}
        if named := self.preset or tags.get(PRESET_TAG, ""):
            return Workspace(named, self.store)
        preset = os.environ.get("PAHA_PRESET") or "demo"
        return Workspace(preset, self.store or os.environ.get("PAHA_STORE") or "")
