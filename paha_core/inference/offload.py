"""UniVDM's layers in host memory, each on the device for its own forward pass alone.

A layer is a whole resnet, attention or temporal convolution (`UniVDM._repeated_blocks`): 94 %
of the published size. The rest stays on the device. Classifiers are not offloaded so, because their
gradient needs all their weights in the backward pass.
"""

from __future__ import annotations

from collections.abc import Iterator

import torch
from accelerate.hooks import AlignDevicesHook, add_hook_to_module
from torch import nn

from paha_core.models.univdm import UniVDM


def layers_of(univdm: UniVDM) -> Iterator[nn.Module]:
    """The layers that are moved one by one."""
    kinds = set(UniVDM._repeated_blocks)
    return (module for module in univdm.modules() if type(module).__name__ in kinds)


def offload_layers(univdm: UniVDM, device: str) -> None:
    """Move all but the layers to `device`; each layer's weights follow for its forward pass. A
    second call changes nothing. The network can't be saved or trained afterwards."""
    if is_offloaded(univdm):
        return
    univdm.requires_grad_(False)
    for layer in layers_of(univdm):
        hook = AlignDevicesHook(torch.device(device), offload=True, place_submodules=True)
        add_hook_to_module(layer, hook)
    for module in univdm.modules():
        for name, tensor in (*module._parameters.items(), *module._buffers.items()):
            if tensor is not None and tensor.device.type != "meta":
                tensor.data = tensor.data.to(device)
                assert getattr(module, name) is tensor


def is_offloaded(univdm: UniVDM) -> bool:
    """Whether `offload_layers` was called."""
    return any(hasattr(layer, "_hf_hook") for layer in layers_of(univdm))
