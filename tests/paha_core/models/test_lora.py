"""Adapters of UniVDM's layers: they add up, switch off without a trace, and merge."""

import copy

import pytest
import torch
from torch import nn

from paha_core.errors import UserError
from paha_core.models.lora import (
    activate,
    add_lora,
    base_state,
    lora_parameters,
    remove_lora,
    target_layers,
)
from tiny_univdm import tiny_univdm

TARGETS = ("attentions", "audio_attentions", "temp_attentions", "resnets")


def prediction(univdm):
    draw = torch.Generator().manual_seed(1)

    def normal(*shape):
        return torch.randn(*shape, generator=draw)

    with torch.no_grad():
        return univdm(
            normal(1, 9, 2, 4, 4),
            torch.tensor([500]),
            normal(1, 4, 4, 4),
            normal(1, 6),
            normal(1, 2, 5, 1, 4),
        )


def with_random_adapter(univdm, name, seed):
    add_lora(univdm, name, target_layers(univdm, TARGETS), 2, 2)
    draw = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in lora_parameters(univdm, name).values():
            parameter.copy_(0.3 * torch.randn(parameter.shape, generator=draw))


@pytest.fixture(scope="module")
def trained():
    """Layers that start at zero speak too."""
    univdm = tiny_univdm()
    for parameter in univdm.parameters():
        if not parameter.any():
            nn.init.normal_(parameter, std=0.05)
    return univdm


@pytest.fixture
def univdm(trained):
    return copy.deepcopy(trained)


def test_a_fresh_adapter_changes_nothing_and_leaves_nothing_else_to_learn(univdm):
    before = prediction(univdm)
    add_lora(univdm, "me", target_layers(univdm, TARGETS), 2, 2)
    assert torch.allclose(prediction(univdm), before, atol=1e-5)
    learning = {id(p) for p in univdm.parameters() if p.requires_grad}
    assert learning == {id(p) for p in lora_parameters(univdm, "me").values()}


def test_every_adapted_layer_reaches_the_output(univdm):
    add_lora(univdm, "me", target_layers(univdm, TARGETS), 2, 2)
    with torch.enable_grad():
        draw = torch.Generator().manual_seed(0)
        shapes = ((1, 9, 2, 4, 4), (1, 4, 4, 4), (1, 6), (1, 2, 5, 1, 4))
        sample, *conditions = (torch.randn(*shape, generator=draw) for shape in shapes)
        univdm(sample, torch.tensor([500]), *conditions).square().mean().backward()
    still = [
        n for n, p in lora_parameters(univdm, "me").items() if "lora_B" in n and not p.grad.any()
    ]
    assert not [name for name in still if "attn2.to_q" not in name and "attn2.to_k" not in name]


def test_merged_adapters_predict_what_they_did_beside_the_layers(univdm):
    base = prediction(univdm)
    with_random_adapter(univdm, "me", 1)
    with_random_adapter(univdm, "you", 2)
    activate(univdm, {"me": 0.7, "you": 0.4})
    beside = prediction(univdm)
    assert (beside - base).abs().max() > 1e-3
    remove_lora(univdm, merge=True)
    assert not any("lora" in name for name in univdm.state_dict())
    scale = beside.abs().max()
    assert (prediction(univdm) - beside).abs().max() < 1e-4 * scale


def test_the_base_is_back_when_none_acts_and_to_the_last_bit_when_they_are_removed(univdm):
    before = prediction(univdm)
    with_random_adapter(univdm, "me", 1)
    activate(univdm, {"me": 1.0})
    assert not torch.equal(prediction(univdm), before)
    activate(univdm, {})
    assert torch.allclose(prediction(univdm), before, atol=1e-5)
    remove_lora(univdm)
    assert torch.equal(prediction(univdm), before)
    assert all(p.requires_grad for p in univdm.parameters())


def test_the_state_of_the_base_is_seen_through_adapters(univdm):
    before = {name: value.clone() for name, value in univdm.state_dict().items()}
    with_random_adapter(univdm, "me", 1)
    seen = base_state(univdm)
    assert seen.keys() == before.keys()
    assert all(torch.equal(seen[name], value) for name, value in before.items())


@pytest.mark.parametrize("target", ["temp_convs", "atentions"])
def test_targets_that_would_do_nothing_are_refused(univdm, target):
    with pytest.raises(UserError, match=target):
        target_layers(univdm, [target])
