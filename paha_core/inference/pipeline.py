"""One portrait and one voice to one video: what `paha generate` and held-out generation share."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from einops import rearrange

from paha_core.config import GuidanceConfig, Preset
from paha_core.inference.guidance import Guidance, Logit, Mode
from paha_core.inference.sampling import Conditions, GuidanceFor, Sampler, Trace
from paha_core.media.audio import read_audio
from paha_core.models.audio_encoder import (
    SAMPLE_RATE,
    SAMPLES_PER_FRAME,
    audio_windows,
    fit_wave,
    open_audio_encoder,
)
from paha_core.models.protocols import AudioEncoder, LatentCodec, ReferenceEncoder
from paha_core.models.reference_encoder import open_reference_encoder
from paha_core.models.sync_classifier import SyncClassifier
from paha_core.models.univdm import UniVDM
from paha_core.pose.face import detect_face_boxes
from paha_core.shards.windows import face_mask
from paha_core.store import Store
from paha_core.training.classifier import NAMES, Part, load_classifier
from paha_core.training.codec import load_codec
from paha_core.training.univdm import load_univdm

MAX_PICTURE_BYTES = 64 << 20


class InputError(ValueError):
    """A picture or a voice that no video can be made of; one sentence says why."""


@dataclass(frozen=True)
class Generated:
    """A batch of videos with where the time went."""

    frames: np.ndarray  # uint8 RGB [b, T, size, size, 3]
    trace: Trace
    seconds: float


@dataclass
class PahaPipeline:
    """UniVDM with its codec, encoders and classifiers; `from_store` opens what a run has
    trained."""

    preset: Preset
    codec: LatentCodec
    univdm: UniVDM
    audio: AudioEncoder
    reference: ReferenceEncoder
    classifiers: dict[Part, SyncClassifier] = field(default_factory=dict)
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
            device,
        )

    def __call__(
        self,
        image: str | Path,
        voice: str | Path,
        *,
        mode: Mode = "sequential",
        seed: int = 0,
        steps: int | None = None,
        max_seconds: float | None = None,
        guidance: GuidanceConfig | None = None,
        on_segment: Callable[[int, int], None] = lambda done, total: None,
    ) -> tuple[Generated, np.ndarray]:
        """A video of `image` speaking `voice` (any audio or video file), and the voice at 16 kHz.

        The video lasts as long as the voice to within one frame. Raises `InputError` for a picture
        without one face or a voice that is empty or silent, `MediaError` for files that can't be
        read.
        """
        wave = read_voice(voice, max_seconds)
        frames = len(wave) // SAMPLES_PER_FRAME
        picture, box = self.frame_portrait(image)
        features = self.audio.encode(wave, frames).astype(np.float32)
        conditions = Conditions(
            reference_latents=self.codec.encode(picture),
            reference_embedding=torch.from_numpy(self.reference.encode(picture).astype(np.float32)),
            audio=torch.from_numpy(audio_windows(features, self.preset.audio.margin))[None],
        )
        made = self.generate(
            conditions,
            box[None],
            mode=mode,
            seed=seed,
            steps=steps,
            guidance=guidance,
            on_segment=on_segment,
        )
        return made, wave

    def generate(
        self,
        conditions: Conditions,
        face_boxes: np.ndarray,
        *,
        mode: Mode,
        seed: int,
        steps: int | None = None,
        guidance: GuidanceConfig | None = None,
        on_segment: Callable[[int, int], None] = lambda done, total: None,
    ) -> Generated:
        """Videos for a batch of conditions.

        Args:
            face_boxes: the references' face boxes, xyxy in units of the side, float [b, 4].
        """
        settings = self.preset.generation
        sampler = Sampler(
            self.univdm, self.preset.univdm, steps or settings.ddim_steps, settings.cfg_scale
        )
        trace, started = Trace(), time.perf_counter()
        guide = self._guidance_for(mode, face_boxes, guidance or settings.guidance, trace)
        latents = sampler.video(
            conditions.to(self.device),
            settings.segment_frames,
            torch.Generator().manual_seed(seed),
            guidance_for=guide,
            on_segment=on_segment,
            trace=trace,
        )
        decoding = time.perf_counter()
        frames = self.codec.decode(rearrange(latents, "b c f h w -> (b f) c h w"))
        trace.codec += time.perf_counter() - decoding
        frames = rearrange(frames, "(b f) h w c -> b f h w c", b=latents.shape[0])
        return Generated(frames, trace, time.perf_counter() - started)

    def frame_portrait(self, image: str | Path) -> tuple[np.ndarray, np.ndarray]:
        """The picture cropped like training clips, uint8 [1, size, size, 3], and its face box [4]
        in 0..1.

        The square is as large as the picture allows, centred on the face from left to right, with
        the face in its upper half.
        """
        picture = read_picture(image)[None]
        height, width = picture.shape[1:3]
        box = self._one_face(picture)
        side = min(height, width)
        centre_x, centre_y = (box[0] + box[2]) / 2, (box[1] + box[3]) / 2
        left = int(np.clip(centre_x - side / 2, 0, width - side))
        top = int(np.clip(centre_y - 0.35 * side, 0, height - side))
        square = picture[:, top : top + side, left : left + side]
        size = self.preset.codec.size
        return resize(square, size), (box - [left, top, left, top]) / side

    def _one_face(self, picture: np.ndarray) -> np.ndarray:
        faces = detect_face_boxes(picture, self.preset.pose)
        if not faces.found[0]:
            raise InputError(
                "no face was found in the portrait: use a picture of one person, face to the camera"
            )
        return faces.boxes[0]

    def _guidance_for(
        self, mode: Mode, face_boxes: np.ndarray, config: GuidanceConfig, trace: Trace
    ) -> GuidanceFor | None:
        if mode == "unguided":
            return None
        missing = [NAMES[part] for part in NAMES if part not in self.classifiers]
        if missing:
            raise FileNotFoundError(
                f"{mode} guidance needs {' and '.join(missing)}: materialise them first"
            )
        boxes = face_boxes

        def guidance_for(conditions: Conditions, first_frame: torch.Tensor | None) -> Guidance:
            """M_face: the face box of the segment's condition image, static over the segment."""
            nonlocal boxes
            if first_frame is not None:
                started = time.perf_counter()
                boxes = self._boxes_of(first_frame, boxes)
                trace.codec += time.perf_counter() - started
            grid = conditions.reference_latents.shape[-2:]
            masks = [face_mask(box[None], np.array([True]), *grid) for box in boxes]
            mask = torch.from_numpy(np.stack(masks))[:, None, None].to(
                self.device
            )  # [b, 1, 1, h, w]
            return Guidance(
                mode,
                logit_of(self.classifiers["face"], conditions),
                logit_of(self.classifiers["non_face"], conditions),
                mask,
                config,
            )

        return guidance_for

    def _boxes_of(self, latents: torch.Tensor, before: np.ndarray) -> np.ndarray:
        """Face boxes of decoded condition images; where none is found the one before stays."""
        size = self.codec.factor * latents.shape[-1]
        frames = resize(self.codec.decode(latents), max(size, 256))
        boxes = []
        for frame, old in zip(frames, before, strict=True):
            faces = detect_face_boxes(frame[None], self.preset.pose)
            boxes.append(faces.boxes[0] / len(frame) if faces.found[0] else old)
        return np.stack(boxes)


def logit_of(classifier: SyncClassifier, conditions: Conditions) -> Logit:
    """A classifier as a function of latents and timestep alone; its weights need no gradient."""
    classifier.eval().requires_grad_(False)

    def logit(latents: torch.Tensor, timestep: torch.Tensor) -> torch.Tensor:
        return classifier(
            latents,
            timestep,
            conditions.reference_latents,
            conditions.reference_embedding,
            conditions.audio,
        )

    return logit


def read_voice(path: str | Path, max_seconds: float | None = None) -> np.ndarray:
    """float32 mono 16 kHz, cut or padded to whole frames. Raises `InputError` when empty or
    silent."""
    wave = read_audio(path, SAMPLE_RATE)
    if max_seconds is not None:
        wave = wave[: int(max_seconds * SAMPLE_RATE)]
    frames = round(len(wave) / SAMPLES_PER_FRAME)
    if frames < 2:
        raise InputError(f"{path}: the voice is shorter than two frames (0.08 s)")
    if np.abs(wave).max() < 1e-3:
        raise InputError(f"{path}: the voice is silent")
    return fit_wave(wave, frames)


def read_picture(path: str | Path) -> np.ndarray:
    """uint8 RGB [H, W, 3] of a picture file. Raises `InputError` when it is none, or is too big."""
    import cv2

    if Path(path).stat().st_size > MAX_PICTURE_BYTES:
        raise InputError(f"{path} is larger than {MAX_PICTURE_BYTES >> 20} MiB")
    picture = cv2.imdecode(np.fromfile(path, np.uint8), cv2.IMREAD_COLOR)
    if picture is None:
        raise InputError(f"{path} is not a picture that can be read")
    return np.ascontiguousarray(picture[:, :, ::-1])


def resize(frames: np.ndarray, size: int) -> np.ndarray:
    """uint8 [T, H, W, 3] to [T, size, size, 3]: area mean down, cubic up."""
    import cv2

    how = cv2.INTER_AREA if size < frames.shape[1] else cv2.INTER_CUBIC
    if frames.shape[1:3] == (size, size):
        return frames
    return np.stack([cv2.resize(frame, (size, size), interpolation=how) for frame in frames])


def describe(pipeline: PahaPipeline, made: Generated) -> dict[str, Any]:
    """What made a video, for its sidecar: encoders by name, times, and how guidance acted."""
    trace = made.trace
    return {
        "preset": pipeline.preset.name,
        "codec": [pipeline.codec.name, pipeline.codec.sha256],
        "audio_encoder": [pipeline.audio.name, pipeline.audio.sha256],
        "reference_encoder": [pipeline.reference.name, pipeline.reference.sha256],
        "seconds": {
            "total": made.seconds,
            "solver": trace.solver,
            "classifiers": trace.classifiers,
            "codec": trace.codec,
        },
        "segments": trace.segments,
        "guided_steps": trace.steps,
    }
