"""The networks that a run trains: their names, and what training leaves of them in a store."""

from __future__ import annotations

import json

from paha_core.store import Store

NETWORKS = {
    "latent_codec": "Latent codec",
    "univdm": "UniVDM",
    "face_classifier": "Face classifier",
    "non_face_classifier": "Non-face classifier",
}
"""Name and title, in the order of training."""
CLASSIFIERS = ("face_classifier", "non_face_classifier")


def fingerprint(store: Store, name: str) -> str:
    """Of all that the finished network was trained from; empty where there is none."""
    rel = f"checkpoints/{name}/final/training.json"
    return str(store.read_json(rel)["fingerprint"]) if store.exists(rel) else ""


def read_log(store: Store, name: str) -> list[dict[str, float]]:
    """The lines of a network's training log, without one that a kill cut off; none before it was
    trained."""
    rel = f"checkpoints/{name}/log.jsonl"
    if not store.exists(rel):
        return []
    lines = []
    for text in store.read_bytes(rel).decode().splitlines():
        try:
            lines.append(json.loads(text))
        except json.JSONDecodeError:
            continue
    return lines
