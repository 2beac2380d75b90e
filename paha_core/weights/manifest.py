"""The manifest of pretrained weights (`manifest.yaml`), typed."""

from __future__ import annotations

from functools import cache
from importlib import resources
from pathlib import PurePosixPath
from typing import Any, Literal

import yaml
from pydantic import Field, model_validator

from paha_core.config import Preset
from paha_core.config.base import Section
from paha_core.config.networks import PretrainedSection
from paha_core.errors import UserError

ReadAs = Literal["safetensors", "onnx", "torchscript", "tensors"]


class WeightFile(Section):
    """One file; null: recorded at the first fetch."""

    bytes: int | None = None
    sha256: str | None = Field(None, pattern="^[0-9a-f]{64}$")


class Licence(Section):
    """The terms of a licence. `passes_on`: they also bind networks trained from the weights."""

    title: str
    terms: Literal["free", "with_terms", "non_commercial", "unknown"]
    passes_on: bool
    url: str
    note: str = ""


class PretrainedWeights(Section):
    """One pretrained network; `manifest.yaml` documents each field."""

    title: str
    use: str
    key: str
    stages: tuple[str, ...]
    optional: bool = False
    repo: str = ""
    manual: str = ""
    revision: str = "main"
    folder: str = ""
    files: dict[str, WeightFile]
    about_bytes: int = 0
    gives: Literal["folder", "file"]
    read_as: ReadAs
    licence: str

    @model_validator(mode="after")
    def _one_source(self) -> PretrainedWeights:
        if bool(self.repo) == bool(self.manual):
            raise ValueError("an entry has either `repo` or `manual`")
        if self.gives == "file" and len(self.files) != 1:
            raise ValueError("an entry that gives a file has exactly one")
        return self

    @property
    def bytes(self) -> int:
        """Size of all files, estimated where a large file's own is not known."""
        return max(self.about_bytes, sum(file.bytes or 0 for file in self.files.values()))

    def in_repo(self, name: str) -> str:
        """A file's path inside the repository."""
        return str(PurePosixPath(self.folder, name))

    def value_in(self, preset: Preset) -> str | None:
        """What the preset's key names: a path, a hub id, or nothing."""
        value: Any = preset
        for part in self.key.split("."):
            value = value.get(part) if isinstance(value, dict) else getattr(value, part, None)
            if value is None:
                return None
        return str(value)

    def section_in(self, preset: Preset) -> PretrainedSection | None:
        """The section whose `pretrained` the key is, where it is one."""
        *path, last = self.key.split(".")
        if last != "pretrained":
            return None
        section: Any = preset
        for part in path:
            section = getattr(section, part)
        return section

    @property
    def weights_file(self) -> str:
        """The file that holds the tensors."""
        return next(file for file in self.files if not file.endswith(".json"))


class Manifest(Section):
    """All pretrained weights by name, and their licences."""

    weights: dict[str, PretrainedWeights]
    licences: dict[str, Licence]

    @model_validator(mode="after")
    def _licences_exist(self) -> Manifest:
        for name, entry in self.weights.items():
            if entry.licence not in self.licences:
                raise ValueError(f"{name}: no licence {entry.licence!r}")
        return self

    def licence_of(self, name: str) -> Licence:
        return self.licences[self.weights[name].licence]

    def chosen(self, names: list[str]) -> dict[str, PretrainedWeights]:
        """The entries of those names. Raises `UserError` for an unknown one."""
        for name in names:
            if name not in self.weights:
                known = ", ".join(self.weights)
                raise UserError(f"no weights {name!r}: there are {known}")
        return {name: self.weights[name] for name in names}


@cache
def manifest() -> Manifest:
    """The manifest that comes with the package."""
    text = (resources.files("paha_core.weights") / "manifest.yaml").read_text()
    return Manifest(**yaml.safe_load(text))
