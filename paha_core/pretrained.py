"""Pretrained networks from a local folder or a hub id: frozen, and identified by their hash."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from transformers.utils.logging import disable_progress_bar

from paha_core.weight_formats import check_weights


def load_frozen(
    model_class: Any, pretrained: str, key: str, *, safetensors_only: bool = False
) -> Any:
    """A transformers or diffusers model in evaluation mode without gradients, from a local folder
    or a hub id whose files are in the hub's cache. Nothing is downloaded. Pickles are not read, or
    only their tensors.

    Raises `FileNotFoundError` naming the preset key when there is neither.
    """
    local = Path(pretrained).expanduser()
    looks_local = (
        local.is_absolute() or pretrained.startswith((".", "~")) or pretrained.count("/") != 1
    )
    if not local.exists() and looks_local:
        raise FileNotFoundError(f"{key}: no folder {pretrained}")
    if local.exists():
        check_weights(local)
    disable_progress_bar()  # its progress bar would overwrite the stage's
    try:
        how = {"use_safetensors": True} if safetensors_only else {"weights_only": True}
        place = str(local) if local.exists() else pretrained
        model = model_class.from_pretrained(
            place, dtype=torch.float32, local_files_only=True, **how
        )
    except OSError as error:
        raise FileNotFoundError(
            f"{key}: no usable weights at {pretrained} (`paha weights list` names those that can "
            f"be fetched): {error}"
        ) from error
    return model.eval().requires_grad_(False)


def weights_sha256(model: torch.nn.Module) -> str:
    """Hex sha256 over names, shapes and values of a model's state, wherever it was loaded from."""
    return state_sha256(model.state_dict())


def state_sha256(state: Mapping[str, torch.Tensor]) -> str:
    """`weights_sha256` of a model with that state."""
    digest = hashlib.sha256()
    for name, tensor in sorted(state.items()):
        digest.update(f"{name} {tuple(tensor.shape)} {tensor.dtype}".encode())
        digest.update(tensor.detach().cpu().contiguous().view(torch.uint8).numpy().data)
    return digest.hexdigest()
