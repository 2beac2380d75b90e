"""What every stage works on: a preset and the store of its artifacts."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

from paha_core.engine.workers import Workers, cores

if TYPE_CHECKING:
    from paha_core.config import Preset
    from paha_core.store import Store


@dataclass(frozen=True)
class Workspace:
    """A preset by name or path, and the URL of its artifacts (empty: `<stores>/<preset>`). With
    `speakers`, by the names in the manifests, stages over corpora touch their clips alone."""

    preset_name: str
    store_url: str = ""
    speakers: tuple[str, ...] = ()
    stores: str = "runs"

    @cached_property
    def preset(self) -> Preset:
        """Raises `PresetError` naming each bad key."""
        from paha_core.config import load_preset

        return load_preset(self.preset_name)

    @cached_property
    def store(self) -> Store:
        from paha_core.store import Store

        return Store(self.store_url or f"{self.stores}/{self.preset.name}")


def workers_of(preset: Preset) -> int:
    """Processes of this machine that may work side by side."""
    return preset.workers or cores()


def executor_of(preset: Preset) -> Workers:
    """Where per-clip work runs."""
    return "ray" if preset.executor == "ray" else workers_of(preset)


def prepare_torch(preset: Preset) -> str:
    """Set the number of threads; returns the device to use."""
    import torch

    if preset.threads:
        torch.set_num_threads(preset.threads)
    return device_of(preset)


def device_of(preset: Preset) -> str:
    """The preset's device, or with `auto` the one of this machine."""
    import torch

    if preset.device != "auto":
        return preset.device
    return "cuda" if torch.cuda.is_available() else "cpu"
