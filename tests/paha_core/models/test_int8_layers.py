"""Weights in 8 bits: how exact, how small, and what goes through them."""

import copy

import pytest
import torch
from torch import nn

from paha_core.models.int8 import Int8, bytes_of, is_int8, to_int8

LAYERS = {
    "linear": (nn.Linear(6, 5), (3, 6)),
    "conv2d": (nn.Conv2d(3, 4, 3, padding=1), (2, 3, 5, 5)),
    "conv3d": (nn.Conv3d(3, 4, (3, 1, 1)), (1, 3, 4, 2, 2)),
}


@pytest.mark.parametrize("name", LAYERS)
def test_a_layer_is_that_of_its_rounded_weights_and_so_is_its_gradient(name):
    layer, shape = copy.deepcopy(LAYERS[name])
    layer.weight.data[0] = 0  # a channel of zeros stays one
    rounded = copy.deepcopy(layer)
    to_int8(rounded)
    assert rounded.parametrizations.weight.original0.dtype == torch.int8
    step = layer.weight.detach().flatten(1).abs().amax(1) / 127
    error = (rounded.weight - layer.weight).detach().flatten(1).abs().amax(1)
    assert (error <= step / 2 + 1e-7).all()
    layer.weight.data.copy_(rounded.weight)

    gradients = []
    for one in (layer, rounded):
        x = torch.randn(shape, generator=torch.Generator().manual_seed(0), requires_grad=True)
        gradients.append(torch.autograd.grad(one(x).square().sum(), x)[0])
    assert torch.equal(*gradients)


def test_a_network_is_a_quarter_as_large_and_a_second_call_changes_nothing():
    network = nn.Sequential(nn.Linear(256, 256), nn.LayerNorm(256))
    before = bytes_of(network)
    to_int8(network)
    state = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    to_int8(network)
    assert is_int8(network)
    assert bytes_of(network) == 256 * 256 + 4 * (256 + 256 + 2 * 256)
    assert bytes_of(network) < 0.27 * before
    assert all(torch.equal(tensor, state[name]) for name, tensor in network.state_dict().items())
    assert sum(isinstance(module, Int8) for module in network.modules()) == 1
