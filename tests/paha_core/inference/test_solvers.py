"""Solvers on a problem whose solution is known, and the noise levels at which guidance acts."""

from typing import get_args

import pytest
import torch

from paha_core.config import GenerationConfig, Solver, UniVDMConfig
from paha_core.inference.sampling import Conditions, Sampler
from paha_core.inference.solvers import new_solver
from paha_core.models.noise import ddim_step, sampling_scheduler
from tiny_univdm import tiny_univdm

SOLVERS = get_args(Solver)
SPREAD = 0.5  # of the data: N(0, SPREAD^2) in every cell, so the best noise_pred is a formula
CONFIG = UniVDMConfig()


def solved(name, steps, config=CONFIG, states=1, change=lambda i, x: x, changed=()):
    """From fixed noise to data with the best prediction there is."""
    solver = new_solver(name, config, steps, changed)
    alphas = sampling_scheduler(config, steps).alphas_cumprod
    sample = torch.linspace(-2, 2, 10)[None].repeat(states, 1)
    for i, t in enumerate(solver.timesteps):
        sample, alpha = change(i, sample), alphas[t]
        variance = alpha * SPREAD**2 + 1 - alpha
        noise_pred = (1 - alpha) ** 0.5 * sample / variance
        if config.prediction == "v_prediction":
            noise_pred = (alpha * (1 - alpha)) ** 0.5 * (1 - SPREAD**2) * sample / variance
        if config.prediction == "sample":
            noise_pred = alpha**0.5 * SPREAD**2 * sample / variance
        sample = solver.step(noise_pred, i, sample, states)
    return sample


def exact(config=CONFIG, steps=30):
    """The probability flow only scales such data: by the ratio of the deviations."""
    levels = sampling_scheduler(config, steps)
    alpha = levels.alphas_cumprod[levels.timesteps[0]]
    start = (alpha * SPREAD**2 + 1 - alpha) ** 0.5
    return torch.linspace(-2, 2, 10) * SPREAD / start


@pytest.mark.parametrize("name", SOLVERS)
@pytest.mark.parametrize("prediction", ["epsilon", "v_prediction", "sample"])
def test_many_steps_of_any_solver_reach_the_solution(name, prediction):
    config = UniVDMConfig(prediction=prediction)
    torch.testing.assert_close(solved(name, 100, config)[0], exact(config, 100), rtol=0.03, atol=0)


@pytest.mark.parametrize("name", ["dpm++2m", "unipc"])
def test_few_steps_that_remember_are_nearer_than_those_of_ddim(name):
    def error(one, steps):
        return float((solved(one, steps)[0] - exact(steps=steps)).abs().max())

    assert error(name, 4) < error("ddim", 4) / 4
    assert error(name, 30) < error("ddim", 30)


def test_ddim_is_what_it_was_to_the_bit():
    scheduler = sampling_scheduler(CONFIG, 7)
    solver, sample = new_solver("ddim", CONFIG, 7), torch.randn(3, 5)
    assert solver.timesteps == scheduler.timesteps.tolist()
    for i in range(7):
        expected = ddim_step(scheduler, sample * 0.3, i, sample)
        assert torch.equal(solver.step(sample * 0.3, i, sample, 3), expected)


def test_a_preset_that_names_no_other_solver_keeps_its_fingerprints():
    assert "solver" not in GenerationConfig().settings()
    assert GenerationConfig(solver="unipc").settings()["solver"] == "unipc"


@pytest.mark.parametrize("name", SOLVERS)
def test_what_is_remembered_is_of_the_state_that_goes_on(name):
    """Two states solved together end as z* does alone, whatever the second one was."""

    def second_differs(i, sample):
        return torch.stack([sample[0], sample[0] + 0.5])

    alone = solved(name, 6)
    together = solved(name, 6, states=2, change=second_differs)
    torch.testing.assert_close(together[:1], alone)


@pytest.mark.parametrize("name", SOLVERS)
def test_a_change_by_guidance_is_not_taken_back(name):
    def pushed(i, sample):
        return sample + 0.2 if i == 2 else sample

    def moved(one, changed):
        return solved(one, 6, change=pushed, changed=changed) - solved(one, 6, changed=changed)

    assert (moved(name, [2]) > 0.5 * moved("ddim", [2])).all()
    assert (moved("unipc", []) < 0.1 * moved("ddim", [])).all()  # what is guarded against


@pytest.mark.parametrize("name", SOLVERS)
@pytest.mark.parametrize("steps", [4, 7, 30])
def test_every_solver_goes_through_the_same_noise_levels(name, steps):
    """So that a guidance rate, a share of the steps, means the same noise levels with each."""
    levels = sampling_scheduler(CONFIG, steps)
    solver = new_solver(name, CONFIG, steps)
    assert solver.timesteps == levels.timesteps.tolist()
    if name != "ddim":
        sigma = solver.scheduler.sigmas[:-1]
        alphas = levels.alphas_cumprod[levels.timesteps]
        torch.testing.assert_close((sigma**2 / (1 + sigma**2)).float(), 1 - alphas)


@pytest.mark.parametrize("name", SOLVERS)
def test_a_video_of_two_segments_by_every_solver(name):
    draw = torch.Generator().manual_seed(1)
    given = [torch.randn(*shape, generator=draw) for shape in ((1, 4, 4, 4), (1, 6))]
    conditions = Conditions(*given, torch.randn(1, 7, 5, 1, 4, generator=draw))
    sampler = Sampler(tiny_univdm(), CONFIG, 3, solver=name)
    latents = sampler.video(conditions, 4, torch.Generator().manual_seed(0))
    assert latents.shape == (1, 4, 7, 4, 4)
    assert latents.isfinite().all()
