"""External inputs of a run: footage and pretrained weights, each file with a version.

Lineage starts here: when a version changes, everything made from it is stale.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from paha_core.config import Preset

FOOTAGE = "footage"


@dataclass(frozen=True)
class Input:
    """One external input: what it is, and the stages that read it."""

    title: str
    kinds: tuple[str, ...]
    stages: tuple[str, ...]
    source: str = ""  # where it comes from


def inputs() -> dict[str, Input]:
    """Footage, then each network of the manifest of pretrained weights, by name."""
    from paha_core.weights.manifest import manifest

    found = {
        FOOTAGE: Input(
            "Raw footage that the preset's corpora name: interval lists, videos, programmes. "
            "Without any, the studio draws its own.",
            ("video", "csv"),
            ("clips",),
        )
    }
    for name, entry in manifest().weights.items():
        found[name] = Input(
            f"{entry.title}: {entry.use} (`{entry.key}` of a preset).",
            ("pytorch",) if entry.read_as != "onnx" else ("onnx",),
            entry.stages,
            entry.repo or entry.manual,
        )
    return found


def footage_versions(preset: Preset) -> dict[str, str]:
    """The files of footage that a preset names, by path or URL, each with a text that changes with
    its content. Empty where the studio draws all of it. Nothing is read but listings and stats.

    Raises `FileNotFoundError` for a folder that is not there, `UserError` for a store that can't be
    listed.
    """
    from paha_core.corpora.registry import CORPORA
    from paha_core.corpora.source_files import RemoteFile, is_remote, list_sources

    versions: dict[str, str] = {}
    for dataset in preset.corpora.datasets:
        section = preset.corpora.entry(dataset)
        if not section.has_footage:
            continue
        for place in CORPORA[section.kind].footage_of(section, ""):
            if not is_remote(place) and Path(place).is_file():
                versions[str(place)] = _stamp(Path(place))
                continue
            for file in list_sources(place):
                if isinstance(file, RemoteFile):
                    versions[file.url] = file.stamp
                else:
                    versions[str(file)] = _stamp(file)
    return versions


def missing_footage(preset: Preset) -> list[str]:
    """One sentence for each local file or folder of footage that the preset names and that does not
    exist."""
    from paha_core.corpora.registry import CORPORA
    from paha_core.corpora.source_files import is_remote

    sections = {name: preset.corpora.entry(name) for name in preset.corpora.datasets}
    return [
        f"corpora.{name} names {place}, which does not exist: correct the path"
        for name, section in sections.items()
        if section.has_footage
        for place in CORPORA[section.kind].footage_of(section, "")
        if not is_remote(place) and not Path(place).exists()
    ]


def weight_versions(preset: Preset, name: str) -> dict[str, str]:
    """The sha256 of each file of one of the preset's pretrained networks; empty where the preset
    does not name it. A hub id is its own version.
    """
    from paha_core.store import sha256_file
    from paha_core.weights.manifest import manifest

    value = manifest().weights[name].value_in(preset)
    if value is None:
        return {}
    place = Path(value).expanduser()
    files = [place] if place.is_file() else sorted(p for p in place.rglob("*") if p.is_file())
    return {str(path): sha256_file(path) for path in files} or {value: "not on this machine"}


def versions_of(preset: Preset, name: str) -> dict[str, str]:
    """The versions of that input's files."""
    return footage_versions(preset) if name == FOOTAGE else weight_versions(preset, name)


def digest(versions: dict[str, str]) -> str:
    """One text for all of them."""
    lines = "\n".join(f"{path}\t{version}" for path, version in sorted(versions.items()))
    return hashlib.sha256(lines.encode()).hexdigest()[:16]


def _stamp(path: Path) -> str:
    stat = path.stat()
    return f"{stat.st_size} bytes, {stat.st_mtime_ns}"
