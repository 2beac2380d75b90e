"""A portrait and a voice to a video: what `paha generate`, the Dagster job and held-out generation
share.

    pipeline = PahaPipeline.from_pretrained("exported")
    made, wave = pipeline("me.jpg", "hello.wav", Settings(mode="sequential", seed=0))
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from einops import rearrange

from paha_core.config import GuidanceConfig, Mode, Precision, Solver, refused_precision
from paha_core.errors import run_first
from paha_core.inference.compiled import check_compiled
from paha_core.inference.components import PipelineComponents
from paha_core.inference.inputs import (
    InputError,
    Picture,
    Sound,
    frame_portrait,
    read_picture,
    read_voice,
)
from paha_core.inference.live import LiveSegment, live_segments
from paha_core.inference.sampling import Conditions, Sampler, segment_count
from paha_core.inference.segment_guidance import GateError, SegmentGuidanceFactory, guiding_parts
from paha_core.inference.sliding_window import sliding_window
from paha_core.inference.trace import Trace
from paha_core.models.audio_encoder import SAMPLES_PER_FRAME
from paha_core.trained import Part, classifier_name

OnSegment = Callable[[int, int], None]
OnStep = Callable[[], None]


@dataclass(frozen=True)
class Settings:
    """How a video is made; None takes the preset's value.

    Attributes:
        mode: unguided, sequential or differential guidance.
        seed: of the noise.
        steps: of the solver.
        solver: `ddim`, `dpm++2m` or `unipc`.
        max_seconds: cut the voice there.
        letterbox: keep the whole picture instead of cropping it to a square.
        guidance: strengths, rate and form of the guidance.
        precision: of UniVDM and the classifiers. The latents, and the gradient that guides them,
            are float32 in all.
        force: guide also by classifiers that failed their gate.
    """

    mode: Mode = "sequential"
    seed: int = 0
    steps: int | None = None
    max_seconds: float | None = None
    letterbox: bool = False
    guidance: GuidanceConfig | None = None
    precision: Precision | None = None
    force: bool = False
    solver: Solver | None = None


@dataclass(frozen=True)
class Generated:
    """A batch of videos, and where the time went."""

    frames: np.ndarray  # uint8 RGB [b, T, size, size, 3]
    trace: Trace
    seconds: float


class PahaPipeline(PipelineComponents):
    """Generates videos. `from_store` opens the networks that a run has trained, `from_pretrained` a
    folder that `save_pretrained` wrote."""

    def __call__(
        self,
        image: Picture,
        audio: Sound,
        settings: Settings = Settings(),
        *,
        on_segment: OnSegment = lambda done, total: None,
    ) -> tuple[Generated, np.ndarray]:
        """Generate a video of `image` speaking `audio`.

        Args:
            image: a file, a PIL image, or uint8 RGB [H, W, 3] of one person.
            audio: any audio or video file, or float samples [N] at 16 kHz.
            settings: mode, seed, steps and so on.
            on_segment: called after each segment with the number done and the total.

        Returns:
            A batch of one video, as long as the voice to within one frame, and the voice at 16 kHz.

        Raises:
            InputError: a picture without exactly one face, or a voice that is empty or silent.
            GateError: guidance by a classifier that did not pass its gate.
        """
        self.check(settings)
        conditions, box, wave = self.conditions(image, audio, settings)
        return self.generate(conditions, box[None], settings, on_segment=on_segment), wave

    def conditions(
        self, image: Picture, audio: Sound, settings: Settings
    ) -> tuple[Conditions, np.ndarray, np.ndarray]:
        """The conditions of a batch of one, the portrait's face box [4] in 0..1, and the voice as
        16 kHz mono."""
        wave = read_voice(audio, settings.max_seconds)
        latents, embedding, box = self._portrait(image, settings)
        with self.on_device(self.audio):
            features = self.audio.encode(wave, len(wave) // SAMPLES_PER_FRAME)
        windows = window_view(features.astype(np.float32), self.preset.audio.margin)
        return Conditions(latents, embedding, torch.from_numpy(windows)[None]), box, wave

    def _portrait(
        self, image: Picture, settings: Settings
    ) -> tuple[torch.Tensor, torch.Tensor, np.ndarray]:
        """Latents [1, C, h, w] and embedding [1, width] of a portrait, and its face box [4]."""
        picture, box = frame_portrait(
            read_picture(image), self.preset.codec.size, self.preset.pose, settings.letterbox
        )
        with self.on_device(self.reference):
            embedding = self.reference.encode(picture)
        with self.on_device(self.codec):
            latents = self.codec.encode(picture)
        return latents, torch.from_numpy(embedding.astype(np.float32)), box

    def generate(
        self,
        conditions: Conditions,
        face_boxes: np.ndarray,
        settings: Settings = Settings(),
        *,
        seeds: Sequence[int] = (),
        on_segment: OnSegment = lambda done, total: None,
    ) -> Generated:
        """Generate a batch of videos.

        Args:
            conditions: of the batch.
            face_boxes: the references' face boxes, xyxy in units of the side, float [b, 4].
            settings: mode, seed, steps and so on.
            seeds: one for each video, which then is the same in any batch. Without them
                `settings.seed` is the seed of the batch as a whole.
            on_segment: called after each segment with the number done and the total.
        """
        trace, started = Trace(), time.perf_counter()
        pieces = list(self.stream(conditions, face_boxes, settings, trace, on_segment, seeds))
        return Generated(np.concatenate(pieces, axis=1), trace, time.perf_counter() - started)

    def stream(
        self,
        conditions: Conditions,
        face_boxes: np.ndarray,
        settings: Settings,
        trace: Trace,
        on_segment: OnSegment = lambda done, total: None,
        seeds: Sequence[int] = (),
        on_step: OnStep = lambda: None,
    ) -> Iterator[np.ndarray]:
        """The frames of `generate`, uint8 [b, f, H, W, 3], as each segment adds them: memory does
        not grow with the video. `on_step` is called before each sampling step, and ends the
        generation by raising. Raises before the first segment where generation can't begin."""
        # 1. check the settings
        self.check(settings)
        generation = self.preset.generation

        # 2. sampler and guidance
        sampler = self._sampler(settings, on_step)
        factory = self._guidance_factory(face_boxes, settings)

        # 3. noise
        generators = [torch.Generator().manual_seed(seed) for seed in seeds]
        generator = generators or torch.Generator().manual_seed(settings.seed)

        # 4. denoise one segment after the other
        segment_frames = generation.segment_frames
        self._check_compiled(sampler, conditions.part(0, segment_frames), factory)
        if generation.long_video == "sliding_window":
            whole = sliding_window(sampler, conditions, segment_frames, generator, trace)
            pieces, total = iter([whole]), 1
        else:
            pieces = sampler.segments(
                conditions, segment_frames, generator, guidance_factory=factory, trace=trace
            )
            total = segment_count(conditions.audio.shape[1], segment_frames)
        for done, latents in enumerate(pieces, start=1):
            # 5. decode
            decoding = time.perf_counter()
            frames = self._decode(latents)

            # 6. the next segment's condition image is the last frame
            if factory is not None and done < total:
                factory.update_face_boxes(frames[:, -1])
            trace.codec += time.perf_counter() - decoding
            on_segment(done, total)
            yield frames

    def stream_live(
        self,
        image: Picture,
        chunks: Iterable[np.ndarray],
        settings: Settings,
        trace: Trace,
        on_segment: OnSegment = lambda done, total: None,
    ) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        """The frames of a voice that is being spoken, uint8 [f, H, W, 3], and their sound, float
        mono at 16 kHz, as each segment adds them. `chunks` are float mono [N] at 16 kHz of any
        length; `on_segment` gets the segments done so far as their total too."""
        self.check(settings)
        generation = self.preset.generation
        if generation.long_video == "sliding_window":
            raise InputError("averaged windows need the whole voice: use long_video: chain")
        latents, embedding, box = self._portrait(image, settings)
        factory = self._guidance_factory(box[None], settings)
        generator = torch.Generator().manual_seed(settings.seed)
        added: list[LiveSegment] = []
        frames = np.zeros(0, np.uint8)

        def parts() -> Iterator[Conditions]:
            margin = self.preset.audio.margin
            segments = live_segments(chunks, self.audio, generation.segment_frames, margin)
            for segment in segments:
                if factory is not None and added:
                    factory.update_face_boxes(frames[-1:])
                added.append(segment)
                part = Conditions(latents, embedding, segment.windows[None])
                self._check_compiled(sampler, part, factory)
                yield part

        with self.on_device(self.audio):
            sampler = self._sampler(settings)
            pieces = sampler.chain(parts(), generator, guidance_factory=factory, trace=trace)
            for done, made in enumerate(pieces, start=1):
                frames = self._decode(made[:, :, : added[-1].new_frames])[0]
                on_segment(done, done)
                yield frames, added[-1].wave

    def _sampler(self, settings: Settings, on_step: OnStep = lambda: None) -> Sampler:
        generation = self.preset.generation
        return Sampler(
            self.univdm,
            self.preset.univdm,
            settings.steps or self.preset.num_inference_steps,
            1.0 if generation.fast else generation.cfg_scale,
            self.precision(settings),
            "ddim" if generation.fast else settings.solver or generation.solver,
            on_step,
        )

    def _check_compiled(
        self, sampler: Sampler, part: Conditions, factory: SegmentGuidanceFactory | None
    ) -> None:
        """Before the first video of compiled networks, and the first guided one."""
        if self.preset.generation.compile and (factory is not None) not in self.checked:
            check_compiled(sampler, part, factory)
            self.checked.add(factory is not None)

    def _decode(self, latents: torch.Tensor) -> np.ndarray:
        """Latents [b, C, f, h, w] as uint8 RGB [b, f, H, W, 3]."""
        with self.on_device(self.codec):
            flat = self.codec.decode(rearrange(latents, "b c f h w -> (b f) c h w"))
        return rearrange(flat, "(b f) h w c -> b f h w c", b=latents.shape[0])

    def check(self, settings: Settings) -> None:
        """Raise where no video can be generated with these settings, whatever the inputs.

        Raises:
            FileNotFoundError: a classifier that guides is missing.
            GateError: a classifier that guides did not pass its audio-swap gate.
            InputError: guidance together with averaged windows, or steps or a solver that the
                student was not trained for, or a precision that the device can't compute in.
        """
        generation, steps = self.preset.generation, self.preset.num_inference_steps
        if generation.fast and (settings.steps or steps, settings.solver or "ddim") != (
            steps,
            "ddim",
        ):
            raise InputError(
                f"univdm_fast was trained for {steps} steps of ddim: leave out steps and solver, "
                "or fast"
            )
        precision = self.precision(settings)
        if refused := refused_precision("generation", precision, generation.compile, self.device):
            raise InputError(refused)
        if settings.mode == "unguided":
            return
        if generation.long_video == "sliding_window":
            raise InputError("long_video sliding_window is unguided: use --mode unguided")
        missing = [
            classifier_name(part)
            for part in self._guiding_parts(settings)
            if part not in self.classifiers
        ]
        if missing:
            raise FileNotFoundError(
                f"{settings.mode} guidance needs {' and '.join(missing)}: {run_first(*missing)}"
            )
        failed = self.gates_failed(settings)
        if failed and not (settings.force or generation.force_guidance):
            raise GateError(
                f"{' and '.join(failed)} did not pass the audio-swap gate with this guidance, so "
                f"{settings.mode} guidance is refused: force it (--force, or "
                "generation.force_guidance), or generate unguided"
            )

    def gates_failed(self, settings: Settings) -> list[str]:
        """Names of the classifiers that guide without having passed their gate."""
        return [
            classifier_name(part)
            for part in self._guiding_parts(settings)
            if not self.gates.get(part, False)
        ]

    def precision(self, settings: Settings) -> Precision:
        """What the networks compute in."""
        return settings.precision or self.preset.generation.precision

    def _guiding_parts(self, settings: Settings) -> list[Part]:
        guidance = settings.guidance or self.preset.generation.guidance
        return [] if settings.mode == "unguided" else guiding_parts(guidance)

    def _guidance_factory(
        self, face_boxes: np.ndarray, settings: Settings
    ) -> SegmentGuidanceFactory | None:
        if settings.mode == "unguided":
            return None
        guidance = settings.guidance or self.preset.generation.guidance
        return SegmentGuidanceFactory(
            settings.mode,
            self.classifiers,
            face_boxes,
            guidance,
            self.preset.pose,
            self.precision(settings),
        )


def window_view(features: np.ndarray, margin: int) -> np.ndarray:
    """`audio_windows` of a whole clip, [T, 2m+1, layers, width], as a view of `features`: an
    hour of wav2vec2's windows would fill the memory."""
    padded = np.pad(features, ((margin, margin), (0, 0), (0, 0)), mode="edge")
    view = np.lib.stride_tricks.sliding_window_view(padded, 2 * margin + 1, 0, writeable=True)
    return np.moveaxis(view, -1, 1)


def describe(pipeline: PahaPipeline, trace: Trace, seconds: float) -> dict[str, Any]:
    """The provenance of a video for its sidecar: preset, networks by hash, times, guided steps."""
    return {
        "preset": pipeline.preset.model_dump(mode="json"),
        "networks": pipeline.networks,
        "adapters": pipeline.acting_adapters(),
        "seconds": {
            "total": seconds,
            "solver": trace.solver,
            "classifiers": trace.classifiers,
            "codec": trace.codec,
        },
        "segments": trace.segments,
        "guided_steps": trace.steps,
    }
