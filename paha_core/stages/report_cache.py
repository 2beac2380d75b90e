"""Cache of stage reports: the report of an unchanged stage without running the stage.

Manifests and fingerprints already keep a stage from doing finished work again; but to find that
out, a heavy stage imports torch for some seconds. Here a few hashes decide it.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from paha_core.config import Preset
from paha_core.engine.manifest_stage import KEPT, manifest_files
from paha_core.stages import Workspace, stages_up_to
from paha_core.stages.stage_report import StageReport
from paha_core.store import Store, sha256_json

# Manifests that a stage reads and no stage writes: what `paha evaluate` was given.
READ_TOO = {"benchmark": ("systems",)}


class ReportCache:
    """The last report of one stage, valid while nothing that the stage depends on has changed."""

    def __init__(self, stage: str, workspace: Workspace) -> None:
        self.stage, self.workspace, self.store = stage, workspace, workspace.store
        self.path = f"manifests/stages/{stage}.json"

    def save(self, report: StageReport) -> None:
        """Store the report of a stage that has just succeeded."""
        values = report.as_dict() | {"computed": 0, "reused": report.computed + report.reused}
        self.store.write_json(self.path, {"key": self._key(), "report": values})

    def load(self) -> StageReport | None:
        """The stored report if the stage would find everything done, else None."""
        if not self.store.exists(self.path):
            return None
        cached = self.store.read_json(self.path)
        if cached["key"] != self._key() or not _files_exist(self.store, self.stage):
            return None
        return StageReport(**cached["report"])

    def _key(self) -> str:
        """Hash of the preset and the weights it names, the code, the stage's inputs and outputs."""
        preset = self.workspace.preset
        read = (*stages_up_to(self.stage), *READ_TOO.get(self.stage, ()))
        contents = {name: _content(self.store, name) for name in read}
        return sha256_json(
            [preset.model_dump(mode="json"), _named_files(preset), _code(), contents]
        )


def _named_files(preset: Preset) -> list[tuple[str, int, int]]:
    """Path, size and time of the local files that the preset names, alone or by their folder.

    Footage is left out: the manifest of its clips holds their hashes.
    """
    found = []
    for value in _strings(preset.model_dump(exclude={"name", "corpora"})):
        named = Path(value).expanduser()
        files = [named] if named.is_file() else sorted(named.rglob("*")) if named.is_dir() else []
        stats = [(str(path), path.stat()) for path in files]
        found += [(path, stat.st_size, stat.st_mtime_ns) for path, stat in stats]
    return found


def _strings(value: Any) -> Iterator[str]:
    if isinstance(value, dict):
        value = list(value.values())
    if isinstance(value, list | tuple):
        for each in value:
            yield from _strings(each)
    elif isinstance(value, str) and value:
        yield value


def _content(store: Store, name: str) -> dict[str, str]:
    """The sha256 of a stage's manifests, and of the description of a network."""
    found = manifest_files(store, name)
    found += store.glob(f"checkpoints/{name}/*/training.json")
    found += store.glob(f"checkpoints/{name}/gate.json") + store.glob(f"{name}/results.json")
    return {rel: hashlib.sha256(store.read_bytes(rel)).hexdigest() for rel in found}


def _files_exist(store: Store, stage: str) -> bool:
    """Whether the files that the stage's manifests name still exist."""
    for rel in manifest_files(store, stage):
        rows = store.read_table(rel).select(["status", "path"]).to_pylist()
        paths = {row["path"] for row in rows if row["status"] == KEPT}
        if not all(store.exists(path) for path in paths):
            return False
    return bool(_content(store, stage))


def _code() -> str:
    digest = hashlib.sha256()
    for path in sorted(Path(__file__).parents[1].rglob("*.py")):
        digest.update(path.read_bytes())
    return digest.hexdigest()
