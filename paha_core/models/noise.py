"""The noise that training adds and sampling removes (equation 1; docs/design.md 7)."""

from __future__ import annotations

import torch
from diffusers import DDIMScheduler, DDPMScheduler

from paha_core.config import UniVDMConfig


def noise_schedule(config: UniVDMConfig) -> dict[str, object]:
    """The schedule that training and sampling share."""
    return {
        "num_train_timesteps": 1000,
        "beta_schedule": "scaled_linear",
        "beta_start": 0.00085,
        "beta_end": 0.012,
        "prediction_type": config.prediction,
        "rescale_betas_zero_snr": config.zero_terminal_snr,
        "timestep_spacing": "trailing" if config.zero_terminal_snr else "leading",
        "clip_sample": False,
        "steps_offset": 1,
    }


def training_scheduler(config: UniVDMConfig) -> DDPMScheduler:
    """DDPM with 1000 steps: what UniVDM and the classifiers are trained and tested with."""
    return DDPMScheduler(**noise_schedule(config))


def prediction_target(
    scheduler: DDPMScheduler, latents: torch.Tensor, noise: torch.Tensor, timestep: torch.Tensor
) -> torch.Tensor:
    """What the network is to predict: the noise, v of Salimans and Ho 2022, or the latents."""
    kind = scheduler.config.prediction_type
    if kind == "epsilon":
        return noise
    if kind == "sample":
        return latents
    velocity: torch.Tensor = scheduler.get_velocity(latents, noise, timestep)
    return velocity


def sampling_scheduler(config: UniVDMConfig, steps: int) -> DDIMScheduler:
    """DDIM with `steps` steps; its `timesteps` are on the CPU, in descending order."""
    scheduler = DDIMScheduler(**noise_schedule(config), set_alpha_to_one=False)
    scheduler.set_timesteps(steps)
    return scheduler


def ddim_step(
    scheduler: DDIMScheduler, model_output: torch.Tensor, index: int, sample: torch.Tensor
) -> torch.Tensor:
    """f_theta: the sample at the timestep after `scheduler.timesteps[index]`, without new noise.

    `DDIMScheduler.step` in all but one point: it takes `t - 1000 // steps` for the next timestep,
    which is not the one that follows in the list where the steps do not divide 1000.
    """
    timesteps, alphas = scheduler.timesteps, scheduler.alphas_cumprod
    alpha = alphas[timesteps[index]]
    last = index + 1 == len(timesteps)
    next_alpha = scheduler.final_alpha_cumprod if last else alphas[timesteps[index + 1]]
    return ddim_update(scheduler.config.prediction_type, model_output, sample, alpha, next_alpha)


def ddim_update(
    prediction: str,
    model_output: torch.Tensor,
    sample: torch.Tensor,
    alpha: torch.Tensor,
    next_alpha: torch.Tensor,
) -> torch.Tensor:
    """DDIM's step between two values of alpha_bar, each a scalar or of a shape that broadcasts.
    `prediction`: what `model_output` is, epsilon, v_prediction or sample (the clean one)."""
    if prediction == "epsilon":
        noise_pred = model_output
        clean_pred = (sample - (1 - alpha) ** 0.5 * model_output) / alpha**0.5
    elif prediction == "sample":
        clean_pred = model_output
        noise_pred = (sample - alpha**0.5 * model_output) / (1 - alpha) ** 0.5
    else:  # v_prediction
        clean_pred = alpha**0.5 * sample - (1 - alpha) ** 0.5 * model_output
        noise_pred = alpha**0.5 * model_output + (1 - alpha) ** 0.5 * sample
    return next_alpha**0.5 * clean_pred + (1 - next_alpha) ** 0.5 * noise_pred
