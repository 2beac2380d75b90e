import json

import pytest
import torch
from torch.profiler import ProfilerActivity, profile
from typer.testing import CliRunner

from paha_core.cli import app
from paha_core.config import load_preset
from paha_core.models.build import univdm_of
from paha_core.models.univdm import network_input
from paha_core.training.plan import Machine, plan_univdm, planned_widths, traced_step
from paha_core.training.tasks.univdm import par_loss

MACHINE = Machine(gpus=1, memory_gib=8)


def preset(checkpointing=False, precision="float32", channels=(32, 64), frames=8, cells=8):
    demo = load_preset("demo")
    sizes = {"block_out_channels": channels, "attention_levels": (True,) * len(channels)}
    network = demo.univdm.network.model_copy(update=sizes)
    train = demo.univdm.train.model_copy(
        update={"frames": frames, "batch": 2, "micro_batch": None, "replicas": 1}
    )
    univdm = {"network": network, "train": train, "gradient_checkpointing": checkpointing}
    return demo.model_copy(
        update={
            "univdm": demo.univdm.model_copy(update=univdm),
            "codec": demo.codec.model_copy(update={"size": cells * demo.codec.factor}),
            "trainer": demo.trainer.model_copy(update={"precision": precision}),
        }
    )


def measured_peak(given):
    """Bytes above the start in a real step, from the allocator's own events."""
    widths, train, side = planned_widths(given), given.univdm.train, given.codec.latent_size
    model = univdm_of(given, widths).train()
    if given.univdm.gradient_checkpointing:
        model.enable_gradient_checkpointing()
    video = torch.randn(train.batch, widths.latent_channels, train.frames, side, side)
    sample, weights = network_input(video, None), torch.ones(train.batch, train.frames, side, side)
    audio = torch.randn(train.batch, train.frames, 5, widths.audio_layers, widths.audio_width)
    embedding = torch.randn(train.batch, widths.reference_width)
    timestep = torch.zeros(train.batch, dtype=torch.int64)

    def step():
        said = model(sample, timestep, video[:, :, 0], embedding, audio)
        par_loss((said - video).square().mean(dim=1), weights).backward()
        model.zero_grad(set_to_none=True)

    step()
    with profile(activities=[ProfilerActivity.CPU], profile_memory=True) as profiled:
        step()
    events = [e for e in profiled.profiler.kineto_results.events() if e.name() == "[memory]"]
    held = peak = 0
    for event in sorted(events, key=lambda e: e.start_ns()):
        held += event.nbytes()
        peak = max(peak, held)
    return peak


@pytest.mark.parametrize(
    ("channels", "frames", "cells", "checkpointing"),
    [
        ((32, 64), 8, 8, False),
        ((32, 64), 8, 8, True),
        ((64, 64), 4, 8, True),
        ((32,), 4, 16, False),
    ],
)
def test_the_traced_peak_is_the_measured_one(channels, frames, cells, checkpointing):
    given = preset(checkpointing, channels=channels, frames=frames, cells=cells)
    traced = traced_step(given, planned_widths(given), given.univdm.train.batch)
    assert traced.peak_bytes == pytest.approx(measured_peak(given), rel=0.05)


def test_weights_and_optimizer_are_exact():
    given = preset()
    plan = plan_univdm(given, MACHINE)
    model = univdm_of(given, planned_widths(given))
    assert plan.weights == sum(p.nbytes for p in model.parameters())
    optimizer = torch.optim.AdamW(model.parameters(), fused=True)
    for parameter in model.parameters():
        parameter.grad = torch.zeros_like(parameter)
    optimizer.step()
    state = optimizer.state.values()
    assert plan.optimizer == sum(value.nbytes for entry in state for value in entry.values())
    assert plan.average == plan.weights


def test_what_the_knobs_turn():
    plain, recomputed, half = (
        plan_univdm(preset(channels=(32,), **how), MACHINE)
        for how in ({}, {"checkpointing": True}, {"precision": "bf16"})
    )
    assert recomputed.step < plain.step
    assert recomputed.flops > plain.flops
    assert half.step < plain.step
    assert half.weights == plain.weights
    shared = plan_univdm(preset(channels=(32,)), Machine(gpus=2, memory_gib=8))
    assert shared.buckets == plain.weights
    assert shared.step < plain.step  # a clip each instead of two


def test_the_command_tells_whether_it_fits(tmp_path):
    told = CliRunner().invoke(app, ["plan", "--preset", "demo", "--memory", "0.1"])
    assert told.exit_code == 0
    assert "It does not fit" in told.output
    assert "gradient_checkpointing" in told.output
    given = ["plan", "--preset", "demo", "--memory", "8", "--gpus", "2", "--json"]
    plan = json.loads(CliRunner().invoke(app, given).output)
    assert plan["fits"]
    assert plan["memory"] == 8 * 2**30
