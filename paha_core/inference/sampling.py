"""DDIM sampling of video latents: one segment, and a long video as a chain of segments (paper
B.4.1).

A segment's frame 0 is the last frame of the one before, given as latents: never decoded and encoded
again, which would drift in colour. So every segment after the first adds `frames - 1` frames.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace

import torch
from diffusers import DDIMScheduler, DDPMScheduler

from paha_core.config import UniVDMConfig
from paha_core.inference.guidance import Guidance
from paha_core.models.univdm import UniVDM, network_input


def noise_schedule(config: UniVDMConfig) -> dict[str, object]:
    """The schedule that training and sampling share (DESIGN 7)."""
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


@dataclass(frozen=True)
class Conditions:
    """What a batch of videos is generated from.

    `reference_latents` [b, C, h, w]; `reference_embedding` [b, width]; `audio` windows A(f)
    [b, f, 2m+1, layers, width], as many as there are frames to make.
    """

    reference_latents: torch.Tensor
    reference_embedding: torch.Tensor
    audio: torch.Tensor

    def to(self, device: str | torch.device) -> Conditions:
        return Conditions(
            self.reference_latents.to(device),
            self.reference_embedding.to(device),
            self.audio.to(device),
        )

    def part(self, start: int, frames: int) -> Conditions:
        """The segment from frame `start`; past the end the last window is held."""
        index = torch.arange(start, start + frames).clamp(max=self.audio.shape[1] - 1)
        return replace(self, audio=self.audio[:, index])

    def repeated(self, times: int) -> Conditions:
        """The same for several states of every video, batched together."""
        if times == 1:
            return self
        return Conditions(
            *(
                x.repeat(times, *[1] * (x.ndim - 1))
                for x in (self.reference_latents, self.reference_embedding, self.audio)
            )
        )

    def dropped(self) -> Conditions:
        """No reference and no audio: the other side of classifier-free guidance."""
        return Conditions(
            torch.zeros_like(self.reference_latents),
            torch.zeros_like(self.reference_embedding),
            torch.zeros_like(self.audio),
        )


@dataclass
class Trace:
    """Where the time of a generation went, in seconds, and how guidance acted."""

    solver: float = 0.0
    classifiers: float = 0.0
    codec: float = 0.0
    segments: int = 0
    steps: list[dict[str, float]] = field(default_factory=list)


_HALVES = ThreadPoolExecutor(2, thread_name_prefix="half-batch")

GuidanceFor = Callable[[Conditions, torch.Tensor | None], Guidance | None]
"""Makes a segment's guidance from its conditions and its first frame's latents (None: the
reference)."""


class Sampler:
    """DDIM over a UniVDM."""

    def __init__(
        self, model: UniVDM, config: UniVDMConfig, steps: int, cfg_scale: float = 1.0
    ) -> None:
        self.model = model.eval()
        self.scheduler = DDIMScheduler(**noise_schedule(config), set_alpha_to_one=False)
        self.scheduler.set_timesteps(steps)
        self.cfg_scale = cfg_scale

    @torch.no_grad()
    def segment(
        self,
        noise: torch.Tensor,
        conditions: Conditions,
        first_frame: torch.Tensor | None,
        guidance: Guidance | None,
        trace: Trace,
    ) -> torch.Tensor:
        """Denoise `noise` [b, C, f, h, w] to latents; `first_frame` [b, C, h, w] is its frame 0."""
        latents = noise
        steps = len(self.scheduler.timesteps)
        solver_time = 0.0

        def solve(state: torch.Tensor, timestep: torch.Tensor) -> torch.Tensor:
            nonlocal solver_time
            started = time.perf_counter()
            solved = self.solve(state, timestep, conditions, first_frame)
            solver_time += time.perf_counter() - started
            return solved

        for index, t in enumerate(self.scheduler.timesteps.to(noise.device)):
            timestep = t.expand(noise.shape[0])
            started, before = time.perf_counter(), solver_time
            if guidance is not None and guidance.acts_at(index, steps):
                sigma = float((1 - self.scheduler.alphas_cumprod[int(t)]) ** 0.5)
                moved, guided = guidance.step(solve, latents, timestep, sigma)
                trace.steps.append(
                    {
                        "timestep": float(t),
                        "update": guided.update_norm(latents),
                        "face_logit": guided.face_logit,
                        "non_face_logit": guided.non_face_logit,
                    }
                )
                latents = moved
            else:
                latents = solve(latents, timestep)
            spent = time.perf_counter() - started
            trace.classifiers += spent - (solver_time - before)
        trace.solver += solver_time
        trace.segments += 1
        return latents

    def solve(
        self,
        latents: torch.Tensor,
        timestep: torch.Tensor,
        conditions: Conditions,
        first_frame: torch.Tensor | None,
    ) -> torch.Tensor:
        """f_theta: one DDIM step from `timestep` (the same for the whole batch)."""
        times = latents.shape[0] // conditions.audio.shape[0]
        given = conditions.repeated(times)
        first = first_frame if first_frame is None else first_frame.repeat(times, 1, 1, 1)
        noise = self._predict(latents, timestep, given, first)
        if self.cfg_scale != 1:
            plain = self._predict(latents, timestep, given.dropped(), first)
            noise = plain + self.cfg_scale * (noise - plain)
        return self.scheduler.step(noise, int(timestep[0]), latents).prev_sample

    def _predict(
        self,
        latents: torch.Tensor,
        timestep: torch.Tensor,
        given: Conditions,
        first: torch.Tensor | None,
    ) -> torch.Tensor:
        """The network's output; on a CPU each half of the batch on a thread of its own, which small
        networks use better than PyTorch's threads inside each operation."""
        arguments = (
            network_input(latents, first),
            timestep,
            given.reference_latents,
            given.reference_embedding,
            given.audio,
        )
        if latents.device.type != "cpu" or len(latents) < 2:
            return self.model(*arguments)
        halves = zip(*(argument.chunk(2) for argument in arguments), strict=True)
        return torch.cat(list(_HALVES.map(lambda half: self._on_one_thread(*half), halves)))

    @torch.no_grad()
    def _on_one_thread(self, *arguments: torch.Tensor) -> torch.Tensor:
        torch.set_num_threads(1)
        return self.model(*arguments)

    def video(
        self,
        conditions: Conditions,
        segment_frames: int,
        generator: torch.Generator,
        *,
        first_frame: torch.Tensor | None = None,
        guidance_for: GuidanceFor | None = None,
        on_segment: Callable[[int, int], None] = lambda done, total: None,
        trace: Trace | None = None,
    ) -> torch.Tensor:
        """Latents [b, C, f, h, w] for all `f` audio windows, by chained segments.

        `first_frame` [b, C, h, w] is the video's frame 0, if it is known; without it the video
        starts from pure noise and the reference. The noise comes from `generator` on the CPU, so
        that a seed means the same noise on any machine.
        """
        trace = trace if trace is not None else Trace()
        frames = conditions.audio.shape[1]
        total = segment_count(frames, segment_frames)
        shape = conditions.reference_latents.shape
        pieces: list[torch.Tensor] = []
        last = first_frame
        for k in range(total):
            part = conditions.part(k * (segment_frames - 1), segment_frames)
            noise = torch.randn(shape[0], shape[1], segment_frames, *shape[2:], generator=generator)
            guidance = guidance_for(part, last) if guidance_for else None
            made = self.segment(noise.to(conditions.audio.device), part, last, guidance, trace)
            pieces.append(made if k == 0 else made[:, :, 1:])
            last = made[:, :, -1]
            on_segment(k + 1, total)
        return torch.cat(pieces, dim=2)[:, :, :frames]


def segment_count(frames: int, segment_frames: int) -> int:
    """How many chained segments make `frames` frames."""
    return 1 + max(0, -(-(frames - segment_frames) // (segment_frames - 1)))
