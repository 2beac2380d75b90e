"""The networks that a run trains: their names, and their files in a store."""

from __future__ import annotations

import json
from typing import Any, Literal, get_args

from paha_core.config import Preset
from paha_core.errors import UserError
from paha_core.store import Store, sha256_json

Part = Literal["face", "non_face"]
PARTS: tuple[Part, ...] = get_args(Part)
"""The regions, each with its own sync classifier (paper 4.1.3)."""


def classifier_name(part: Part) -> str:
    """The network's name in stores, presets and reports."""
    return f"{part}_classifier"


CODEC = "latent_codec"
UNIVDM = "univdm"
UNIVDM_FAST = "univdm_fast"
"""UniVDM's student with few steps; made on demand."""
ADAPTER = "adapter"
"""LoRA on UniVDM, which `paha adapt` trains in a store of its own."""
CLASSIFIERS = tuple(map(classifier_name, PARTS))
PARALLEL = (UNIVDM, UNIVDM_FAST, *CLASSIFIERS)
"""Networks that several processes can train together."""
FEATURE_NETWORKS = ("pose_autoencoder", "video_encoder")
"""The feature extractors of the metrics that are trained on the corpus."""
NETWORKS = {
    CODEC: "Latent codec",
    UNIVDM: "UniVDM",
    classifier_name("face"): "Face classifier",
    classifier_name("non_face"): "Non-face classifier",
}
"""Name and title, in the order of training."""
MAX_SKIPPED_SHARE = 0.01  # share of a training's steps that may be skipped as not finite
FOR_NEGATIVES = f"checkpoints/{UNIVDM}/for_negatives"
GATE_VERSION = "3"  # of the classifiers' examination (`training/tasks/gate.py`)


def fingerprint(store: Store, name: str) -> str:
    """The fingerprint of a finished training; empty where there is none."""
    rel = f"checkpoints/{name}/final/training.json"
    return str(store.read_json(rel, absent={}).get("fingerprint", ""))


def gate_fingerprint(store: Store, preset: Preset, classifier: str) -> str:
    """A hash of all that the classifier's examination depends on: its weights and the guidance
    settings."""
    generation, windows = preset.generation, preset.classifiers.gate_windows
    use = [generation.segment_frames, generation.ddim_steps, generation.guidance.rate]
    return sha256_json([GATE_VERSION, fingerprint(store, classifier), use, windows])


def gate_verdict(store: Store, preset: Preset, classifier: str) -> dict[str, Any] | None:
    """The verdict on a trained classifier (`gate.json`; see `training/tasks/gate.py`).

    None where it was never examined, or where the verdict is of other weights, other guidance
    settings or an older version of the examination.
    """
    rel = f"checkpoints/{classifier}/gate.json"
    gate: dict[str, Any] = store.read_json(rel, absent={})
    is_current = gate.get("fingerprint") == gate_fingerprint(store, preset, classifier)
    return gate if is_current else None


def gate_figures(gate: dict[str, Any]) -> dict[str, float | str]:
    """A verdict as figures of a report: shares with 95 % intervals, in total and by noise level."""
    figures: dict[str, float | str] = {name: gate[name] for name in ("share", "low", "high", "n")}
    figures |= {f"moment {name}": gate["moment"][name] for name in ("share", "low", "high")}
    figures["guidance acts down to timestep"] = gate["acts_down_to"]
    for band in gate["bands"]:
        swap, moment = (
            f"{rate['share']:.0%} ({rate['low']:.0%} to {rate['high']:.0%})"
            for rate in (band["swap"], band["moment"])
        )
        figures[f"timesteps {band['from']}-{band['to']}"] = (
            f"other voice {swap}, other moment {moment}, "
            f"real or generated: accuracy {band['accuracy']:.2f}, AUC {band['auc']:.2f}"
        )
    if probe := gate.get("sound_only"):
        figures["AUC of mismatched sound by sound alone"] = (
            f"{probe['auc']:.3f} ({probe['low']:.3f} to {probe['high']:.3f})"
        )
    if gate["shift"]:
        figures["peak of the shift curve, frames"] = gate["shift"]["peak"]
    return figures


def negatives_checkpoint(store: Store, preset: Preset) -> str:
    """Identifies UniVDM's weights for the negatives: their run's fingerprint, and the step.

    Raises `UserError` where they are of another step than `negatives.at`.
    """
    export, wanted = store.read_json(f"{FOR_NEGATIVES}/training.json"), preset.negatives_step
    if export["step"] != wanted:
        raise UserError(
            f"UniVDM was kept for the negatives at step {export['step']}, and negatives.at "
            f"{preset.negatives.at} means step {wanted}: set negatives.at to "
            f"{export['step'] / preset.univdm.train.steps:g}, or move "
            f"{store.uri('checkpoints/univdm')} away and train again"
        )
    return f"{export['fingerprint']} at {wanted}"


def read_log(store: Store, name: str) -> list[dict[str, Any]]:
    """The lines of a network's training log, without one that a kill cut off; empty before
    training. A metric that was not finite is None."""
    rel = f"checkpoints/{name}/log.jsonl"
    try:
        content = store.read_bytes(rel).decode()
    except FileNotFoundError:
        return []
    lines = []
    for text in content.splitlines():
        try:
            lines.append(json.loads(text))
        except json.JSONDecodeError:
            continue
    return lines
