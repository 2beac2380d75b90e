"""Pretrained weights of the base network into UniVDM (DESIGN 7)."""

from __future__ import annotations

from pathlib import Path

import torch
from safetensors.torch import load_file

from paha_core.models.univdm import UniVDM

WEIGHTS = "diffusion_pytorch_model.safetensors"
NEW_PARTS = ("reference_stem", "reference_projection", "audio_projection", "audio_attentions")


def load_base_weights(model: UniVDM, folder: str | Path) -> None:
    """Load a text-to-video `UNet3DConditionModel` folder; UniVDM's own parts keep their values.

    The extra channels of `conv_in` (first frame, its mask) start at zero: the network begins as the
    base network. Raises `FileNotFoundError` without weights, `ValueError` naming the keys
    that do not fit.
    """
    path = Path(folder) / WEIGHTS
    if not path.is_file():
        raise FileNotFoundError(f"no {path}: set univdm.network.pretrained to a diffusers folder")
    state, own = load_file(path), model.state_dict()
    grown = torch.zeros_like(own["conv_in.weight"])
    base = state["conv_in.weight"]
    grown[:, : base.shape[1]] = base
    state["conv_in.weight"] = grown
    expected = {name for name in own if not any(part in name for part in NEW_PARTS)}
    wrong = sorted(expected ^ state.keys())
    wrong += [name for name in expected & state.keys() if own[name].shape != state[name].shape]
    if wrong:
        raise ValueError(f"{path} is not this network's base; keys that do not fit: {wrong[:5]}")
    model.load_state_dict(state, strict=False)
