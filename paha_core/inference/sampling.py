"""DDIM sampling of video latents: one segment, and a long video as a chain of segments (paper
B.4.1).

A segment's frame 0 is the last frame of the one before, given as latents: never decoded and encoded
again, which would drift in colour. So every segment after the first adds `frames - 1` frames.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace

import torch

from paha_core.config import UniVDMConfig
from paha_core.inference.guidance import Guidance
from paha_core.inference.halves import halves, on_each
from paha_core.inference.trace import Stopwatch, Trace
from paha_core.models.noise import sampling_scheduler
from paha_core.models.univdm import UniVDM, network_input


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

    def rows(self, rows: slice) -> Conditions:
        """Those of some of the batch's videos."""
        return Conditions(
            self.reference_latents[rows], self.reference_embedding[rows], self.audio[rows]
        )

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


GuidanceFor = Callable[[Conditions, slice], Guidance]
"""Makes the guidance of one segment from the conditions of the rows `slice` of the batch."""

Generators = torch.Generator | Sequence[torch.Generator]
"""Where noise comes from: one generator for the batch, or one for each of its videos."""


def draw(shape: tuple[int, ...], generators: Generators) -> torch.Tensor:
    """Noise [b, ...] on the CPU. A video with a generator of its own has the same noise in any
    batch."""
    if isinstance(generators, torch.Generator):
        return torch.randn(shape, generator=generators)
    return torch.stack([torch.randn(shape[1:], generator=one) for one in generators])


class Sampler:
    """DDIM over a UniVDM; `bf16` runs the network in bfloat16 and keeps the latents in float32."""

    def __init__(
        self,
        model: UniVDM,
        config: UniVDMConfig,
        steps: int,
        cfg_scale: float = 1.0,
        bf16: bool = False,
    ) -> None:
        self.model = model.eval()
        self.scheduler = sampling_scheduler(config, steps)
        self.timesteps: list[int] = self.scheduler.timesteps.tolist()
        self.cfg_scale, self.bf16 = cfg_scale, bf16

    def sigma(self, timestep: int) -> float:
        """sigma_t = sqrt(1 - alpha_bar_t)."""
        return float(1 - self.scheduler.alphas_cumprod[timestep]) ** 0.5

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
        solving, whole = Stopwatch(noise.device), Stopwatch(noise.device)
        figures: list[dict[str, float | torch.Tensor | None]] = []

        def solve(state: torch.Tensor, timestep: int) -> torch.Tensor:
            with solving.running():
                return self.solve(state, timestep, conditions, first_frame)

        with whole.running():
            for index, timestep in enumerate(self.timesteps):
                sigma = self.sigma(timestep)
                if first_frame is not None:
                    # What training shows: frame 0 is the given one at this noise level. Left to
                    # itself it drifts from it, and the next frames with it: a jump at the seam.
                    known = (1 - sigma**2) ** 0.5 * first_frame + sigma * noise[:, :, 0]
                    latents = torch.cat([known[:, :, None], latents[:, :, 1:]], dim=2)
                if guidance is not None and guidance.acts_at(index, len(self.timesteps)):
                    moved, guided = guidance.step(solve, latents, timestep, sigma)
                    figures.append({"timestep": timestep, **guided.figures(latents)})
                    latents = moved
                else:
                    latents = solve(latents, timestep)
        trace.solver += solving.seconds()
        trace.classifiers += whole.seconds() - solving.seconds()
        # Read at the end: a device would have to stop for each.
        trace.steps += [{k: None if x is None else float(x) for k, x in f.items()} for f in figures]
        return latents

    def solve(
        self,
        latents: torch.Tensor,
        timestep: int,
        conditions: Conditions,
        first_frame: torch.Tensor | None,
    ) -> torch.Tensor:
        """f_theta: one DDIM step from `timestep`."""
        times = latents.shape[0] // conditions.audio.shape[0]
        given = conditions.repeated(times)
        first = first_frame if first_frame is None else first_frame.repeat(times, 1, 1, 1)
        said = self.output(latents, timestep, given, first)
        return self.scheduler.step(said, timestep, latents).prev_sample

    def output(
        self,
        latents: torch.Tensor,
        timestep: int,
        given: Conditions,
        first: torch.Tensor | None,
    ) -> torch.Tensor:
        """What the network says of noisy `latents` [b, C, f, h, w] (noise or v, as trained), with
        classifier-free guidance; two threads share the states of a batch of one as well."""

        def some(rows: slice) -> torch.Tensor:
            part, state = given.rows(rows), latents[rows]
            start = None if first is None else first[rows]
            said = self._predict(state, timestep, part, start)
            if self.cfg_scale == 1:
                return said
            plain = self._predict(state, timestep, part.dropped(), start)
            return plain + self.cfg_scale * (said - plain)

        return torch.cat(on_each(some, halves(len(latents), latents.device)))

    @torch.no_grad()
    def _predict(
        self,
        latents: torch.Tensor,
        timestep: int,
        given: Conditions,
        first: torch.Tensor | None,
    ) -> torch.Tensor:
        with torch.autocast(latents.device.type, torch.bfloat16, enabled=self.bf16):
            said = self.model(
                network_input(latents, first),
                torch.full(latents.shape[:1], timestep, device=latents.device),
                given.reference_latents,
                given.reference_embedding,
                given.audio,
            )
        return said.float()

    def segments(
        self,
        conditions: Conditions,
        segment_frames: int,
        generator: Generators,
        *,
        first_frame: torch.Tensor | None = None,
        guidance_for: GuidanceFor | None = None,
        trace: Trace | None = None,
    ) -> Iterator[torch.Tensor]:
        """The latents [b, C, f, h, w] that each chained segment adds, together one for each audio
        window.

        `first_frame` [b, C, h, w] is the video's frame 0, if it is known; without it the video
        starts from pure noise and the reference. The noise comes from `generator` on the CPU, so
        that a seed means the same noise on any machine. On a CPU each half of the batch is made on
        a thread of its own, solver and classifiers alike.
        """
        trace = trace if trace is not None else Trace()
        left = conditions.audio.shape[1]
        shape, device = conditions.reference_latents.shape, self.model.device
        parts = halves(shape[0], device)
        last = first_frame
        # The noise that `last` was made from and keeps as the next segment's frame 0: with other
        # noise its details would be others a frame later, a jump at the seam.
        own: torch.Tensor | None = None
        for k in range(segment_count(left, segment_frames)):
            given = conditions.part(k * (segment_frames - 1), segment_frames).to(device)
            noise = draw((shape[0], shape[1], segment_frames, *shape[2:]), generator).to(device)
            if own is not None:
                noise[:, :, 0] = own
            own = noise[:, :, -1]

            def make(
                rows: slice,
                given: Conditions = given,
                noise: torch.Tensor = noise,
                last: torch.Tensor | None = last,
            ) -> tuple[torch.Tensor, Trace]:
                some, traced = given.rows(rows), Trace()
                guidance = guidance_for(some, rows) if guidance_for else None
                first = None if last is None else last[rows]
                return self.segment(noise[rows], some, first, guidance, traced), traced

            pieces = on_each(make, parts)
            trace.add([traced for _, traced in pieces], [len(piece) for piece, _ in pieces])
            made = torch.cat([piece for piece, _ in pieces])
            last = made[:, :, -1]
            new = (made if k == 0 else made[:, :, 1:])[:, :, :left]
            left -= new.shape[2]
            yield new

    def video(
        self,
        conditions: Conditions,
        segment_frames: int,
        generator: Generators,
        *,
        first_frame: torch.Tensor | None = None,
        guidance_for: GuidanceFor | None = None,
        trace: Trace | None = None,
    ) -> torch.Tensor:
        """Latents [b, C, f, h, w] for all `f` audio windows: the segments as one."""
        pieces = self.segments(
            conditions,
            segment_frames,
            generator,
            first_frame=first_frame,
            guidance_for=guidance_for,
            trace=trace,
        )
        return torch.cat(list(pieces), dim=2)


def segment_count(frames: int, segment_frames: int) -> int:
    """How many chained segments make `frames` frames."""
    return 1 + max(0, -(-(frames - segment_frames) // (segment_frames - 1)))
