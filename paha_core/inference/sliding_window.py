"""Long video as earlier methods make it: one long piece of noise, denoised in overlapping windows
whose predictions are averaged. The baseline for chained segments (paper B.4.1)."""

from __future__ import annotations

import torch

from paha_core.inference.sampling import Conditions, Generators, Sampler, draw_noise
from paha_core.inference.trace import Stopwatch, Trace

OVERLAP = 0.25  # of a window, as MagicAnimate's 4 of 16 frames


@torch.no_grad()
def sliding_window(
    sampler: Sampler,
    conditions: Conditions,
    window: int,
    generator: Generators,
    trace: Trace,
) -> torch.Tensor:
    """Latents [b, C, f, h, w] for all `f` audio windows, unguided.

    At every step each window of `window` frames is predicted on its own, and a frame takes the mean
    of the windows that hold it. All frames of the video are in memory from the first step on.
    """
    frames, shape = conditions.audio.shape[1], conditions.reference_latents.shape
    device = sampler.model.device
    starts = window_starts(frames, window)
    size = max(frames, window)
    latents = draw_noise((shape[0], shape[1], size, *shape[2:]), generator).to(device)
    counts = torch.zeros(size, device=device)
    for start in starts:
        counts[start : start + window] += 1
    solving, solver = Stopwatch(device), sampler.new_solver()
    encoded_parts = {
        start: sampler.encode(conditions.part(start, window).to(device)) for start in starts
    }
    for i, t in enumerate(sampler.timesteps):
        sampler.on_step()
        with solving.running():
            total = torch.zeros_like(latents)
            for start in starts:
                encoded, dropped = encoded_parts[start]
                state = latents[:, :, start : start + window]
                noise_pred = sampler.predict_noise(state, t, encoded, dropped, None)
                total[:, :, start : start + window] += noise_pred
            mean = total / counts[:, None, None]
            latents = solver.step(mean, i, latents)
    trace.solver += solving.seconds()
    trace.segments += len(starts)
    return latents[:, :, :frames]


def window_starts(frames: int, window: int) -> list[int]:
    """First frames of the windows that cover `frames`; the last one ends with the video."""
    stride = max(1, window - round(window * OVERLAP))
    last = max(0, frames - window)
    return [*range(0, last, stride), last]
