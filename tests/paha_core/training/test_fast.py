"""The distillation of UniVDM into a student with few steps."""

import copy
from dataclasses import replace

import pytest
import torch

import small_univdm
from paha_core.config import derived, load_preset
from paha_core.models.noise import ddim_step, sampling_scheduler
from paha_core.training.distributed import SINGLE_PROCESS
from paha_core.training.loop import fit
from paha_core.training.run import Run
from paha_core.training.tasks.fast import DistillationTask, fast_run, step_intervals
from paha_core.training.tasks.univdm import ExampleBatches
from tiny_univdm import tiny_univdm

V = {"prediction": "v_prediction", "zero_terminal_snr": True}
TRAIN = {"steps": 12, "batch": 4, "learning_rate": 3e-3, "warmup": 0, "ema": 0}


def task(teacher, steps=2, teacher_steps=2, cfg_scale=1.0, **univdm):
    changes = {
        "fast": {"steps": steps, "teacher_steps": teacher_steps, "train": TRAIN},
        "univdm": {"condition_dropout": 0.0} | univdm,
        "generation": {"cfg_scale": cfg_scale},
    }
    preset = derived(load_preset("smoke"), changes)
    config = preset.univdm.model_copy(update={"train": preset.fast.train})
    made = small_univdm.Made(4, SINGLE_PROCESS)
    examples = ExampleBatches(made, config, SINGLE_PROCESS)
    held_out = [made.batch_at(1000)]
    student = copy.deepcopy(teacher).requires_grad_(True)
    return DistillationTask(student, teacher, preset, examples, held_out), preset


@pytest.fixture(scope="module")
def teacher():
    """A network whose output depends on the noise level: with the zeros of a new one, all of a
    trajectory would be one straight line."""
    network = tiny_univdm()
    torch.nn.init.normal_(network.conv_in.weight, std=0.3)
    return network


@pytest.mark.parametrize("univdm", [{}, V])
def test_the_steps_are_those_of_sampling_with_the_teachers_between(univdm):
    _, preset = task(tiny_univdm(), steps=8, teacher_steps=3, **univdm)
    intervals = step_intervals(preset)
    assert intervals.shape == (8, 4)
    assert intervals[:, 0].tolist() == sampling_scheduler(preset.univdm, 8).timesteps.tolist()
    assert intervals[1:, 0].tolist() == intervals[:-1, -1].tolist()
    assert intervals[-1, -1] == 0
    assert (intervals.diff(dim=1) <= 0).all()  # a leading schedule ends at 1: no room between


@pytest.mark.parametrize("univdm", [{}, V])
def test_one_step_of_the_teacher_is_matched_by_the_teacher_itself(teacher, univdm):
    made, _ = task(teacher, teacher_steps=1, **univdm)
    examples = made.examples.batch_at(0)
    examples = replace(examples, has_first_frame=torch.zeros(4) > 0)
    assert made._squared_error(teacher.eval(), examples).max() < 1e-6
    several, _ = task(teacher, teacher_steps=4, **univdm)
    assert several._squared_error(teacher, examples).mean() > 1e-6


def test_the_target_is_where_the_solver_arrives_in_several_steps(teacher):
    """On the last of two steps, from the same noise, with `ddim_step` of sampling."""
    made, preset = task(teacher, steps=2, teacher_steps=2, **V)
    examples = made.examples.batch_at(0)
    examples = replace(
        examples,
        timestep=torch.zeros(4, dtype=torch.int64),
        has_first_frame=torch.zeros(4) > 0,
    )
    finer = sampling_scheduler(preset.univdm, 4)
    noisy = latents = made._noised(examples, finer.timesteps[2].repeat(4))
    batch = examples.batch
    given = batch.reference_latents, batch.reference_embedding, batch.audio
    with torch.no_grad():
        for index in (2, 3):
            sample = torch.cat([latents, torch.zeros_like(latents), latents[:, :1] * 0], dim=1)
            output = teacher(sample, finer.timesteps[index].repeat(4), *given)
            latents = ddim_step(finer, output, index, latents)
    levels = torch.tensor([*finer.timesteps[2:].tolist(), 0]).repeat(4, 1)
    torch.testing.assert_close(made._teacher_end(examples, noisy, levels), latents)


def test_a_given_first_frame_is_reset_at_each_level(teacher):
    made, preset = task(teacher, **V)
    examples = made.examples.batch_at(0)
    examples = replace(examples, has_first_frame=torch.tensor([True, False, True, False]))
    levels = step_intervals(preset)[0].repeat(4, 1)
    end = made._teacher_end(examples, made._noised(examples, levels[:, 0]), levels)
    known = made._noised(examples, levels[:, -1])
    same = (end[:, :, 0] == known[:, :, 0]).flatten(1).all(dim=1)
    assert same.tolist() == [True, False, True, False]


def test_classifier_free_guidance_of_the_teacher_is_distilled(teacher):
    plain, preset = task(teacher, teacher_steps=1)
    guided, _ = task(teacher, teacher_steps=1, cfg_scale=3.0)
    examples = plain.examples.batch_at(0)
    levels = step_intervals(preset)[0].repeat(4, 1)
    noisy = plain._noised(examples, levels[:, 0])
    ends = [one._teacher_end(examples, noisy, levels) for one in (plain, guided)]
    assert (ends[0] - ends[1]).abs().max() > 1e-4
    assert guided.cfg_scale == 3.0


def test_the_student_comes_nearer_to_its_teacher(teacher, tmp_path):
    made, preset = task(teacher, teacher_steps=4, **V)
    before = made.validate(made.model.eval())["validation_loss"]
    run = small_univdm.run(tmp_path)
    fit(made, preset.fast.train, run)
    assert made.validate(made.model.eval())["validation_loss"] < 0.95 * before
    assert all(p.grad is None for p in teacher.parameters())


def test_another_teacher_or_another_number_of_steps_is_another_run(clip_rows):
    store, preset = clip_rows
    first = fast_run(store, preset)
    assert isinstance(first, Run)
    assert first.fingerprint != fast_run(store, derived(preset, {"fast": {"steps": 3}})).fingerprint
    store.write_json("checkpoints/univdm/final/training.json", {"fingerprint": "b"})
    assert fast_run(store, preset).lineage != first.lineage


@pytest.fixture
def clip_rows(tmp_path):
    """A store with an empty index of shards and a teacher's fingerprint."""
    from paha_core.shards.writer import write_index
    from paha_core.store import Store

    store, preset = Store(str(tmp_path)), load_preset("smoke")
    for dataset in preset.corpora.datasets:
        write_index(store, "training_shards", dataset, [])
    store.write_json("checkpoints/univdm/final/training.json", {"fingerprint": "a"})
    return store, preset
