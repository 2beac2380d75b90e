"""Cache of stage reports: the report of an unchanged stage without running the stage.

Manifests and fingerprints already make a stage skip finished work, but a heavy stage imports torch
for some seconds to find that out. Here a few hashes decide it.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from paha_core.config import Preset
from paha_core.engine.manifest_stage import (
    KEPT,
    NO_FINGERPRINT,
    REJECTED,
    read_manifest,
)
from paha_core.engine.named_files import existing_files
from paha_core.stages import TABLES, Workspace, stage_of, stages_up_to
from paha_core.stages.stage_report import StageReport
from paha_core.store import sha256_json

# Manifests that a stage reads and no stage writes: the systems that `paha evaluate` imported.
READ_TOO = {"benchmark": ("systems",)}


class ReportCache:
    """The last report of one stage, valid while nothing that the stage depends on has changed.

    Not used for stages that read inputs from outside the pipeline (`Stage.has_external_inputs`),
    nor for the tables, which have no manifest, nor for some speakers' part of a stage. `datasets`:
    those that the stage ran over, if not
    all.
    """

    def __init__(
        self, stage: str, workspace: Workspace, datasets: Sequence[str] | None = None
    ) -> None:
        self.stage, self.workspace, self.store = stage, workspace, workspace.store
        self.datasets = [*datasets] if datasets is not None else workspace.preset.corpora.datasets
        part = "" if self.datasets == workspace.preset.corpora.datasets else "." + self._part()
        self.path = f"manifests/stages/{stage}{part}.json"
        self._listings: dict[str, dict[str, str]] = {}

    def save(self, report: StageReport) -> None:
        """Store the report of a stage that has just succeeded."""
        if self._is_partial:
            return
        self._listings.clear()
        values = report.as_dict() | {"computed": 0, "reused": report.computed + report.reused}
        self.store.write_json(self.path, {"key": self._key(), "report": values})

    def load(self) -> StageReport | None:
        """The stored report if the stage would find everything done, else None."""
        if stage_of(self.stage).has_external_inputs or self.stage in TABLES or self._is_partial:
            return None
        self._listings.clear()
        cached = self.store.read_json(self.path, absent=None)
        if cached is None or cached["key"] != self._key() or not self._is_complete():
            return None
        return StageReport(**cached["report"])

    @property
    def _is_partial(self) -> bool:
        return bool(self.workspace.speakers) and stage_of(self.stage).per_dataset

    def _part(self) -> str:
        return "+".join(self.datasets)

    def _key(self) -> str:
        """Hash of the preset and the weights it names, the code, the stage's inputs and outputs."""
        preset = self.workspace.preset
        read = (*stages_up_to(self.stage), *READ_TOO.get(self.stage, ()))
        contents = {name: self._contents(name) for name in read}
        settings = preset.model_dump(mode="json")
        return sha256_json([settings, _named_files(preset), _code(), contents, self._files()])

    def _contents(self, name: str) -> dict[str, str]:
        """Versions of a stage's manifests, and of the description of a network."""
        manifests = [
            rel
            for rel in self._listing("manifests/")
            if rel.startswith(f"manifests/{name}/") and rel.endswith(".parquet")
        ]
        described = re.compile(rf"checkpoints/{re.escape(name)}/([^/]+/training|gate)\.json")
        networks = [rel for rel in self._listing("checkpoints/") if described.fullmatch(rel)]
        return self._versions("manifests/", manifests) | self._versions("checkpoints/", networks)

    def _files(self) -> dict[str, str]:
        """Versions of the files that the stage, and those it reads or shows, leave."""
        stage = stage_of(self.stage)
        outputs = [stage_of(name).output for name in (self.stage, *stage.needs, *stage.shows)]
        found: dict[str, str] = {}
        for rel in outputs:
            folder, slash, _ = rel.partition("/")
            if slash and rel in self._listing(f"{folder}/"):
                found |= self._versions(f"{folder}/", [rel])
        return found

    def _listing(self, prefix: str) -> dict[str, str]:
        """One request of an object store for each prefix and call of `load` or `save`."""
        if prefix not in self._listings:
            self._listings[prefix] = self.store.versions(prefix)
        return self._listings[prefix]

    def _versions(self, prefix: str, rels: Sequence[str]) -> dict[str, str]:
        """On a disk the content's hash, which a copy of the store keeps."""
        if self.store.is_local:
            return {rel: hashlib.sha256(self.store.read_bytes(rel)).hexdigest() for rel in rels}
        listing = self._listing(prefix)
        return {rel: listing[rel] for rel in rels}

    def _is_complete(self) -> bool:
        """Whether the files of the manifests exist, and nothing is to be tried again."""
        stage = stage_of(self.stage)
        parts = ["*"] if stage.output == "modes" else self.datasets
        rows = [row for part in parts for row in read_manifest(self.store, self.stage, part)]
        if any(row["fingerprint"] == NO_FINGERPRINT for row in rows):
            return False
        if self.workspace.preset.retry_rejected and any(row["status"] == REJECTED for row in rows):
            return False
        kept = [row for row in rows if row["status"] == KEPT]
        named = {row["path"] for row in kept if row["path"]}
        return named <= existing_files(self.store, kept) and bool(
            rows or self._contents(self.stage) or self._files()
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


def _code() -> str:
    digest = hashlib.sha256()
    for path in sorted(Path(__file__).parents[1].rglob("*.py")):
        digest.update(path.read_bytes())
    return digest.hexdigest()
