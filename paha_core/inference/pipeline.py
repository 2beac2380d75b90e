"""One portrait and one voice to one video: what `paha generate`, the Dagster job and held-out
generation share.

    pipeline = PahaPipeline.from_pretrained("exported")
    made, wave = pipeline("me.jpg", "hello.wav", mode="sequential", seed=0)
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import torch
from einops import rearrange

from paha_core.config import GuidanceConfig, Mode
from paha_core.errors import run_first
from paha_core.inference.components import Networks
from paha_core.inference.inputs import (
    InputError,
    Picture,
    Voice,
    frame_portrait,
    read_picture,
    read_voice,
)
from paha_core.inference.sampling import Conditions, Sampler, segment_count
from paha_core.inference.segment_guidance import GateError, Guide, acting
from paha_core.inference.sliding_window import sliding_window
from paha_core.inference.trace import Trace
from paha_core.models.audio_encoder import SAMPLES_PER_FRAME
from paha_core.trained import Part, classifier_name

OnSegment = Callable[[int, int], None]


@dataclass(frozen=True)
class Settings:
    """How a video is made; null means the preset's.

    `precision` bf16 runs UniVDM in bfloat16; the classifiers stay in float32. `force` guides also
    by classifiers that failed their gate.
    """

    mode: Mode = "sequential"
    seed: int = 0
    steps: int | None = None
    max_seconds: float | None = None
    letterbox: bool = False
    guidance: GuidanceConfig | None = None
    precision: Literal["fp32", "bf16"] = "fp32"
    force: bool = False


@dataclass(frozen=True)
class Generated:
    """A batch of videos with where the time went."""

    frames: np.ndarray  # uint8 RGB [b, T, size, size, 3]
    trace: Trace
    seconds: float


class PahaPipeline(Networks):
    """Makes videos. `from_store` opens what a run has trained, `from_pretrained` what
    `save_pretrained` wrote."""

    def __call__(
        self,
        image: Picture,
        audio: Voice,
        *,
        on_segment: OnSegment = lambda done, total: None,
        **settings: Any,
    ) -> tuple[Generated, np.ndarray]:
        """A video of `image` (a file, a PIL image or uint8 RGB [H, W, 3]) speaking `audio` (any
        audio or video file, or float samples [N] at 16 kHz), and the voice at 16 kHz.

        The video lasts as long as the voice to within one frame. `settings` are those of
        `Settings`. Raises `InputError` for a picture without exactly one face or a voice that is
        empty or silent, `GateError` for guidance that would be noise.
        """
        how = Settings(**settings)
        self.check(how)
        conditions, box, wave = self.conditions(image, audio, how)
        return self.generate(conditions, box[None], on_segment=on_segment, **settings), wave

    def conditions(
        self, image: Picture, audio: Voice, how: Settings
    ) -> tuple[Conditions, np.ndarray, np.ndarray]:
        """Of a batch of one; the portrait's face box [4] in 0..1; the voice as 16 kHz mono."""
        wave = read_voice(audio, how.max_seconds)
        picture, box = frame_portrait(
            read_picture(image), self.preset.codec.size, self.preset.pose, how.letterbox
        )
        features = self.audio.encode(wave, len(wave) // SAMPLES_PER_FRAME).astype(np.float32)
        conditions = Conditions(
            reference_latents=self.codec.encode(picture),
            reference_embedding=torch.from_numpy(self.reference.encode(picture).astype(np.float32)),
            audio=torch.from_numpy(window_view(features, self.preset.audio.margin))[None],
        )
        return conditions, box, wave

    def generate(
        self,
        conditions: Conditions,
        face_boxes: np.ndarray,
        *,
        seeds: Sequence[int] = (),
        on_segment: OnSegment = lambda done, total: None,
        **settings: Any,
    ) -> Generated:
        """Videos for a batch of conditions; `settings` are those of `Settings`.

        Args:
            face_boxes: the references' face boxes, xyxy in units of the side, float [b, 4].
            seeds: one for each video, which then is the same in any batch; none: the settings'
                seed for the batch as a whole.
        """
        trace, started, how = Trace(), time.perf_counter(), Settings(**settings)
        pieces = list(self.stream(conditions, face_boxes, how, trace, on_segment, seeds))
        return Generated(np.concatenate(pieces, axis=1), trace, time.perf_counter() - started)

    def stream(
        self,
        conditions: Conditions,
        face_boxes: np.ndarray,
        how: Settings,
        trace: Trace,
        on_segment: OnSegment = lambda done, total: None,
        seeds: Sequence[int] = (),
    ) -> Iterator[np.ndarray]:
        """The frames of `generate`, uint8 [b, f, H, W, 3], as each segment adds them: memory does
        not grow with the video. Raises before the first segment where it can't begin."""
        self.check(how)
        settings, guide = self.preset.generation, self._guide(face_boxes, how)
        sampler = Sampler(
            self.univdm,
            self.preset.univdm,
            how.steps or settings.ddim_steps,
            settings.cfg_scale,
            bf16=how.precision == "bf16",
        )
        own = [torch.Generator().manual_seed(seed) for seed in seeds]
        noise = own or torch.Generator().manual_seed(how.seed)
        arguments = (conditions, settings.segment_frames, noise)
        if settings.long_video == "sliding_window":
            pieces: Iterator[torch.Tensor] = iter([sliding_window(sampler, *arguments, trace)])
            total = 1
        else:
            pieces = sampler.segments(*arguments, guidance_for=guide, trace=trace)
            total = segment_count(conditions.audio.shape[1], settings.segment_frames)
        for done, latents in enumerate(pieces, start=1):
            decoding = time.perf_counter()
            flat = self.codec.decode(rearrange(latents, "b c f h w -> (b f) c h w"))
            frames = rearrange(flat, "(b f) h w c -> b f h w c", b=latents.shape[0])
            if guide is not None and done < total:
                guide.look(frames[:, -1])
            trace.codec += time.perf_counter() - decoding
            on_segment(done, total)
            yield frames

    def check(self, how: Settings) -> None:
        """Raises where no video can be made so, whatever the picture and the voice:
        `FileNotFoundError` for a classifier that is missing, `GateError` for guidance that would be
        noise, `InputError` for guidance of averaged windows."""
        settings = self.preset.generation
        if how.mode == "unguided":
            return
        if settings.long_video == "sliding_window":
            raise InputError("long_video sliding_window is unguided: use --mode unguided")
        missing = [
            classifier_name(part) for part in self._acting(how) if part not in self.classifiers
        ]
        if missing:
            raise FileNotFoundError(
                f"{how.mode} guidance needs {' and '.join(missing)}: {run_first(*missing)}"
            )
        failed = self.gates_failed(how)
        if failed and not (how.force or settings.force_guidance):
            raise GateError(
                f"{' and '.join(failed)} did not pass the audio-swap gate as guidance is set, so "
                f"{how.mode} guidance is refused: force it (--force, or "
                "generation.force_guidance), or generate unguided"
            )

    def gates_failed(self, how: Settings) -> list[str]:
        """Names of the classifiers that guide so without having passed their gate."""
        return [
            classifier_name(part) for part in self._acting(how) if not self.gates.get(part, False)
        ]

    def _acting(self, how: Settings) -> list[Part]:
        guidance = how.guidance or self.preset.generation.guidance
        return [] if how.mode == "unguided" else acting(guidance)

    def _guide(self, face_boxes: np.ndarray, how: Settings) -> Guide | None:
        if how.mode == "unguided":
            return None
        guidance = how.guidance or self.preset.generation.guidance
        return Guide(how.mode, self.classifiers, face_boxes, guidance, self.preset.pose)


def window_view(features: np.ndarray, margin: int) -> np.ndarray:
    """`audio_windows` of a whole clip [T, 2m+1, layers, width], but as a view of `features`: an
    hour of wav2vec2's windows would fill the memory."""
    padded = np.pad(features, ((margin, margin), (0, 0), (0, 0)), mode="edge")
    view = np.lib.stride_tricks.sliding_window_view(padded, 2 * margin + 1, 0, writeable=True)
    return np.moveaxis(view, -1, 1)


def describe(pipeline: PahaPipeline, trace: Trace, seconds: float) -> dict[str, Any]:
    """What made a video, for its sidecar: networks by hash, times, and how guidance acted."""
    return {
        "preset": pipeline.preset.model_dump(mode="json"),
        "networks": pipeline.networks,
        "seconds": {
            "total": seconds,
            "solver": trace.solver,
            "classifiers": trace.classifiers,
            "codec": trace.codec,
        },
        "segments": trace.segments,
        "guided_steps": trace.steps,
    }
