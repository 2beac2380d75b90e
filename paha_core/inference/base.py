"""Exports the base into the package: float16 weights of a trained run, and a sidecar with their
provenance and the command that makes them again."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from paha_core.config import Preset
from paha_core.corpora.studio.corpus import CODE_VERSION, PEOPLE_VERSION
from paha_core.corpora.studio.speech import ENGINE
from paha_core.errors import UserError
from paha_core.inference.components import PipelineComponents
from paha_core.inference.portraits import familiar_psnr
from paha_core.store import Store, published, sha256_file
from paha_core.trained import NETWORKS, PARTS, classifier_name

SIDECAR = "base.json"
LIMIT_BYTES = 25_000_000
HELD_OUT_FRAMES = 128  # frames that define the threshold of a familiar portrait


def export_base(
    pipeline: PipelineComponents,
    store: Store,
    folder: Path,
    held_out: np.ndarray,
    command: Sequence[str],
    figures: dict[str, Any],
) -> dict[str, Any]:
    """Write `pipeline`, trained in `store`, to `folder`, and return its sidecar.

    `held_out` are frames of the corpus that no network was trained on, uint8 RGB [N, H, W, 3];
    `command` is what to run to get the same again, `figures` what was measured of it. Raises
    `UserError` where a classifier is missing or did not pass its gate, or the weights exceed
    `LIMIT_BYTES`: such a base is not shipped.
    """
    unready = [classifier_name(part) for part in PARTS if not pipeline.gates.get(part, False)]
    if unready:
        raise UserError(
            f"the base needs both classifiers past their gate, and {' and '.join(unready)} "
            "is not: train on, or look at checkpoints/*/gate.json"
        )
    weights = 2 * sum(p.numel() for network in pipeline.trained().values()
                      for p in network.parameters())  # fmt: skip
    if weights > LIMIT_BYTES:
        raise UserError(
            f"these networks take {weights / 1e6:.1f} MB in float16, and the package has room for "
            f"{LIMIT_BYTES / 1e6:.0f}: choose smaller ones"
        )
    limit = familiar_psnr(pipeline.codec, held_out)
    replace(pipeline, familiar_from=limit).save_pretrained(folder, half=True)
    files = sorted(path for path in folder.rglob("*") if path.is_file() and path.name != SIDECAR)
    sidecar = {
        "preset": pipeline.preset.name,
        "corpus": _corpus(pipeline.preset),
        "networks": _training(store),
        "figures": figures,
        "command": " ".join(command),
        "commit": _commit(),
        "bytes": sum(path.stat().st_size for path in files),
        "files": {path.relative_to(folder).as_posix(): sha256_file(path) for path in files},
    }
    with published(folder / SIDECAR) as temporary:
        temporary.write_text(json.dumps(sidecar, indent=2) + "\n")
    return sidecar


def _corpus(preset: Preset) -> dict[str, Any]:
    """What the presenters' pictures and voices depend on."""
    studio = preset.corpora.studio
    made_by = {"code_version": CODE_VERSION, "people_version": PEOPLE_VERSION, "speech": ENGINE}
    return {**(studio.settings() if studio else {}), **made_by}


def _training(store: Store) -> dict[str, Any]:
    """The training record of every network, as its last export left it."""
    records = {name: f"checkpoints/{name}/final/training.json" for name in NETWORKS}
    return {name: store.read_json(rel) for name, rel in records.items() if store.exists(rel)}


def _commit() -> str:
    """The commit of the package's checkout; empty outside of one."""
    here = Path(__file__).parent
    found = subprocess.run(
        ["git", "rev-parse", "HEAD"], cwd=here, capture_output=True, text=True, check=False
    )
    return found.stdout.strip() if found.returncode == 0 else ""
