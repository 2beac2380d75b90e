"""One clip of the pipeline into one sample: read the outputs of the earlier stages, encode it.

Reading (`load_clip`) and encoding (`encode_clip`) are separate, so that the next clip is decoded
while the networks encode the present one.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from paha_core.engine.manifest_stage import Rejection, clip_key
from paha_core.errors import UserError
from paha_core.media import FPS
from paha_core.media.audio import read_audio
from paha_core.media.video import read_frames
from paha_core.models.audio_encoder import SAMPLE_RATE, fit_wave
from paha_core.models.protocols import AudioEncoder, LatentCodec, ReferenceEncoder
from paha_core.pose.face import FaceBoxes
from paha_core.shards.sample import ClipSample
from paha_core.store import Store

CODE_VERSION = "shards-1"
FRAMES_AT_ONCE = 64  # frames per codec call, so that a long clip is never float pixels as a whole


@dataclass(frozen=True)
class Encoders:
    """The frozen networks, and the other settings that decide a sample's content."""

    codec: LatentCodec
    audio: AudioEncoder
    reference: ReferenceEncoder
    size: int  # side of the codec's frames in pixels
    reference_frames: int  # R

    def names(self) -> dict[str, str]:
        """Names and hashes, as manifests and samples record them."""
        return {
            "codec": self.codec.name,
            "codec_sha256": self.codec.sha256,
            "audio_encoder": self.audio.name,
            "audio_encoder_sha256": self.audio.sha256,
            "reference_encoder": self.reference.name,
            "reference_encoder_sha256": self.reference.sha256,
        }

    def settings(self) -> list[Any]:
        """Their part of a clip's fingerprint."""
        return [self.names(), self.size, self.reference_frames, CODE_VERSION]


@dataclass(frozen=True)
class ClipJob:
    """A clip to encode: its rows in `clips`, `par_masks` and `face_boxes`."""

    clip: dict[str, Any]
    par: dict[str, Any]
    faces: dict[str, Any]
    fingerprint: str

    @property
    def clip_id(self) -> str:
        return str(self.clip["clip_id"])


@dataclass(frozen=True)
class LoadedClip:
    """A clip's T decoded frames with their audio, masks and face boxes."""

    job: ClipJob
    frames: np.ndarray  # uint8 [T, size, size, 3]
    wave: np.ndarray  # float32 [T * 640], 16 kHz
    par: np.ndarray  # float16 [T, g, g]
    regions: np.ndarray  # uint8 [T, g, g]
    faces: np.ndarray  # float32 [T, 4], units of the side
    face_found: np.ndarray  # bool [T]


def load_clip(store: Store, job: ClipJob, size: int) -> LoadedClip:
    """Decode and read one clip; picture, sound, masks and boxes must be equally long.

    Raises `Rejection` when they are not. A missing or broken file does not reject the clip but
    raises its reader's error.
    """
    with store.reading(job.clip["path"], job.clip["sha256"]) as path:
        frames = read_frames(path, size=size)
    with store.reading(job.clip["audio_path"]) as path:
        wave = read_audio(path, SAMPLE_RATE)
    with store.reading(job.par["path"]) as path, np.load(path, allow_pickle=False) as masks:
        par, regions = masks["weights"], masks["regions"]
    with store.reading(job.faces["path"]) as path:
        faces = FaceBoxes.load(path)
    counts = {
        "the clip's manifest": job.clip["frames"],
        "its PAR mask": len(par),
        "its region mask": len(regions),
        "its face boxes": len(faces.boxes),
    }
    for what, count in counts.items():
        if count != len(frames):
            raise Rejection(f"{len(frames)} frames in the video, but {count} in {what}")
    if job.clip["fps"] != FPS:
        raise Rejection(f"{job.clip['fps']} frames a second, not {FPS}")
    try:
        wave = fit_wave(wave, len(frames))
    except ValueError as error:
        raise Rejection(str(error)) from error
    height, width = faces.size
    boxes = faces.boxes / np.array([width, height, width, height], np.float32)
    return LoadedClip(job, frames, wave, par, regions, boxes.clip(0, 1), faces.found)


def encode_clip(loaded: LoadedClip, encoders: Encoders) -> ClipSample:
    """The sample of a loaded clip. Raises `UserError` when the PAR masks have another grid."""
    frames, count = loaded.frames, len(loaded.frames)
    latents = np.concatenate(
        [
            encoders.codec.encode(frames[i : i + FRAMES_AT_ONCE]).numpy().astype(np.float16)
            for i in range(0, count, FRAMES_AT_ONCE)
        ]
    )
    if loaded.par.shape[1:] != latents.shape[2:]:
        raise UserError(
            f"{loaded.job.clip_id}: PAR masks on a grid of {loaded.par.shape[1:]}, latents on "
            f"{latents.shape[2:]}: run par_masks again with this codec"
        )
    index = np.linspace(0, count - 1, min(encoders.reference_frames, count)).round()
    index = index.astype(np.int32)
    clip = loaded.job.clip
    return ClipSample(
        key=clip_key(loaded.job.clip_id),
        latents=latents,
        par=loaded.par.astype(np.float16),
        regions=loaded.regions.astype(np.uint8),
        audio=encoders.audio.encode(loaded.wave, count),
        faces=loaded.faces,
        face_found=loaded.face_found,
        reference=encoders.reference.encode(frames[index]),
        reference_index=index,
        wave=np.round(loaded.wave.clip(-1, 1) * 32767).astype(np.int16),
        meta={
            **{name: clip[name] for name in ("clip_id", "dataset", "speaker", "split")},
            **encoders.names(),
            "fps": FPS,
            "sample_rate": SAMPLE_RATE,
            "frames": count,
            "fingerprint": loaded.job.fingerprint,
        },
    )
