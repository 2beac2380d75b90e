"""Compiled networks in generation: what they may be used for, and the check before a video."""

import numpy as np
import pytest
import torch
from pydantic import ValidationError

from paha_core.config import (
    GenerationConfig,
    GuidanceConfig,
    UniVDMConfig,
    derived,
    load_preset,
)
from paha_core.errors import UserError
from paha_core.inference.compiled import check_compiled
from paha_core.inference.inputs import InputError
from paha_core.inference.pipeline import Settings
from paha_core.inference.sampling import Conditions, Sampler
from paha_core.inference.segment_guidance import SegmentGuidanceFactory
from paha_core.inference.untrained import untrained_pipeline
from paha_core.models.compiled import compile_blocks, is_compiled
from paha_core.models.lora import add_lora
from paha_core.models.sync_classifier import SyncClassifier
from tiny_univdm import tiny_univdm


def opened(model):
    """New layers begin at zero, which would hide their blocks."""
    torch.manual_seed(1)
    for weights in model.parameters():
        weights.data.add_(0.05 * torch.randn_like(weights))
    return model.eval()


@pytest.fixture
def guided():
    """A sampler, conditions of three frames, and the guidance of one classifier."""
    one_level = {"block_out_channels": (8,), "attention_levels": (True,)}
    univdm = opened(tiny_univdm(**one_level))
    classifier = opened(
        SyncClassifier.from_univdm(
            tiny_univdm(**one_level), width=16, layers=1, heads=2, max_frames=8
        )
    )
    torch.manual_seed(2)
    conditions = Conditions(torch.randn(1, 4, 4, 4), torch.randn(1, 6), torch.randn(1, 3, 5, 1, 4))
    factory = SegmentGuidanceFactory(
        "sequential",
        {"face": classifier},
        np.array([[0.2, 0.2, 0.8, 0.8]]),
        GuidanceConfig(lambda_non_face=0),
        load_preset("smoke").pose,
    )
    return Sampler(univdm, UniVDMConfig(), 4), conditions, factory


def wrong(graph, inputs):
    """A backend whose results are half of what they should be."""
    return lambda *arguments: tuple(x / 2 for x in graph(*arguments))


def test_compiled_networks_are_compared_with_the_eager_ones(guided, caplog):
    caplog.set_level("INFO", "paha")
    sampler, conditions, factory = guided
    for network in (sampler.model, factory.classifiers["face"]):
        assert compile_blocks(network, backend="eager") > 5
        assert is_compiled(network)
    check_compiled(sampler, conditions, factory)
    assert "univdm differs by" in caplog.text
    assert "face_classifier differs by" in caplog.text


@pytest.mark.parametrize("which", ["univdm", "face_classifier"])
def test_a_compiler_that_gives_other_results_is_refused(which, guided):
    sampler, conditions, factory = guided
    compile_blocks(sampler.model if which == "univdm" else factory.classifiers["face"], wrong)
    with pytest.raises(InputError, match=f"torch.compile changes {which} by"):
        check_compiled(sampler, conditions, factory)


def test_what_does_not_go_with_it_is_refused():
    with pytest.raises(ValidationError, match="choose one of them"):
        GenerationConfig(compile=True, offload_layers=True)
    preset = derived(load_preset("smoke"), {"generation": {"compile": True}})
    pipeline = untrained_pipeline(preset)
    assert is_compiled(pipeline.univdm)
    with pytest.raises(InputError, match="loses gradients on a CPU"):
        pipeline.check(Settings(mode="unguided", precision="bf16"))
    with pytest.raises(InputError, match="tf32 needs a GPU"):
        pipeline.check(Settings(mode="unguided", precision="tf32"))
    with pytest.raises(UserError, match="takes no adapters"):
        add_lora(pipeline.univdm, "somebody", ["conv_in"], 1, 1)
