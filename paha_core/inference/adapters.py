"""Adapters: what `paha adapt` makes of one person's footage, and a pipeline that uses them.

An adapter is a few megabytes in one safetensors file, whose metadata say which UniVDM it belongs
to, whom it shows and under which licence. It is used beside that UniVDM or merged into it.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file

from paha_core.inference.inputs import InputError
from paha_core.inference.offload import is_offloaded
from paha_core.local_files import published
from paha_core.models.int8 import is_int8
from paha_core.models.lora import activate, add_lora, base_state, lora_parameters, remove_lora
from paha_core.models.univdm import UniVDM
from paha_core.pretrained import state_sha256
from paha_core.store import sha256_file

FILE = "adapter.safetensors"
KEY = "paha_adapter"  # of the metadata


@dataclass(frozen=True)
class AdapterInfo:
    """What an adapter is, as its file's metadata hold it."""

    speaker: str
    licence: str  # of the footage, and what binds the base
    base: str  # `fingerprint_of` the UniVDM that it was trained on
    base_name: str  # the preset of that
    codec: str  # sha256 of the latent codec's weights
    rank: int
    alpha: int
    targets: tuple[str, ...]
    steps: int
    clips: int
    seconds: float  # of footage that it was trained on

    @classmethod
    def from_metadata(cls, metadata: Mapping[str, str] | None) -> AdapterInfo:
        """Raises `KeyError`, `TypeError` or `ValueError` for metadata of another kind."""
        known = json.loads((metadata or {})[KEY])
        given = {field.name: known[field.name] for field in fields(cls)}
        return cls(**given | {"targets": tuple(given["targets"])})


@dataclass(frozen=True)
class LoadedAdapter:
    """An adapter in a pipeline: its file, and how much it acts (0: not at all)."""

    info: AdapterInfo
    path: str
    sha256: str
    scale: float

    def settings(self) -> dict[str, Any]:
        """As a video's sidecar records it: plain JSON."""
        about = asdict(self.info) | {"targets": list(self.info.targets)}
        return {"path": self.path, "sha256": self.sha256, "scale": self.scale} | about


def fingerprint_of(univdm: UniVDM) -> str:
    """Identifies the weights of a UniVDM without its adapters. They are rounded to float16 first,
    so that a run's network and its export with `--half` are one base."""
    return state_sha256({name: value.half() for name, value in base_state(univdm).items()})


def adapter_file(name: str | Path) -> Path:
    """The adapter's file: a path, or the folder that `paha adapt` wrote.

    Raises `FileNotFoundError` that says how to get one.
    """
    path = Path(name)
    path = path / FILE if path.is_dir() else path
    if not path.is_file():
        raise FileNotFoundError(
            f"no adapter {path}: make one with `paha adapt --video … --out {name}`"
        )
    return path


def write_adapter(path: Path, univdm: UniVDM, name: str, info: AdapterInfo) -> None:
    """Write the adapter `name` of `univdm` as float16, atomically."""
    tensors = {
        key: parameter.detach().half().cpu().contiguous()
        for key, parameter in lora_parameters(univdm, name).items()
    }
    with published(path) as temporary:
        save_file(tensors, temporary, metadata={KEY: json.dumps(asdict(info))})


def read_adapter(path: Path) -> tuple[AdapterInfo, dict[str, torch.Tensor]]:
    """Raises `InputError` for a file that is no adapter, or a damaged one."""
    try:
        with safe_open(path, framework="pt") as file:
            info = AdapterInfo.from_metadata(file.metadata())
            tensors = {key: file.get_tensor(key).float() for key in file.keys()}  # noqa: SIM118
    except (SafetensorError, KeyError, TypeError, ValueError) as error:
        raise InputError(f"{path} is not an adapter that `paha adapt` wrote: {error}") from error
    return info, tensors


def no_adapters(setting: str) -> InputError:
    """The error for adapters together with a setting that can't hold them."""
    return InputError(f"{setting} takes no adapters: merge them by `paha export`")


class WithAdapters:
    """The adapters of a pipeline: loaded beside each other, switched, merged, removed."""

    univdm: UniVDM
    adapters: dict[str, LoadedAdapter]

    def load_adapter(self, path: str | Path, name: str = "", scale: float = 1.0) -> str:
        """Load an adapter beside those that are loaded, let it act at `scale`, and return its name
        (default: its speaker's).

        Raises `FileNotFoundError` where there is none, `InputError` for one that was trained on
        another UniVDM or whose name is taken, or where UniVDM's layers are offloaded or int8.
        """
        if is_offloaded(self.univdm):
            raise no_adapters("offload_layers")
        if is_int8(self.univdm):
            raise no_adapters("generation.weights int8")
        file = adapter_file(path)
        info, tensors = read_adapter(file)
        name = (name or info.speaker).replace(".", "_")
        if name in self.adapters:
            raise InputError(f"an adapter {name} is loaded already: give this one another name")
        if info.base != fingerprint_of(self.univdm):
            raise InputError(
                f"{file} was trained on another UniVDM ({info.base_name}, {info.base[:12]}…): open "
                "that one, or run `paha adapt` on this"
            )
        layers = sorted({key.rsplit(".", 2)[0] for key in tensors})
        add_lora(self.univdm, name, layers, info.rank, info.alpha)
        with torch.no_grad():
            for key, parameter in lora_parameters(self.univdm, name).items():
                parameter.copy_(tensors[key])
        self.adapters[name] = LoadedAdapter(info, str(file.absolute()), sha256_file(file), scale)
        self._activate()
        return name

    def set_adapters(self, scales: Mapping[str, float]) -> None:
        """Let these loaded adapters act, each at its scale, and no others: `{}` is the base.

        Raises `InputError` for a name that isn't loaded.
        """
        if unknown := scales.keys() - self.adapters.keys():
            loaded = ", ".join(self.adapters) or "none"
            raise InputError(
                f"no adapter {', '.join(sorted(unknown))} is loaded: there is {loaded}"
            )
        for name, old in self.adapters.items():
            scale = scales.get(name, 0.0)
            self.adapters[name] = LoadedAdapter(old.info, old.path, old.sha256, scale)
        self._activate()

    def acting_adapters(self) -> list[dict[str, Any]]:
        """Those that act, as a video's sidecar records them."""
        return [one.settings() for one in self.adapters.values() if one.scale]

    def fuse_adapters(self) -> None:
        """Add the acting adapters to UniVDM's weights: as fast as without, and one network to save.
        There is no way back but opening the pipeline again."""
        remove_lora(self.univdm, merge=True)
        self._forget()

    def unload_adapters(self) -> None:
        """Remove all adapters: the base again, to the last bit."""
        remove_lora(self.univdm)
        self._forget()

    def _activate(self) -> None:
        activate(self.univdm, {name: a.scale for name, a in self.adapters.items() if a.scale})

    def _forget(self) -> None:
        self.adapters.clear()
        self.__dict__.pop("networks", None)  # hashed when it is asked for
