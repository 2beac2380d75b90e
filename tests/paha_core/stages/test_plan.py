"""The plan against real steps, against an H200, and the budgets of the paper's size."""

import json
from functools import cache

import pytest
import torch
from torch.profiler import ProfilerActivity, profile
from torch.utils.checkpoint import checkpoint
from typer.testing import CliRunner

from paha_core.cli import app
from paha_core.config import derived, load_preset
from paha_core.models import univdm_blocks
from paha_core.models.build import univdm_of
from paha_core.models.univdm import UniVDM, network_input
from paha_core.stages.memory_advice import memory_advice
from paha_core.stages.plan import GIB, Machine, Planner, as_json, plan_stages
from paha_core.training.memory import cost_of_step
from paha_core.training.tasks.univdm import par_loss
from paha_core.training.traces import (
    classifier_step,
    codec_passes,
    guidance_gradient,
    planned_widths,
    univdm_step,
)

MACHINE = Machine(gpus=1, memory_gib=8)


def tiny(checkpointing=False, precision="float32", channels=(32, 64), frames=8, cells=8):
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


def paper(checkpointing=True, precision="bf16"):
    preset = load_preset("paper")
    return preset.model_copy(
        update={
            "univdm": preset.univdm.model_copy(update={"gradient_checkpointing": checkpointing}),
            "trainer": preset.trainer.model_copy(update={"precision": precision}),
        }
    )


def measured_peak(preset):
    """Bytes above the start in a real step, from the allocator's own events."""
    widths, train, side = planned_widths(preset), preset.univdm.train, preset.codec.latent_size
    model = univdm_of(preset, widths).train()
    if preset.univdm.gradient_checkpointing:
        model.enable_gradient_checkpointing()
    video = torch.randn(train.batch, widths.latent_channels, train.frames, side, side)
    sample, weights = network_input(video, None), torch.ones(train.batch, train.frames, side, side)
    audio = torch.randn(train.batch, train.frames, 5, widths.audio_layers, widths.audio_width)
    embedding = torch.randn(train.batch, widths.reference_width)
    timestep = torch.zeros(train.batch, dtype=torch.int64)

    def step():
        noise_pred = model(sample, timestep, video[:, :, 0], embedding, audio)
        par_loss((noise_pred - video).square().mean(dim=1), weights).backward()
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
        ((32,), 4, 16, False),
    ],
)
def test_the_traced_peak_is_the_measured_one(channels, frames, cells, checkpointing):
    preset = tiny(checkpointing, channels=channels, frames=frames, cells=cells)
    traced = univdm_step(preset, planned_widths(preset), preset.univdm.train.batch)
    assert traced.peak_bytes == pytest.approx(measured_peak(preset), rel=0.05)


def test_norms_run_in_float32_and_attention_is_counted_under_cuda_s_rules():
    def traced(work):
        def make():
            x = torch.randn(2, 8, 16, 64)
            norm, linear = torch.nn.LayerNorm(64), torch.nn.Linear(64, 64)
            return lambda: work(x, norm, linear)

        return cost_of_step(make)

    def normed(x, norm, linear):
        with torch.autocast("cpu", torch.bfloat16):
            half = linear(x)
            assert half.dtype == torch.bfloat16
            assert norm(half).dtype == torch.float32

    def attended(x, norm, linear):
        with torch.autocast("cpu", torch.bfloat16):
            attention = torch.nn.functional.scaled_dot_product_attention(x, x, x)
            assert attention.dtype == torch.bfloat16

    traced(normed)
    assert traced(attended).flops == 2 * 2 * (2 * 8) * 16 * 16 * 64
    # three inputs and the output in half precision, a logarithm a row: no 16 x 16 attention matrix
    tensors, logarithms = 4 * 2 * (2 * 8 * 16 * 64), 4 * (2 * 8 * 16)
    assert traced(attended).peak_bytes == pytest.approx(tensors + logarithms, abs=64)


@cache
def state_gib():
    """Weights, average and AdamW's moments of the paper's UniVDM."""
    preset = paper()
    sizes = Planner(preset, MACHINE).univdm_sizes
    return 4 * 4 * sum(sizes) / GIB


@pytest.mark.parametrize(
    ("checkpointing", "precision", "allocated"),
    [(True, "bf16", 43.5), (True, "float32", 52.3), (False, "bf16", 117.1)],
)
def test_it_agrees_with_an_h200(checkpointing, precision, allocated, monkeypatch):
    """Peak GiB of a training step at 512 x 512, measured when a whole layer was one checkpoint."""
    sublayers = UniVDM.maybe_checkpoint

    def whole(method):
        def run(self, *args):
            if not self.gradient_checkpointing:
                return method(self, *args)
            return checkpoint(method, self, *args, use_reentrant=False)

        return run

    monkeypatch.setattr(
        univdm_blocks.Checkpointed, "maybe_checkpoint", lambda self, layer, *a, **k: layer(*a, **k)
    )
    assert UniVDM.maybe_checkpoint is not sublayers
    monkeypatch.setattr(univdm_blocks.Block, "layer", whole(univdm_blocks.Block.layer))
    monkeypatch.setattr(univdm_blocks.MidBlock, "attend", whole(univdm_blocks.MidBlock.attend))
    preset = paper(checkpointing, precision)
    step = univdm_step(preset, planned_widths(preset), 1)
    assert state_gib() + step.peak_bytes / GIB == pytest.approx(allocated, rel=0.03)


def test_budget_of_a_training_step_at_512():
    preset = paper()
    step = univdm_step(preset, planned_widths(preset), 1)
    assert step.peak_bytes / GIB < 13
    # forward, backward (twice), and the forward pass of the checkpoints
    assert step.flops == pytest.approx(4 * 43.7e12, rel=0.05)


def test_budget_of_a_classifier_step_with_120_frames_at_512():
    """One sample at a time, so a pair takes no more: at most 40 GiB above the weights."""
    preset = paper()
    assert preset.classifiers.train.shares(1)[0] == 1
    assert classifier_step(preset, planned_widths(preset), 1, 120).peak_bytes / GIB < 40


def test_budget_of_a_guidance_gradient_at_512():
    preset = paper()
    gradient = guidance_gradient(preset, planned_widths(preset), 1, 64)
    assert gradient.peak_bytes / GIB < 16


@pytest.mark.parametrize(("size", "card"), [(256, 24), (512, 48)])
def test_budget_of_generation_at_full_size(size, card):
    preset = load_preset("paper")
    generation = preset.generation.model_copy(update={"size": size})
    planner = Planner(preset.model_copy(update={"generation": generation}), Machine())
    memory = planner.generation_memory()
    assert memory["UniVDM"] + memory["classifiers"] > 10 * GIB
    total = 1.05 * sum(memory.values()) / GIB + 1
    assert total < card * 1e9 / GIB


def test_the_codec_takes_memory_by_its_batch():
    config = load_preset("paper").codec
    (_, one), (_, four) = (codec_passes(config, frames, 512) for frames in (1, 4))
    assert four.peak_bytes == pytest.approx(4 * one.peak_bytes, rel=0.1)
    assert four.flops == 4 * one.flops


def test_weights_and_optimizer_are_exact():
    preset = tiny()
    plan = Planner(preset, MACHINE).univdm()
    model = univdm_of(preset, planned_widths(preset))
    assert plan.memory["weights"] == sum(p.nbytes for p in model.parameters())
    optimizer = torch.optim.AdamW(model.parameters(), fused=True)
    for parameter in model.parameters():
        parameter.grad = torch.zeros_like(parameter)
    optimizer.step()
    state = optimizer.state.values()
    moments = sum(value.nbytes for entry in state for value in entry.values())
    assert plan.memory["AdamW's moments"] == moments
    assert plan.memory["their average"] == plan.memory["weights"]


def test_the_settings_that_save_memory():
    plain, recomputed, half = (
        univdm_step(preset, planned_widths(preset), 2)
        for preset in (
            tiny(channels=(32,)),
            tiny(channels=(32,), checkpointing=True),
            tiny(channels=(32,), precision="bf16"),
        )
    )
    assert recomputed.peak_bytes < plain.peak_bytes
    assert recomputed.flops > plain.flops
    assert half.peak_bytes < plain.peak_bytes
    shared = Planner(tiny(channels=(32,)), Machine(gpus=2, memory_gib=8)).univdm()
    alone = Planner(tiny(channels=(32,)), MACHINE).univdm()
    assert shared.memory["gradients between processes, at most"] == alone.memory["weights"]
    key = "activations and gradients at their peak"
    assert shared.memory[key] < alone.memory[key]  # a clip each instead of two
    assert shared.days == pytest.approx(alone.days / 2)


def test_every_stage_is_planned_and_work_adds_up():
    stages = plan_stages(tiny(), MACHINE)
    plans = {plan.stage: plan for plan in stages}
    assert list(plans) == [
        "training_shards",
        "univdm",
        "negative_samples",
        "classifiers",
        "generated_clips",
        "table3 trainings",
        "tables",
    ]
    assert all(plan.flops > 0 and plan.days > 0 and plan.fits(MACHINE) for plan in plans.values())
    assert plans["training_shards"].disk > 0
    assert plans["univdm"].disk > plans["univdm"].memory["weights"]
    assert plans["tables"].notes["rows"] > 20
    # without PAR: UniVDM, negatives, classifiers; without augmentation: negatives, classifiers
    anew = plans["table3 trainings"]
    assert anew.notes["trainings"] == 5
    twice = sum(plans[s].flops for s in ("univdm", "negative_samples", "classifiers"))
    assert twice < anew.flops < 3 * twice
    programs = json.loads(json.dumps(as_json(stages, MACHINE)))
    assert programs["fits"]
    assert programs["memory"] == 8 * GIB
    assert programs["stages"]["univdm"]["total"] > programs["stages"]["univdm"]["allocated"]
    fewer = tiny()
    half = {"ddim_steps": fewer.negatives.ddim_steps // 2}
    fewer = fewer.model_copy(update={"negatives": fewer.negatives.model_copy(update=half)})
    negatives = Planner(fewer, MACHINE).negatives()
    assert negatives.flops == pytest.approx(plans["negative_samples"].flops / 2)


def test_the_command_prints_whether_it_fits():
    result = CliRunner().invoke(app, ["plan", "--preset", "demo", "--memory", "0.1"])
    assert result.exit_code == 0
    assert "univdm does not fit" in result.output
    assert "negative_samples does not fit" in result.output
    assert "gradient_checkpointing" in result.output


def test_the_advice_leaves_out_what_is_so_already():
    preset = load_preset("paper")
    assert memory_advice(preset, "univdm", 8) == (
        "trainer.shard_optimizer true; fewer univdm.train.frames"
    )
    assert "trainer.optimizer_bits 8" in memory_advice(preset, "univdm")
    low = derived(preset, {"negatives": {"batch": 1, "precision": "bf16"}})
    assert memory_advice(low, "negative_samples") == ""
    wide = derived(preset, {"trainer": {"precision": "float32"}, "codec": {"batch": 1}})
    assert memory_advice(wide, "classifiers").startswith("trainer.precision bf16; ")
    assert memory_advice(wide, "training_shards") == ""


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"precision": "bf16"}, "generation.precision"),
        ({"gradient_checkpointing": True}, "gradient_checkpointing"),
        ({"weights": "int8"}, "gradient_checkpointing"),
        ({"modes": ["unguided"]}, "gradient_checkpointing"),
        ({"batch": 1}, "generation.batch"),
        ({"compile": True}, "offload_layers"),
    ],
)
def test_the_advice_for_generation_leaves_out_what_moves_nothing(change, words):
    preset = load_preset("demo")
    assert words in memory_advice(preset, "generated_clips")
    assert words not in memory_advice(derived(preset, {"generation": change}), "generated_clips")


def test_shared_moments_are_counted_once():
    machine = Machine(gpus=2)
    whole, shared = (
        Planner(derived(tiny(), {"trainer": {"shard_optimizer": shared}}), machine).univdm()
        for shared in (False, True)
    )
    assert shared.memory["AdamW's moments"] == whole.memory["AdamW's moments"] // 2
    assert shared.disk == whole.disk
