"""How far a store is: a row for each stage and corpus, network and mode."""

from __future__ import annotations

from paha_core.config import Preset
from paha_core.engine.manifest_stage import KEPT, manifest_files, read_manifest
from paha_core.store import Store
from paha_core.trained import NETWORKS

DATA = ("clips", "keypoints", "face_boxes", "par_masks", "training_shards", "negative_samples")


def rows(store: Store, preset: Preset) -> list[tuple[str, ...]]:
    """(stage, part, kept, rejected, state), in the order of the pipeline."""
    found = [_manifest(store, stage, name) for stage in DATA for name in preset.corpora.datasets]
    found += [(name, "", "", "", _network(store, name)) for name in NETWORKS]
    found += [_manifest(store, "generated_clips", mode) for mode in preset.generation.modes]
    for stage, rel in (("benchmark", "benchmark/results.json"), ("report", "report/index.html")):
        found.append((stage, "", "", "", _there(store, rel)))
    return found


def _manifest(store: Store, stage: str, part: str) -> tuple[str, ...]:
    if not manifest_files(store, stage, part):
        return stage, part, "", "", "not yet"
    statuses = [row["status"] for row in read_manifest(store, stage, part)]
    kept = statuses.count(KEPT)
    return stage, part, str(kept), str(len(statuses) - kept), "done"


def _network(store: Store, name: str) -> str:
    folder = f"checkpoints/{name}"
    if store.exists(f"{folder}/final/training.json"):
        return f"trained, {store.read_json(f'{folder}/final/training.json')['step']} steps"
    states = store.glob(f"{folder}/steps/*/state.json")
    return f"stopped at step {store.read_json(states[-1])['step']}" if states else "not yet"


def _there(store: Store, rel: str) -> str:
    return store.uri(rel) if store.exists(rel) else "not yet"
