"""The resource of every asset: a preset and a store."""

import os
from enum import Enum
from pathlib import Path
from typing import Any

import dagster as dg
import yaml
from pydantic import Field

from paha_core.config import PresetError, load_preset, preset_names
from paha_core.stages import Workspace
from paha_core.store import sha256_json
from pipelines.partitions import SMOKE

PRESET_TAG = "paha/preset"
ENVIRONMENT = "as_the_environment_says"

# A drop-down in the launchpad: the presets of the package, and what PAHA_PRESET names.
PresetName = Enum("PresetName", {name: name for name in (ENVIRONMENT, *preset_names())})  # type: ignore[misc]
CHANGED = Path(".dagster/presets")  # presets with changes, written for the processes of a run


class PahaResource(dg.ConfigurableResource[Workspace]):
    """The preset of a run and where its artifacts live.

    The preset, in order of precedence: the run's own config; the job's tag `paha/preset`; the
    environment's `PAHA_PRESET`; the demo. (A job over partitions has no default config in Dagster,
    so its preset is a tag.) The store is the config's, or `PAHA_STORE` for the environment's
    preset. Every other preset has one of its own, `runs/<preset>` below `PAHA_STORE`.

    The preset is loaded when an asset first uses it, so that a bad one gives a one-sentence failure
    of that asset and not the traceback of a resource.
    """

    preset: PresetName = Field(
        default=PresetName[ENVIRONMENT], description="a preset of the package"
    )
    preset_file: str = Field(
        default="", description="path of a preset of your own (.yaml), instead"
    )
    changes: dict[str, Any | None] = Field(
        default={},
        description="laid over the preset, as nested keys: {univdm: {train: {steps: 100}}}. The "
        "store is then runs/<preset>-<digest of the changes> (below PAHA_STORE, if that is set), "
        "unless you name one",
    )
    speakers: list[str] = Field(
        default=[],
        description="only their clips, in the stages from clips to par_masks; empty: all. For a "
        "backfill of some people, by the names in the manifests",
    )
    store: str = Field(
        default="",
        description="fsspec URL of the artifacts; empty: PAHA_STORE for the deployment's preset, "
        "else runs/<preset>, below PAHA_STORE if that is set",
    )

    def create_resource(self, context: dg.InitResourceContext) -> Workspace:
        tags = context.run.tags if context.run is not None else {}
        chosen = "" if self.preset == PresetName[ENVIRONMENT] else self.preset.value
        named = self.preset_file or chosen or tags.get(PRESET_TAG, "")
        deployed = os.environ.get("PAHA_PRESET") or "demo"
        preset = named or deployed
        if self.changes:
            preset = str(changed_preset(preset, self.changes))
        top = (os.environ.get("PAHA_STORE") or "").rstrip("/")
        store = self.store or (top if preset == deployed else "")
        return Workspace(preset, store, tuple(self.speakers), f"{top}/runs" if top else "runs")


def changed_preset(preset: str, changes: dict[str, Any]) -> Path:
    """A file of that preset with `changes`, under a name of its own; not checked here."""
    base: dict[str, Any] = {"base": preset}
    if preset.endswith((".yaml", ".yml")):
        base["base"] = str(Path(preset).absolute())
    digest = sha256_json([preset, changes])[:8]
    name = f"{load_preset(preset).name}-{digest}"
    path = CHANGED.absolute() / f"{name}.yaml"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(yaml.safe_dump(base | changes | {"name": name}, sort_keys=False))
    return path


def checked(config: dict[str, Any]) -> dict[str, Any]:
    """The resource's config, unchanged. Dagster calls this whenever it resolves the config of a
    run, for the first time before the run is made.

    Raises `dg.DagsterInvalidConfigError` naming each wrong key of `changes` or of `preset_file`.
    The tag `paha/preset` is not known here: where the config names no preset, `changes` must fit
    the environment's or the smoke preset.
    """
    chosen = "" if config["preset"] == ENVIRONMENT else config["preset"]
    named = config["preset_file"] or chosen
    if not config["changes"] and not config["preset_file"]:
        return config
    errors = []
    for base in [named] if named else [os.environ.get("PAHA_PRESET") or "demo", SMOKE]:
        try:
            load_preset(base, config["changes"])
            return config
        except PresetError as error:
            errors.append(str(error))
    raise dg.DagsterInvalidConfigError(errors[0], [], config)


WORKSPACE = (
    PahaResource().get_resource_definition().configured(checked, PahaResource.to_config_schema())
)
