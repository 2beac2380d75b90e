"""LoRA on UniVDM: trained low-rank matrices beside frozen layers, through peft.

Adapters are parts of the network's layers while they are loaded; several can act together, each at
its own scale. Where a layer is `W`, it is `W + scale * alpha / rank * B A` (Hu et al. 2021).
"""

from __future__ import annotations

import re
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from peft import LoraConfig, inject_adapter_in_model
from peft.tuners.lora import LoraLayer
from torch import nn

from paha_core.errors import UserError
from paha_core.models.compiled import is_compiled
from paha_core.models.univdm import UniVDM

UNREAD = (
    "temp_convs"  # their forward reads the weights past the layer, and would not see an adapter
)


def target_layers(univdm: UniVDM, targets: Sequence[str]) -> list[str]:
    """The names of the linear and convolutional layers within modules called one of `targets`, as
    `attentions` or `resnets` in `models/univdm_blocks.py`.

    Raises `UserError` for a target without such a layer, and for the temporal convolutions.
    """
    layers = {
        name: set(name.split("."))
        for name, module in univdm.named_modules()
        if isinstance(module, nn.Linear | nn.Conv2d | LoraLayer)
        and not re.search(r"\.(base_layer|lora_)", name)
    }
    for target in targets:
        if target == UNREAD or not any(target in parts for parts in layers.values()):
            raise UserError(
                f"adapt.targets: {target} can't be adapted: name module lists of UniVDM, as "
                "attentions, audio_attentions, temp_attentions, resnets"
            )
    return [name for name, parts in layers.items() if parts & set(targets)]


def add_lora(univdm: UniVDM, name: str, layers: Sequence[str], rank: int, alpha: int) -> None:
    """Add an adapter that changes nothing yet: A is random, B is zero. All else is frozen. Raises
    `UserError` for a compiled network, whose graphs do not know of it."""
    if is_compiled(univdm):
        raise UserError(
            "generation.compile takes no adapters: set it to false, or merge them by `paha export`"
        )
    config = LoraConfig(r=rank, lora_alpha=alpha, target_modules=list(layers))
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Already found a `peft_config`")  # several are meant
        inject_adapter_in_model(config, univdm, name)


def lora_parameters(univdm: UniVDM, name: str) -> dict[str, nn.Parameter]:
    """The matrices of an adapter by the name they have in its file:
    `<layer>.lora_A.weight` [rank, in, …] and `<layer>.lora_B.weight` [out, rank, …]."""
    return {
        f"{layer}.{kind}.weight": getattr(module, kind)[name].weight
        for layer, module in _adapted(univdm)
        if name in module.lora_A
        for kind in ("lora_A", "lora_B")
    }


def activate(univdm: UniVDM, scales: Mapping[str, float]) -> None:
    """Let these adapters act, each times its scale, and no others; without any the network
    computes what the base does."""
    for _, module in _adapted(univdm):
        module.enable_adapters(bool(scales))
        if scales:
            module.set_adapter(list(scales))
        for name, scale in scales.items():
            module.set_scale(name, scale)
        module.requires_grad_(False)


@contextmanager
def without_adapters(univdm: UniVDM) -> Iterator[None]:
    """A context in which the network computes what the base does; the acting adapters act and learn
    again afterwards."""
    layers = [module for _, module in _adapted(univdm)]
    for layer in layers:
        layer.enable_adapters(False)
    try:
        yield
    finally:
        for layer in layers:
            layer.enable_adapters(True)


def remove_lora(univdm: UniVDM, *, merge: bool = False) -> None:
    """Put the layers of the base back; with `merge`, the acting adapters are added to them."""
    for name, module in list(_adapted(univdm)):
        if merge:
            module.merge()
        univdm.set_submodule(name, module.get_base_layer())
    univdm.requires_grad_(True)


def base_state(univdm: UniVDM) -> dict[str, torch.Tensor]:
    """The state of the network as it is without adapters."""
    return {
        name.replace(".base_layer.", "."): tensor
        for name, tensor in univdm.state_dict().items()
        if ".lora_" not in name
    }


def _adapted(univdm: UniVDM) -> Iterator[tuple[str, Any]]:
    for name, module in univdm.named_modules():
        if isinstance(module, LoraLayer):
            yield name, module
