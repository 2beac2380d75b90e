"""One portrait and one voice to one video: what `paha generate`, the Dagster job and held-out
generation share.

    pipeline = PahaPipeline.from_pretrained("exported")
    made, wave = pipeline("me.jpg", "hello.wav", mode="sequential", seed=0)
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from einops import rearrange

from paha_core.config import GuidanceConfig, Preset
from paha_core.inference.guidance import Mode
from paha_core.inference.guide import Guide, require_classifiers
from paha_core.inference.inputs import InputError, frame_portrait, read_picture, read_voice
from paha_core.inference.sampling import Conditions, Sampler, Trace, segment_count
from paha_core.inference.sliding_window import sliding_window
from paha_core.models.audio_encoder import (
    SAMPLES_PER_FRAME,
    open_audio_encoder,
)
from paha_core.models.protocols import AudioEncoder, LatentCodec, ReferenceEncoder
from paha_core.models.reference_encoder import open_reference_encoder
from paha_core.models.sync_classifier import SyncClassifier
from paha_core.models.trained import NAMES, Part, load_classifier, load_codec, load_univdm
from paha_core.models.univdm import UniVDM
from paha_core.pretrained import weights_sha256
from paha_core.store import Store

OnSegment = Callable[[int, int], None]


@dataclass(frozen=True)
class Settings:
    """How a video is made; null means the preset's.

    `precision` bf16 runs UniVDM and the classifiers in bfloat16. `force` guides also by classifiers
    that failed their gate.
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


@dataclass
class PahaPipeline:
    """UniVDM with its codec, encoders and classifiers.

    `from_store` opens what a run has trained, `from_pretrained` what `save_pretrained` wrote.
    `gates`: which classifiers passed the audio-swap test.
    """

    preset: Preset
    codec: LatentCodec
    univdm: UniVDM
    audio: AudioEncoder
    reference: ReferenceEncoder
    classifiers: dict[Part, SyncClassifier] = field(default_factory=dict)
    gates: dict[Part, bool] = field(default_factory=dict)
    device: str = "cpu"

    @classmethod
    def from_store(cls, store: Store, preset: Preset, device: str = "cpu") -> PahaPipeline:
        """Raises `FileNotFoundError` that names the stage whose weights are missing.

        Classifiers are opened where they are there; guided modes ask for both.
        """
        trained = [
            part for part in NAMES if store.exists(f"checkpoints/{NAMES[part]}/final/config.json")
        ]
        return cls(
            preset,
            load_codec(store, preset, device),
            load_univdm(store, device=device),
            open_audio_encoder(preset.audio, device),
            open_reference_encoder(preset.reference, device),
            {part: load_classifier(store, part, device=device) for part in trained},
            {part: passed_gate(store, part) for part in trained},
            device,
        )

    @classmethod
    def from_pretrained(cls, folder: str | Path, device: str = "cpu") -> PahaPipeline:
        """What `save_pretrained` wrote. Raises `FileNotFoundError` or `InputError` for a folder
        that holds no pipeline, or one whose encoders are not those it was trained with."""
        from paha_core.inference.folder import load_pipeline

        return load_pipeline(cls, Path(folder), device)

    def save_pretrained(self, folder: str | Path) -> None:
        """A folder with everything but the preset's pretrained encoders, which stay named."""
        from paha_core.inference.folder import save_pipeline

        save_pipeline(self, Path(folder))

    @cached_property
    def networks(self) -> dict[str, Any]:
        """Name and weights' sha256 of every network that makes a video, and how its gate went."""
        named = {
            role: {"name": network.name, "sha256": network.sha256}
            for role, network in (
                ("codec", self.codec),
                ("audio_encoder", self.audio),
                ("reference_encoder", self.reference),
            )
        }
        named["univdm"] = {"name": "univdm", "sha256": weights_sha256(self.univdm)}
        return named | {
            NAMES[part]: {
                "name": NAMES[part],
                "sha256": weights_sha256(classifier),
                "passed_gate": self.gates.get(part, False),
            }
            for part, classifier in self.classifiers.items()
        }

    def __call__(
        self,
        image: str | Path,
        audio: str | Path,
        *,
        on_segment: OnSegment = lambda done, total: None,
        **settings: Any,
    ) -> tuple[Generated, np.ndarray]:
        """A video of `image` speaking `audio` (any audio or video file), and the voice at 16 kHz.

        The video lasts as long as the voice to within one frame. `settings` are those of
        `Settings`. Raises `InputError` for a picture without exactly one face or a voice that is
        empty or silent, `GateError` for guidance that would be noise.
        """
        how = Settings(**settings)
        conditions, box, wave = self.conditions(image, audio, how)
        return self.generate(conditions, box[None], on_segment=on_segment, **settings), wave

    def conditions(
        self, image: str | Path, audio: str | Path, how: Settings
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
        settings = self.preset.generation
        guide = self._guide(face_boxes, how)
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
            if guide is not None:
                raise InputError("long_video sliding_window is unguided: use --mode unguided")
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

    def _guide(self, face_boxes: np.ndarray, how: Settings) -> Guide | None:
        if how.mode == "unguided":
            return None
        settings = self.preset.generation
        force = how.force or settings.force_guidance
        require_classifiers(how.mode, self.classifiers, self.gates, force)
        return Guide(
            how.mode,
            self.classifiers,
            face_boxes,
            how.guidance or settings.guidance,
            self.preset.pose,
            bf16=how.precision == "bf16",
        )


def window_view(features: np.ndarray, margin: int) -> np.ndarray:
    """`audio_windows` of a whole clip [T, 2m+1, layers, width], but as a view of `features`: an
    hour of wav2vec2's windows would fill the memory."""
    padded = np.pad(features, ((margin, margin), (0, 0), (0, 0)), mode="edge")
    view = np.lib.stride_tricks.sliding_window_view(padded, 2 * margin + 1, 0, writeable=True)
    return np.moveaxis(view, -1, 1)


def passed_gate(store: Store, part: Part) -> bool:
    """Whether a trained classifier passed; one that was never tested has not."""
    rel = f"checkpoints/{NAMES[part]}/gate.json"
    return bool(store.exists(rel) and store.read_json(rel)["passed"])


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
