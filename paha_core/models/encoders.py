"""Makes the encoder that a preset names."""

from __future__ import annotations

import pkgutil
from typing import Any

import torch

from paha_core.config.encoders import EncoderEntry, entry_of
from paha_core.errors import UserError


def open_encoder(
    section: str,
    name: str,
    pretrained: str | None,
    registry: dict[str, EncoderEntry],
    device: str | torch.device,
) -> Any:
    """An encoder of a registry in `paha_core.config.encoders`; `section` is its preset section.

    Raises `UserError` where it needs weights and none are named, `FileNotFoundError` where they are
    not there.
    """
    entry = entry_of(name, registry)
    make = pkgutil.resolve_name(entry.path)
    if not entry.needs_weights:
        return make()
    if not pretrained:
        free = ", ".join(sorted(k for k, e in registry.items() if not e.needs_weights))
        raise UserError(
            f"{section}.encoder {name} needs {section}.pretrained: a folder with its weights, or a "
            f"hub id ({free} needs none)"
        )
    return make(pretrained, device)
