"""A Dagster resource: the launcher of each group of stages."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal, Union

import dagster as dg
import yaml
from pydantic import Field

from assets.launchers.kubernetes import Kubernetes, KubernetesLauncher
from assets.launchers.ray_jobs import Ray, RayLauncher
from assets.launchers.slurm import Slurm, SlurmLauncher
from paha_core.errors import UserError


class LocalLauncher(dg.Config):
    """Stages of this group run on the machine of the Dagster run."""

    kind: Literal["local"] = "local"


Launcher = Union[LocalLauncher, SlurmLauncher, RayLauncher, KubernetesLauncher]  # noqa: UP007
KINDS = {"local": LocalLauncher, "slurm": SlurmLauncher, "ray": RayLauncher}
KINDS |= {"kubernetes": KubernetesLauncher}
FILE = "PAHA_LAUNCHERS"  # environment: a yaml file of the deployment's own launchers


class Launchers(dg.ConfigurableResource):
    """Where the stages of each group run: on this machine, unless a run's config or the file that
    PAHA_LAUNCHERS names sets another launcher (`deploy/`)."""

    data: Launcher = Field(default=LocalLauncher(), discriminator="kind")
    networks: Launcher = Field(default=LocalLauncher(), discriminator="kind")
    results: Launcher = Field(default=LocalLauncher(), discriminator="kind")
    tables: Launcher = Field(default=LocalLauncher(), discriminator="kind")


def cluster_of(launcher: Launcher) -> Slurm | Ray | Kubernetes | None:
    """The client of the launcher's scheduler; None on this machine."""
    if isinstance(launcher, SlurmLauncher):
        return Slurm(launcher)
    if isinstance(launcher, RayLauncher):
        return Ray(launcher)
    if isinstance(launcher, KubernetesLauncher):
        return Kubernetes(launcher)
    return None


def launchers_of(path: str | None) -> Launchers:
    """The launchers of a file in the form of a run's config, the part below
    `resources: launchers: config:`. Raises `UserError` for a wrong one."""
    if not path:
        return Launchers()
    try:
        content = yaml.safe_load(Path(path).read_text())["resources"]["launchers"]["config"]
        chosen: dict[str, Any] = {}
        for group, launcher in content.items():
            ((kind, settings),) = launcher.items()
            chosen[group] = KINDS[kind](**(settings or {}))
        return Launchers(**chosen)
    except (OSError, yaml.YAMLError, LookupError, TypeError, ValueError, AttributeError) as error:
        raise UserError(f"{FILE}={path}: {type(error).__name__}: {error}") from error
