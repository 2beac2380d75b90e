"""What a heavy step said last time, while nothing that it depends on has changed.

Its own manifests and fingerprints already keep a step from doing finished work again; but finding
that out takes seconds of importing torch, for each of eight steps. Here a few hashes say the same.
"""

from __future__ import annotations

import hashlib
from pathlib import Path

from paha_core.stages import KEPT, manifest_files
from paha_core.step_report import StepReport
from paha_core.steps import Workspace
from paha_core.store import Store, sha256_json

NEEDS: dict[str, tuple[str, ...]] = {
    "latent_codec": ("clips", "par_masks"),
    "training_shards": ("clips", "keypoints", "face_boxes", "par_masks", "latent_codec"),
    "univdm": ("training_shards",),
    "negative_samples": ("training_shards", "univdm"),
    "face_classifier": ("training_shards", "negative_samples", "univdm"),
    "non_face_classifier": ("training_shards", "negative_samples", "univdm"),
    "generated_clips": ("training_shards", "univdm", "face_classifier", "non_face_classifier"),
    "pose_autoencoder": ("clips", "keypoints"),
    "benchmark": ("clips", "keypoints", "generated_clips", "pose_autoencoder", "systems"),
}


def remember(step: str, workspace: Workspace, report: StepReport) -> None:
    """Keep the report of a step that has just ended well."""
    said = report.as_dict() | {"computed": 0, "reused": report.computed + report.reused}
    workspace.store.write_json(_path(step), {"key": _key(step, workspace), "report": said})


def recall(step: str, workspace: Workspace) -> StepReport | None:
    """The report of last time if the step would find everything done, else None."""
    store = workspace.store
    if step not in NEEDS or not store.exists(_path(step)):
        return None
    kept = store.read_json(_path(step))
    if kept["key"] != _key(step, workspace) or not _is_there(store, step):
        return None
    return StepReport(**kept["report"])


def _path(step: str) -> str:
    return f"manifests/steps/{step}.json"


def _key(step: str, workspace: Workspace) -> str:
    """Of the preset, the library's code, what comes in and what came out."""
    made = {name: _content(workspace.store, name) for name in (*NEEDS[step], step)}
    return sha256_json([workspace.preset.model_dump(mode="json"), _code(), made])


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
    for path in sorted(Path(__file__).parent.rglob("*.py")):
        digest.update(path.read_bytes())
    return digest.hexdigest()
