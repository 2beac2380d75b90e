"""The noise that training adds and sampling takes away (equation 1; docs/design.md 7)."""

from __future__ import annotations

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


def sampling_scheduler(config: UniVDMConfig, steps: int) -> DDIMScheduler:
    """DDIM over `steps` of them; its `timesteps` are on the CPU, from the noisiest down."""
    scheduler = DDIMScheduler(**noise_schedule(config), set_alpha_to_one=False)
    scheduler.set_timesteps(steps)
    return scheduler
