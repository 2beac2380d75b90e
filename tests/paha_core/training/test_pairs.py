"""Pairs of real windows and negatives: what is in them, and one sample as the unit of a step."""

import subprocess
import sys
from itertools import islice

import numpy as np
import pytest
import small_classifier
import torch
from safetensors.torch import load_file
from small_classifier import BATCH, LENGTHS, gradient, pair_batches, publish_pairs

from paha_core.models.noise import training_scheduler
from paha_core.store import Store
from paha_core.training.tasks.pairs import cross_entropy, paired


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    store = Store(str(tmp_path_factory.mktemp("pairs")))
    publish_pairs(store)
    return store


def samples(batches, steps):
    """Every sample of the first steps, one by one."""
    for number in range(steps * BATCH // batches.micro_batch):
        made = batches.batch_at(number)
        for i, label in enumerate(made.labels.tolist()):
            batch = made.batch.each(lambda x, i=i: x[i])
            yield batch, made.batch.keys[i], label, int(made.timestep[i]), made.noise[i]


def test_a_negative_meets_the_real_window_of_its_own_voice(store):
    batches = pair_batches(store, 1, mismatched_audio=0.0, mask_probability=0.0)
    halves = list(samples(batches, 4))
    for (real, key, one, *_), (fake, _, zero, *_) in zip(halves[::2], halves[1::2], strict=True):
        assert (one, zero) == (1.0, 0.0)
        number = int(key[-3:])
        assert real.latents[0].eq(number).all()
        assert fake.latents[0].eq(100 + number).all()
        assert real.latents[1, 0, 0, 0] in (2, 3, 4)  # from the voice's third frame on
        assert torch.equal(fake.audio, real.audio)  # the same sound, its neighbours included


def test_mismatched_pairs_share_the_picture_and_not_the_sound(store):
    batches = pair_batches(store, 2, mismatched_audio=1.0, mask_probability=0.0)
    for number in range(12):
        batch = batches.batch_at(number).batch
        assert torch.equal(batch.latents[0], batch.latents[1])
        assert not torch.equal(batch.audio[0], batch.audio[1])


def test_a_pair_shares_timestep_noise_and_mask_and_a_step_has_one_length(store):
    lengths, hidden = [], []
    halves = list(samples(pair_batches(store, 2, mask_probability=0.5), 16))
    for (a, _, _, t, noise), (b, _, _, u, other) in zip(halves[::2], halves[1::2], strict=True):
        assert t == u
        assert torch.equal(noise, other)
        masks = [bool(x.latents[0].eq(0).any() and x.latents[0].ne(0).any()) for x in (a, b)]
        assert masks[0] == masks[1] or a.latents[0].eq(0).all()
        hidden.append(masks[1])
        lengths.append(a.latents.shape[1])
    steps = [set(islice(lengths, i, i + BATCH // 2)) for i in range(0, len(lengths), BATCH // 2)]
    assert all(len(step) == 1 for step in steps)
    assert [len(set().union(*steps[i : i + 2])) for i in range(0, 16, 2)] == [len(LENGTHS)] * 8
    assert 0.2 < np.mean(hidden) < 0.8


def test_samples_do_not_depend_on_how_many_are_taken_at_once(store):
    expected = list(samples(pair_batches(store, 8), 3))
    for micro_batch in (1, 2, 4):
        for one, other in zip(samples(pair_batches(store, micro_batch), 3), expected, strict=True):
            assert one[1:4] == other[1:4]
            assert torch.equal(one[4], other[4])
            assert torch.equal(one[0].latents, other[0].latents)
            assert torch.equal(one[0].audio, other[0].audio)


@pytest.mark.parametrize("micro_batch", [1, 2, 4])
def test_the_gradient_of_single_samples_is_that_of_all_at_once(store, micro_batch):
    expected, found = gradient(store), gradient(store, micro_batch)
    assert expected.keys() == found.keys()
    for name, value in expected.items():
        torch.testing.assert_close(found[name], value, rtol=1e-3, atol=1e-6, msg=name)


def test_the_loss_of_samples_is_equation_7_of_their_pairs(store):
    """The pair version as the oracle: n real samples beside their n negatives."""
    task = small_classifier.classifier_task(store, 2)
    losses = [float(task.loss(task.model, number)[0].detach()) for number in range(4)]
    scheduler = training_scheduler(small_classifier.load_preset("smoke").univdm)
    expected = []
    for number in range(4):
        made = pair_batches(store, 2).batch_at(number)
        real, negative = (made.batch.rows(made.labels == label) for label in (1, 0))
        pairs = paired(real, negative, torch.tensor([False]))
        noisy = scheduler.add_noise(pairs.latents, made.noise, made.timestep)
        conditions = pairs.reference_latents, pairs.reference_embedding, pairs.audio
        with torch.no_grad():
            logit = task.model(noisy, made.timestep, *conditions)
        expected.append(float(cross_entropy(logit)))
    assert losses == pytest.approx(expected, rel=1e-5)


def run(folder, micro_batch, processes):
    publish_pairs(Store(str(folder)))
    arguments = str(folder), str(micro_batch)
    if processes == 1:
        small_classifier.main(*arguments)
    else:
        launcher = [sys.executable, "-m", "paha_core.training.launch", str(processes), "300"]
        command = [*launcher, sys.executable, small_classifier.__file__, *arguments]
        subprocess.run(command, check=True, timeout=600)
    weights = folder / "checkpoints/small/final/diffusion_pytorch_model.safetensors"
    return load_file(folder / "gradient.safetensors"), load_file(weights)


def test_two_processes_train_a_classifier_as_one_does(tmp_path):
    """One sample at a time each: a pair's halves are in different processes."""
    (tmp_path / "a").mkdir()
    (tmp_path / "b").mkdir()
    gradient_1, weights_1 = run(tmp_path / "a", 2, 1)
    gradient_2, weights_2 = run(tmp_path / "b", 1, 2)
    assert gradient_1.keys() == gradient_2.keys()
    for name, value in gradient_1.items():
        torch.testing.assert_close(gradient_2[name], value, rtol=1e-3, atol=1e-6, msg=name)
    before = dict(small_classifier.small_classifier().named_parameters())
    moved, apart = (
        torch.cat([(weights_1[n] - other[n]).flatten() for n in before]).norm()
        for other in (before, weights_2)
    )
    assert apart < 0.02 * moved
