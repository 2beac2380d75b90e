"""A Dagster resource: the launcher of each group of stages."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal, Union

import dagster as dg
import yaml
from pydantic import BeforeValidator, Field, TypeAdapter, ValidationError

from assets.launchers.kubernetes import Kubernetes, KubernetesLauncher
from assets.launchers.ray_jobs import Ray, RayLauncher
from assets.launchers.slurm import Slurm, SlurmLauncher
from paha_core.config import wrong_keys
from paha_core.errors import UserError


class LocalLauncher(dg.Config, extra="forbid"):
    """Stages of this group run on the machine of the Dagster run."""

    kind: Literal["local"] = "local"


Launcher = Union[LocalLauncher, SlurmLauncher, RayLauncher, KubernetesLauncher]  # noqa: UP007
FILE = "PAHA_LAUNCHERS"  # environment: a yaml file of the deployment's own launchers


class Launchers(dg.ConfigurableResource):
    """Where the stages of each group run: on this machine, unless a run's config or the file that
    PAHA_LAUNCHERS names sets another launcher (`deploy/`)."""

    data: Launcher = Field(default=LocalLauncher(), discriminator="kind")
    networks: Launcher = Field(default=LocalLauncher(), discriminator="kind")
    results: Launcher = Field(default=LocalLauncher(), discriminator="kind")
    tables: Launcher = Field(default=LocalLauncher(), discriminator="kind")

    def check_limits(self, grace: float) -> None:
        """Raises `UserError` for a time limit that leaves no time before the SIGTERM, which comes
        `grace` seconds before it."""
        for group in type(self).model_fields:
            launcher = getattr(self, group)
            if isinstance(launcher, SlurmLauncher) and 0 < launcher.limit_seconds <= grace:
                raise UserError(
                    f"launchers: {group}.slurm.time_limit {launcher.time_limit} must be longer "
                    f"than the preset's trainer.grace_seconds ({grace:g} s)"
                )


def cluster_of(launcher: Launcher) -> Slurm | Ray | Kubernetes | None:
    """The client of the launcher's scheduler; None on this machine."""
    if isinstance(launcher, SlurmLauncher):
        return Slurm(launcher)
    if isinstance(launcher, RayLauncher):
        return Ray(launcher)
    if isinstance(launcher, KubernetesLauncher):
        return Kubernetes(launcher)
    return None


def launchers_of(path: str | None) -> dg.ResourceDefinition:
    """`Launchers` whose groups that a run's config does not name are those of a file in the same
    form. Raises `UserError` naming each wrong group, kind, key or value of the file."""
    defaults: dict[str, Any] = {
        group: {launcher.kind: launcher.model_dump(exclude={"kind"}, exclude_defaults=True)}
        for group, launcher in (_read(path) if path else {}).items()
    }
    fields = {
        group: dg.Field(field.config_type, default_value=defaults.get(group, {"local": {}}))
        for group, field in Launchers.to_fields_dict().items()
    }
    return Launchers().get_resource_definition().configured(checked, fields)


def checked(config: dict[str, Any]) -> dict[str, Any]:
    """The resource's config, unchanged, whenever Dagster resolves the config of a run, for the
    first time before the run is made. Raises `dg.DagsterInvalidConfigError` for values that
    Dagster's own types admit."""
    try:
        CHOSEN.validate_python(config)
    except ValidationError as error:
        message = f"launchers can't be used:\n{wrong_keys(error)}"
        raise dg.DagsterInvalidConfigError(message, [], config) from None
    return config


def _read(path: str) -> dict[Group, Launcher]:
    try:
        content = yaml.safe_load(Path(path).read_text())
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise UserError(f"{FILE}={path} can't be read: {error}") from None
    match content:
        case {"resources": {"launchers": {"config": dict() as groups, **a}, **b}, **c} if not (
            a or b or c
        ):
            pass
        case _:
            raise UserError(
                f"{FILE}={path} must hold `resources: {{launchers: {{config: {{…}}}}}}` and "
                "nothing else, as the examples in deploy/ do"
            )
    try:
        return CHOSEN.validate_python(groups)
    except ValidationError as error:
        raise UserError(f"{FILE}={path} can't be used:\n{wrong_keys(error)}") from None


def _with_kind(choice: Any) -> dict[str, Any]:
    """`{slurm: {hosts: 2}}`, the form of a run's config, as `{kind: slurm, hosts: 2}`."""
    match list(choice.items()) if isinstance(choice, dict) else choice:
        case [(kind, dict() | None as settings)]:
            return {str(key): value for key, value in (settings or {}).items()} | {"kind": kind}
    raise ValueError("give one launcher and its settings, such as {local: {}}")


Group = Literal["data", "networks", "results", "tables"]
Choice = Annotated[Launcher, Field(discriminator="kind"), BeforeValidator(_with_kind)]
CHOSEN: TypeAdapter[dict[Group, Launcher]] = TypeAdapter(dict[Group, Choice])
