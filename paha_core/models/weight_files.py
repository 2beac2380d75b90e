"""Pretrained weights of the base network into UniVDM (docs/design.md 7)."""

from __future__ import annotations

from pathlib import Path

import torch
from diffusers.utils import SAFETENSORS_WEIGHTS_NAME, WEIGHTS_NAME
from safetensors import SafetensorError
from safetensors.torch import load_file

from paha_core.errors import UserError
from paha_core.models.univdm import UniVDM
from paha_core.weight_formats import check_weights

WEIGHTS = SAFETENSORS_WEIGHTS_NAME
OLD_WEIGHTS = WEIGHTS_NAME
NEW_PARTS = ("reference_stem", "reference_projection", "audio_projection", "audio_attentions")


def load_base_weights(model: UniVDM, folder: str | Path) -> None:
    """Load a text-to-video `UNet3DConditionModel` folder; UniVDM's own parts keep their values.

    `folder` is the network's own, or a pipeline's with the network in `unet/`; safetensors, or a
    `.bin` of tensors only. The extra channels of `conv_in` (first frame, its mask) start at zero:
    the network begins as the base network. Raises `FileNotFoundError` without weights, `ValueError`
    naming the keys that do not fit.
    """
    path = find_weights(folder)
    state, own = read_state(path), model.state_dict()
    if (base := state.get("conv_in.weight")) is not None:
        grown = torch.zeros_like(own["conv_in.weight"])
        grown[:, : base.shape[1]] = base
        state["conv_in.weight"] = grown
    expected = {name for name in own if not any(part in name for part in NEW_PARTS)}
    wrong = sorted(expected ^ state.keys())
    wrong += [name for name in expected & state.keys() if own[name].shape != state[name].shape]
    if wrong:
        raise UserError(f"{path} is not this network's base; keys that do not fit: {wrong[:5]}")
    model.load_state_dict(state, strict=False)


def find_weights(folder: str | Path) -> Path:
    """The weights' file of a diffusers folder. Raises `FileNotFoundError` when there is none."""
    for place in (Path(folder), Path(folder) / "unet"):
        for name in (WEIGHTS, OLD_WEIGHTS):
            if (place / name).is_file():
                return place / name
    raise FileNotFoundError(
        f"no {Path(folder) / WEIGHTS}: set univdm.network.pretrained to a diffusers folder"
    )


def read_state(path: Path) -> dict[str, torch.Tensor]:
    """The tensors of a checkpoint file: safetensors, or PyTorch's format read without its pickles.

    A training checkpoint's `state_dict` entry and the prefix of a distributed wrapper are
    unwrapped. Raises `FileNotFoundError`, or `UserError` for a file that holds anything else.
    """
    if not path.is_file():
        raise FileNotFoundError(f"no file {path}")
    check_weights(path)
    if path.suffix == ".safetensors":
        try:
            return load_file(path)
        except SafetensorError as error:
            raise UserError(f"{path} is not a safetensors file: {error}") from error
    try:
        content = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # on other formats the unpickler may raise anything
        raise UserError(
            f"{path} is not a checkpoint of tensors alone, so it is not read"
        ) from error
    if isinstance(content, dict) and isinstance(content.get("state_dict"), dict):
        content = content["state_dict"]
    if not isinstance(content, dict):
        raise UserError(f"{path} holds a {type(content).__name__} and not a network's tensors")
    tensors = {k: v for k, v in content.items() if isinstance(v, torch.Tensor)}
    return {name.removeprefix("module."): value for name, value in tensors.items()}
