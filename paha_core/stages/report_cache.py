"""What a heavy step said last time, while nothing that it depends on has changed.

Its own manifests and fingerprints already keep a step from doing finished work again; but finding
that out takes seconds of importing torch, for each heavy step. Here a few hashes say the same.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from paha_core.config import Preset
from paha_core.engine.manifest_stage import KEPT, manifest_files
from paha_core.stages import Workspace, steps_up_to
from paha_core.stages.stage_report import StepReport
from paha_core.store import Store, sha256_json

# What steps read that no step makes: what `paha evaluate` was given.
READ_TOO = {"benchmark": ("systems",)}


def remember(step: str, workspace: Workspace, report: StepReport) -> None:
    """Keep the report of a step that has just ended well."""
    said = report.as_dict() | {"computed": 0, "reused": report.computed + report.reused}
    workspace.store.write_json(_path(step), {"key": _key(step, workspace), "report": said})


def recall(step: str, workspace: Workspace) -> StepReport | None:
    """The report of last time if the step would find everything done, else None."""
    store = workspace.store
    if not store.exists(_path(step)):
        return None
    kept = store.read_json(_path(step))
    if kept["key"] != _key(step, workspace) or not _is_there(store, step):
        return None
    return StepReport(**kept["report"])


def _path(step: str) -> str:
    return f"manifests/steps/{step}.json"


def _key(step: str, workspace: Workspace) -> str:
    """Of the preset and the weights it names, the code, what comes in and what came out."""
    preset = workspace.preset
    read = (*steps_up_to(step), *READ_TOO.get(step, ()))
    made = {name: _content(workspace.store, name) for name in read}
    return sha256_json([preset.model_dump(mode="json"), _named_files(preset), _code(), made])


def _named_files(preset: Preset) -> list[tuple[str, int, int]]:
    """Path, size and time of the local files that the preset names, alone or by their folder.

    Footage is left out: the manifest of its clips speaks for it.
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


def _is_there(store: Store, step: str) -> bool:
    """Whether the files that the step's manifests name are still in the store."""
    for rel in manifest_files(store, step):
        rows = store.read_table(rel).select(["status", "path"]).to_pylist()
        paths = {row["path"] for row in rows if row["status"] == KEPT}
        if not all(store.exists(path) for path in paths):
            return False
    return bool(_content(store, step))


def _code() -> str:
    digest = hashlib.sha256()
    for path in sorted(Path(__file__).parents[1].rglob("*.py")):
        digest.update(path.read_bytes())
    return digest.hexdigest()
