"""Sampling of video latents: one segment, and a long video as a chain of segments (paper
B.4.1).

A segment's frame 0 is the last frame of the one before, given as latents: never decoded and encoded
again, which would drift in colour. So every segment after the first adds `frames - 1` frames.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial

import torch

from paha_core.config import Precision, Solver, UniVDMConfig
from paha_core.inference.guidance import ClassifierGuidance, GuidedStates
from paha_core.inference.halves import halves, on_each
from paha_core.inference.precision import autocast
from paha_core.inference.solvers import Solves, new_solver
from paha_core.inference.trace import Stopwatch, Trace
from paha_core.models.noise import sampling_scheduler
from paha_core.models.univdm import EncodedConditions, UniVDM, network_input


@dataclass(frozen=True)
class Conditions:
    """The conditions of a batch of videos.

    `reference_latents` [b, C, h, w]; `reference_embedding` [b, width]; `audio` windows A(f)
    [b, f, 2m+1, layers, width], one for each frame of the video.
    """

    reference_latents: torch.Tensor
    reference_embedding: torch.Tensor
    audio: torch.Tensor

    @property
    def inputs(self) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """The last three arguments of UniVDM's and the classifiers' `forward`."""
        return self.reference_latents, self.reference_embedding, self.audio

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

    def rows(self, rows: slice) -> Conditions:
        """Conditions of a slice of the batch."""
        return Conditions(
            self.reference_latents[rows], self.reference_embedding[rows], self.audio[rows]
        )

    def dropped(self) -> Conditions:
        """No reference and no audio, for the `uncond_pred` of classifier-free guidance."""
        return Conditions(
            torch.zeros_like(self.reference_latents),
            torch.zeros_like(self.reference_embedding),
            torch.zeros_like(self.audio),
        )


GuidanceFactory = Callable[[Conditions, slice, bool], ClassifierGuidance]
"""Makes the guidance of one segment from its conditions, the rows of the batch that it is for, and
whether their first frame is given."""

Generators = torch.Generator | Sequence[torch.Generator]
"""The source of noise: one generator for the batch, or one for each of its videos."""


def draw_noise(shape: tuple[int, ...], generators: Generators) -> torch.Tensor:
    """Noise [b, ...] on the CPU. A video with a generator of its own has the same noise in any
    batch."""
    if isinstance(generators, torch.Generator):
        return torch.randn(shape, generator=generators)
    return torch.stack([torch.randn(shape[1:], generator=one) for one in generators])


class Sampler:
    """A solver over a UniVDM.

    Parameters:
        model (`UniVDM`).
        config (`UniVDMConfig`): the noise schedule and what the network predicts.
        num_inference_steps (`int`).
        cfg_scale (`float`, defaults to 1): classifier-free guidance; 1 turns it off.
        precision (`str`, defaults to "fp32"): that of the network; latents are always float32.
        solver (`str`, defaults to "ddim").
        on_step: called before each step; what it raises ends the sampling.
    """

    def __init__(
        self,
        model: UniVDM,
        config: UniVDMConfig,
        num_inference_steps: int,
        cfg_scale: float = 1.0,
        precision: Precision = "fp32",
        solver: Solver = "ddim",
        on_step: Callable[[], None] = lambda: None,
    ) -> None:
        self.model, self.config = model.eval(), config
        self.scheduler = sampling_scheduler(config, num_inference_steps)
        self.solver, self.num_inference_steps = solver, num_inference_steps
        self.timesteps = self.new_solver().timesteps
        self.cfg_scale, self.precision, self.on_step = cfg_scale, precision, on_step

    def new_solver(self, changed: Collection[int] = ()) -> Solves:
        """A solver for one run; `changed` as `solvers.new_solver` says."""
        return new_solver(self.solver, self.config, self.num_inference_steps, changed)

    def sigma(self, timestep: int) -> float:
        """sigma_t = sqrt(1 - alpha_bar_t)."""
        return float(1 - self.scheduler.alphas_cumprod[timestep]) ** 0.5

    def segments(
        self,
        conditions: Conditions,
        segment_frames: int,
        generator: Generators,
        *,
        first_frame: torch.Tensor | None = None,
        guidance_factory: GuidanceFactory | None = None,
        trace: Trace | None = None,
    ) -> Iterator[torch.Tensor]:
        """The latents [b, C, f, h, w] that each chained segment adds, together one for each audio
        window.

        Args:
            conditions: of the whole video.
            segment_frames: length of a segment.
            generator: noise is drawn from it on the CPU, so that a seed means the same noise on
                any machine.
            first_frame: [b, C, h, w], the video's frame 0 if it is known; without it the video
                starts from pure noise and the reference.
            guidance_factory: makes each segment's guidance; None for unguided sampling.
            trace: takes times and the metrics of guided steps.
        """
        left = conditions.audio.shape[1]
        count = segment_count(left, segment_frames)
        parts = (conditions.part(k * (segment_frames - 1), segment_frames) for k in range(count))
        for latents in self.chain(
            parts,
            generator,
            first_frame=first_frame,
            guidance_factory=guidance_factory,
            trace=trace,
        ):
            new_latents = latents[:, :, :left]
            left -= new_latents.shape[2]
            yield new_latents

    def chain(
        self,
        parts: Iterable[Conditions],
        generator: Generators,
        *,
        first_frame: torch.Tensor | None = None,
        guidance_factory: GuidanceFactory | None = None,
        trace: Trace | None = None,
    ) -> Iterator[torch.Tensor]:
        """The latents that each segment adds: all of the first, all but frame 0 of those after it.
        `parts` are the conditions of one segment after the other, each taken when it is needed, so
        that sound may still be arriving; the rest is as in `segments`."""
        trace = trace if trace is not None else Trace()
        device = self.model.device
        last_noise: torch.Tensor | None = None
        for k, segment in enumerate(parts):
            # 1. conditions of the segment's frames
            part = segment.to(device)
            batch, channels, height, width = part.reference_latents.shape

            # 2. noise; the frame that continues the previous segment keeps the noise it was
            # generated from: with new noise its details would change, a visible jump at the seam
            shape = (batch, channels, part.audio.shape[1], height, width)
            noise = draw_noise(shape, generator).to(device)
            if last_noise is not None:
                noise[:, :, 0] = last_noise
            last_noise = noise[:, :, -1]

            # 3. denoise; on a CPU each half of the batch has a thread of its own
            denoise = partial(
                self.denoise,
                noise=noise,
                conditions=part,
                first_frame=first_frame,
                guidance_factory=guidance_factory,
            )
            rows = on_each(denoise, halves(batch, device))
            trace.add([traced for _, traced in rows], [len(made) for made, _ in rows])
            latents = torch.cat([made for made, _ in rows])

            # 4. the last frame is given to the next segment, which adds the frames after it
            first_frame = latents[:, :, -1]
            yield latents if k == 0 else latents[:, :, 1:]

    @torch.no_grad()
    def denoise(
        self,
        rows: slice,
        noise: torch.Tensor,
        conditions: Conditions,
        first_frame: torch.Tensor | None = None,
        guidance_factory: GuidanceFactory | None = None,
    ) -> tuple[torch.Tensor, Trace]:
        """Denoise the `rows` of one segment's batch.

        Args:
            rows: which videos of the batch.
            noise: [b, C, f, h, w].
            conditions: of the segment's frames.
            first_frame: [b, C, h, w], frame 0 of the segment, if it is given.
            guidance_factory: makes the rows' guidance.

        Returns:
            Latents [len(rows), C, f, h, w], and where the time went.
        """
        # 1. the rows of the batch, their encoded conditions and their guidance
        latents = noise = noise[rows]
        conditions = conditions.rows(rows)
        first_frame = None if first_frame is None else first_frame[rows]
        encoded, dropped = self.encode(conditions)
        has_first_frame = first_frame is not None
        guidance = guidance_factory(conditions, rows, has_first_frame) if guidance_factory else None
        total = len(self.timesteps)
        guided_steps = [i for i in range(total) if guidance and guidance.acts_at(i, total)]
        solver = self.new_solver(changed=guided_steps)
        solver_time, total_time = Stopwatch(noise.device), Stopwatch(noise.device)
        metrics: list[dict[str, float | torch.Tensor | None]] = []

        # 2. denoising loop
        with total_time.running():
            for i, t in enumerate(self.timesteps):
                self.on_step()
                sigma = self.sigma(t)
                if first_frame is not None:
                    # 3. frame 0 is reset to the given frame at this noise level, as in training;
                    # otherwise it drifts, and the next frames with it: a jump at the seam
                    known = (1 - sigma**2) ** 0.5 * first_frame + sigma * noise[:, :, 0]
                    latents = torch.cat([known[:, :, None], latents[:, :, 1:]], dim=2)

                # 4. guide: z* (equations 8 to 10), and with Differential Guidance its two parts
                guided: GuidedStates | None = None
                states: tuple[torch.Tensor, ...] = (latents,)
                if guidance is not None and i in guided_steps:
                    guided = guidance.guide(latents, t, sigma)
                    metrics.append({"timestep": t, **guided.metrics(latents)})
                    states = guidance.states(guided)

                # 5. predict the noise of all states as one batch
                with solver_time.running():
                    batched = torch.cat(states)
                    n = len(states)
                    noise_pred = self.predict_noise(
                        batched,
                        t,
                        encoded.repeated(n),
                        dropped and dropped.repeated(n),
                        None if first_frame is None else first_frame.repeat(n, 1, 1, 1),
                    )

                    # 6. f_theta: x_t -> x_t-1
                    batched = solver.step(noise_pred, i, batched, n)

                # 7. equation 11, or 12
                solved = batched.chunk(len(states))
                if guidance is not None and guided is not None:
                    latents = guidance.combine(guided, solved)
                else:
                    latents = solved[0]

        # Metrics are read at the end, because each read synchronises with the device.
        seconds = solver_time.seconds()
        steps = [{k: None if x is None else float(x) for k, x in m.items()} for m in metrics]
        return latents, Trace(seconds, total_time.seconds() - seconds, steps=steps)

    @torch.no_grad()
    def encode(self, conditions: Conditions) -> tuple[EncodedConditions, EncodedConditions | None]:
        """The encoded conditions, which all steps share, and those of dropped conditions for
        classifier-free guidance (None without)."""
        with autocast(self.model.device, self.precision):
            encoded = self.model.encode_conditions(*conditions.inputs)
            if self.cfg_scale == 1:
                return encoded, None
            return encoded, self.model.encode_conditions(*conditions.dropped().inputs)

    @torch.no_grad()
    def predict_noise(
        self,
        latents: torch.Tensor,
        timestep: int,
        encoded: EncodedConditions,
        dropped: EncodedConditions | None,
        first_frame: torch.Tensor | None,
    ) -> torch.Tensor:
        """The network's output for noisy `latents` [b, C, f, h, w] (noise or v, as trained), with
        classifier-free guidance if there are `dropped` conditions. The states of one video share
        two CPU threads as well."""
        parts = halves(len(latents), latents.device)
        if len(parts) > 1:
            return torch.cat(
                on_each(
                    lambda rows: self.predict_noise(
                        latents[rows],
                        timestep,
                        encoded.rows(rows),
                        dropped and dropped.rows(rows),
                        None if first_frame is None else first_frame[rows],
                    ),
                    parts,
                )
            )
        sample = network_input(latents, first_frame)
        timesteps = torch.full(latents.shape[:1], timestep, device=latents.device)
        with autocast(latents.device, self.precision):
            noise_pred = self.model.denoise(sample, timesteps, encoded).float()
            if dropped is None:
                return noise_pred
            uncond_pred = self.model.denoise(sample, timesteps, dropped).float()
        return uncond_pred + self.cfg_scale * (noise_pred - uncond_pred)

    def video(
        self,
        conditions: Conditions,
        segment_frames: int,
        generator: Generators,
        *,
        first_frame: torch.Tensor | None = None,
        guidance_factory: GuidanceFactory | None = None,
        trace: Trace | None = None,
    ) -> torch.Tensor:
        """Latents [b, C, f, h, w] for all `f` audio windows: `segments` as one tensor."""
        pieces = self.segments(
            conditions,
            segment_frames,
            generator,
            first_frame=first_frame,
            guidance_factory=guidance_factory,
            trace=trace,
        )
        return torch.cat(list(pieces), dim=2)


def segment_count(frames: int, segment_frames: int) -> int:
    """How many chained segments make `frames` frames."""
    return 1 + max(0, -(-(frames - segment_frames) // (segment_frames - 1)))
