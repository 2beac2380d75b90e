"""The status of a store: a row for each stage, and for each of its datasets or modes."""

from __future__ import annotations

from paha_core.config import Preset
from paha_core.engine.manifest_stage import KEPT, manifest_files, read_manifest
from paha_core.stages.registry import OPTIONAL, STAGES
from paha_core.store import Store

NOT_YET = "not yet"


def rows(store: Store, preset: Preset) -> list[tuple[str, ...]]:
    """(stage, part, kept, rejected, state), in the order of the pipeline; those made on demand
    once they are begun."""
    found: list[tuple[str, ...]] = []
    for name, stage in STAGES.items():
        if stage.output == "manifest":
            found += [_manifest(store, name, dataset) for dataset in preset.corpora.datasets]
        elif stage.output == "modes":
            found += [_manifest(store, name, mode) for mode in preset.generation.modes]
        elif replacement := stage.replaced(preset):
            found.append((name, "", "", "", replacement))
        elif stage.output == "network":
            found.append((name, "", "", "", _network(store, name)))
        else:
            found.append((name, "", "", "", _file(store, stage.output)))
    for name in OPTIONAL:
        if (state := _network(store, name)) != NOT_YET:
            found.append((name, "", "", "", state))
    return found


def _manifest(store: Store, stage: str, part: str) -> tuple[str, ...]:
    if not manifest_files(store, stage, part):
        return stage, part, "", "", NOT_YET
    statuses = [row["status"] for row in read_manifest(store, stage, part)]
    kept = statuses.count(KEPT)
    return stage, part, str(kept), str(len(statuses) - kept), "done"


def _network(store: Store, name: str) -> str:
    folder = f"checkpoints/{name}"
    if store.exists(f"{folder}/final/training.json"):
        return f"trained, {store.read_json(f'{folder}/final/training.json')['step']} steps"
    states = store.glob(f"{folder}/steps/*/state.json")
    return f"stopped at step {store.read_json(states[-1])['step']}" if states else NOT_YET


def _file(store: Store, rel: str) -> str:
    return store.uri(rel) if store.exists(rel) else NOT_YET
