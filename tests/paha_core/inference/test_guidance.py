from dataclasses import replace

import numpy as np
import pytest
import torch

from paha_core.config import GuidanceConfig, PresetError, checked
from paha_core.inference.guidance import ClassifierGuidance, energy_gradient

SHAPE = (2, 3, 4, 6, 6)


def linear_logit(seed):
    """A classifier with a known gradient: a random linear form of the latents."""
    weight = torch.randn(SHAPE[1:], generator=torch.Generator().manual_seed(seed))
    return lambda latents, timestep: (latents * weight).flatten(1).mean(dim=1)


def solver(latents, timestep):
    """A smooth stand-in for the DDIM step that mixes neighbouring cells, as a network does."""
    return 0.9 * latents + 0.1 * torch.tanh(latents.roll(1, dims=-1))


def make(mode="sequential", **settings):
    mask = torch.zeros(SHAPE[0], 1, 1, *SHAPE[-2:])
    mask[..., :3, 2:5] = 1
    config = GuidanceConfig(**settings)
    logits = {"face": linear_logit(1), "non_face": linear_logit(2)}
    return ClassifierGuidance(mode, logits, mask, config)


def step(guidance, solver, latents):
    """One guided step, as the denoising loop takes it."""
    guided = guidance.guide(latents, TIMESTEP, 0.8)
    states = guidance.states(guided)
    solved = solver(torch.cat(states), TIMESTEP).chunk(len(states))
    return guidance.combine(guided, solved)


@pytest.fixture
def latents():
    return torch.randn(SHAPE, generator=torch.Generator().manual_seed(0))


TIMESTEP = 500


@pytest.mark.parametrize("mode", ["sequential", "differential"])
def test_zero_strength_is_unguided_bit_for_bit(latents, mode):
    guidance = make(mode, lambda_face=0, lambda_non_face=0)
    moved = step(guidance, solver, latents)
    assert torch.equal(moved, solver(latents, TIMESTEP))


def test_a_classifier_without_strength_is_not_run(latents):
    reference, logits = make().guide(latents, TIMESTEP, 0.8), make().logits
    alone = replace(make(lambda_face=0), logits={"non_face": logits["non_face"]})
    alone = alone.guide(latents, TIMESTEP, 0.8)
    assert torch.equal(alone.both, reference.non_face)
    assert (alone.face_logit, alone.metrics(latents)["face_logit"]) == (None, None)
    assert alone.face is latents
    other = replace(make(lambda_non_face=0), logits={"face": logits["face"]})
    other = other.guide(latents, TIMESTEP, 0.8)
    assert torch.equal(other.both, other.face)
    assert other.metrics(latents)["non_face_update"] == 0


def test_differential_without_strength_is_sequential_bit_for_bit(latents):
    sequential = step(make("sequential"), solver, latents)
    differential = step(make("differential", lambda_diff=0), solver, latents)
    assert torch.equal(sequential, differential)


def test_an_update_stays_inside_its_mask(latents):
    guidance = make()
    guided = guidance.guide(latents, TIMESTEP, 0.8)
    inside = guidance.face_mask.expand(SHAPE).bool()
    assert torch.equal(guided.face[~inside], latents[~inside])
    assert torch.equal(guided.non_face[inside], latents[inside])


def test_equation_10_is_the_sum_of_both_updates(latents):
    guided = make().guide(latents, TIMESTEP, 0.8)
    expected = latents + (guided.face - latents) + (guided.non_face - latents)
    torch.testing.assert_close(guided.both, expected)


def test_a_step_raises_the_logit_of_its_region(latents):
    guidance = make(lambda_face=50, lambda_non_face=50)
    guided = guidance.guide(latents, TIMESTEP, 0.8)
    for part, moved in (("face", guided.face), ("non_face", guided.non_face)):
        logit = guidance.logits[part]
        assert (logit(moved, TIMESTEP) > logit(latents, TIMESTEP)).all()


def test_the_gradient_of_the_energy_in_closed_form(latents):
    weight = torch.randn(SHAPE[1:])

    def logit(z, t):
        return (z * weight).flatten(1).sum(dim=1)

    gradient, _ = energy_gradient(logit, latents, TIMESTEP)
    # d softplus(-l)/dz = -sigmoid(-l) dl/dz
    expected = -torch.sigmoid(-logit(latents, TIMESTEP))[:, None, None, None, None] * weight
    torch.testing.assert_close(gradient, expected)


def test_the_printed_form_grows_and_the_default_does_not(latents):
    def norm_after(form):
        guidance = make("differential", form=form)
        state = latents
        for _ in range(15):
            state = step(guidance, lambda z, t: z, state)
        return float(state.norm() / latents.norm())

    assert norm_after("printed") == pytest.approx(1.25**15, rel=0.05)
    assert norm_after("residual") == pytest.approx(1, abs=0.05)


def test_residuals_remove_a_leak_with_our_masks_and_the_work_itself_with_the_printed_ones(latents):
    """Without a leak (a solver that leaves cells alone) the default has nothing to remove; the
    printed pairing takes lambda_diff of each classifier's own work away."""

    def moved(form):
        guidance = make("differential", form=form)
        return step(guidance, lambda z, t: z, latents) - latents

    work = make().guide(latents, TIMESTEP, 0.8).both - latents
    torch.testing.assert_close(moved("residual"), work)
    torch.testing.assert_close(moved("residual_printed_masks"), 0.75 * work, rtol=1e-3, atol=1e-6)


@pytest.mark.parametrize(
    ("rate", "steps", "guided"),
    [(0, 30, 0), (0.25, 30, 8), (0.5, 30, 15), (1, 30, 30), (0.5, 5, 3), (0.5, 7, 4), (0.3, 1, 0)],
)
def test_guidance_rate_guides_that_many_of_the_first_steps(rate, steps, guided):
    guidance = make(rate=rate)
    assert [guidance.acts_at(i, steps) for i in range(steps)] == [i < guided for i in range(steps)]


@pytest.mark.parametrize(
    ("settings", "states"),
    [({}, 3), ({"lambda_face": 0}, 2), ({"lambda_non_face": 0}, 2), ({"rate": 1}, 3)],
)
def test_differential_guidance_solves_each_distinct_state_once_and_together(
    latents, settings, states
):
    sizes = []

    def counting(state, timestep):
        sizes.append(len(state))
        return solver(state, timestep)

    guidance = make("differential", **settings)
    moved, guided = step(guidance, counting, latents), guidance.guide(latents, TIMESTEP, 0.8)
    assert sizes == [states * SHAPE[0]]
    alone = (solver(state, TIMESTEP) for state in (guided.both, guided.non_face, guided.face))
    torch.testing.assert_close(moved, guidance.differential(*alone))


def test_one_guided_step_raises_the_logit_of_each_classifier(pipeline):
    """On the networks themselves: a small enough step along -grad E raises the score."""
    from paha_core.inference.sampling import Conditions
    from paha_core.inference.segment_guidance import SegmentGuidanceFactory

    draw = torch.Generator().manual_seed(0)
    given = Conditions(
        torch.randn(1, 4, 8, 8, generator=draw),
        torch.randn(1, pipeline.reference.width, generator=draw),
        torch.randn(1, 8, 5, pipeline.audio.layers, pipeline.audio.width, generator=draw),
    )
    box = np.array([[0.25, 0.1, 0.75, 0.5]])
    config = GuidanceConfig(lambda_face=1, lambda_non_face=1)
    factory = SegmentGuidanceFactory(
        "sequential", pipeline.classifiers, box, config, pipeline.preset.pose
    )
    guidance = factory(given, slice(0, 1), False)
    latents = torch.randn(1, 4, 8, 8, 8, generator=draw)
    timestep = 300
    guided = guidance.guide(latents, timestep, 0.5)
    face, non_face = guidance.logits["face"], guidance.logits["non_face"]
    with torch.no_grad():
        assert non_face(guided.non_face, timestep) > guided.non_face_logit
        # equation 9 takes the face's gradient where equation 8 has arrived
        start = guided.non_face
        moved = start + (guided.face - latents)
        assert face(moved, timestep) > face(start, timestep)
    assert all(p.grad is None for c in pipeline.classifiers.values() for p in c.parameters())


def test_a_classifier_in_bfloat16_gives_a_float32_gradient_close_to_its_own(pipeline):
    from paha_core.inference.sampling import Conditions
    from paha_core.inference.segment_guidance import ClassifierLogit

    draw = torch.Generator().manual_seed(0)
    given = Conditions(
        torch.randn(1, 4, 8, 8, generator=draw),
        torch.randn(1, pipeline.reference.width, generator=draw),
        torch.randn(1, 8, 5, pipeline.audio.layers, pipeline.audio.width, generator=draw),
    )
    latents = torch.randn(1, 4, 8, 8, 8, generator=draw)
    gradients = {}
    for precision in ("fp32", "bf16"):
        logit = ClassifierLogit.of(pipeline.classifiers["face"], given, precision)
        gradients[precision], value = energy_gradient(logit, latents, 300)
        assert gradients[precision].dtype == value.dtype == torch.float32
    exact, rounded = gradients["fp32"], gradients["bf16"]
    assert not torch.equal(exact, rounded)
    assert torch.cosine_similarity(exact.flatten(), rounded.flatten(), dim=0) > 0.95


def test_checkpointing_changes_memory_and_not_the_gradient(pipeline):
    from copy import deepcopy

    from paha_core.inference.sampling import Conditions
    from paha_core.inference.segment_guidance import ClassifierLogit

    draw = torch.Generator().manual_seed(0)
    given = Conditions(
        torch.randn(1, 4, 8, 8, generator=draw),
        torch.randn(1, pipeline.reference.width, generator=draw),
        torch.randn(1, 8, 5, pipeline.audio.layers, pipeline.audio.width, generator=draw),
    )
    latents = torch.randn(1, 4, 8, 8, 8, generator=draw)
    kept = deepcopy(pipeline.classifiers["face"])
    checkpointed = deepcopy(kept)
    checkpointed.encoder.enable_gradient_checkpointing()
    found = []
    for classifier in (kept, checkpointed):
        saved = []

        def pack(tensor, saved=saved):
            saved.append(tensor.numel())
            return tensor

        logit = ClassifierLogit.of(classifier, given, "fp32")
        with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
            gradient, _ = energy_gradient(logit, latents, 300)
        found.append((gradient, sum(saved)))
    (gradient, numbers), (again, fewer) = found
    assert torch.equal(gradient, again)
    assert fewer < numbers


@pytest.mark.parametrize(
    ("old", "new"),
    [("face", "lambda_face"), ("non_face", "lambda_non_face"), ("differential", "lambda_diff")],
)
def test_an_old_key_is_refused_with_its_new_name(old, new):
    with pytest.raises(PresetError, match=f"the key {old} is now {new}: rename it"):
        checked(GuidanceConfig, {old: 1}, "generation.guidance")
