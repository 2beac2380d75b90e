"""Held-out clips: their selection, and the conditions to generate from."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import zip_longest

import numpy as np
import torch

from paha_core.config import Preset
from paha_core.engine.manifest_stage import clip_key, kept_rows
from paha_core.inference.pipeline import PahaPipeline
from paha_core.inference.sampling import Conditions
from paha_core.media import FPS
from paha_core.media.audio import write_wav
from paha_core.media.frames import resize
from paha_core.media.video import read_frames
from paha_core.models.audio_encoder import SAMPLE_RATE, SAMPLES_PER_FRAME, audio_windows
from paha_core.shards.reader import ShardReader
from paha_core.shards.sample import ClipSample
from paha_core.shards.writer import IndexRow
from paha_core.store import Store, sha256_json


@dataclass(frozen=True)
class HeldOutClip:
    """A held-out clip to generate. `stem`: where its voice and its reference picture are
    published."""

    reader: ShardReader
    index: int
    real_path: str
    frames: int
    stem: str

    @property
    def row(self) -> IndexRow:
        """Its row of the shards' manifest."""
        return self.reader.rows[self.index]

    @property
    def sample(self) -> ClipSample:
        return self.reader.read(self.index)

    @property
    def clip_id(self) -> str:
        return str(self.row["clip_id"])

    @property
    def reference_place(self) -> int:
        """Which of the stored reference frames is used: of those that show a face (of all, if none
        does) the one nearest the middle, which is not the one the video starts with."""
        sample = self.sample
        stored = sample.reference_index
        return min(
            range(len(stored)),
            key=lambda i: (not sample.face_found[stored[i]], abs(i - len(stored) // 2)),
        )

    @property
    def reference_frame(self) -> int:
        return int(self.sample.reference_index[self.reference_place])

    @property
    def face_box(self) -> np.ndarray:
        """Face box of the reference, float [4] xyxy in units of the side; empty if it shows no
        face."""
        return self.sample.faces[self.reference_frame]

    def reference_picture(self) -> np.ndarray:
        """The reference frame of the real clip, uint8 RGB [H, W, 3]."""
        start = self.reference_frame / FPS
        with self.reader.store.reading(self.real_path) as path:
            return read_frames(path, start=start, end=start + 1 / FPS)[0]

    @property
    def voice(self) -> str:
        return f"{self.stem}.wav"

    @property
    def reference(self) -> str:
        return f"{self.stem}.reference.png"


def select_clips(store: Store, preset: Preset, folder: str = "generated") -> list[HeldOutClip]:
    """Held-out clips of every data set: `generation.clips` of each (0: all), the first of each
    speaker in turn, each cut to `generation.max_frames` frames."""
    reader = ShardReader(store, preset.corpora.datasets, "test")
    real = {
        row["clip_id"]: row["path"] for row in kept_rows(store, "clips", preset.corpora.datasets)
    }
    selected = []
    for dataset in preset.corpora.datasets:
        by_speaker: dict[str, list[int]] = {}
        for i, row in enumerate(reader.rows):
            if row["dataset"] == dataset:
                by_speaker.setdefault(row["speaker"], []).append(i)
        turns = [i for turn in zip_longest(*by_speaker.values()) for i in turn if i is not None]
        selected += turns[: preset.generation.clips or None]
    return [
        HeldOutClip(
            reader,
            i,
            real[reader.rows[i]["clip_id"]],
            min(reader.frames[i], preset.generation.max_frames),
            f"{folder}/{clip_key(reader.rows[i]['clip_id'])}",
        )
        for i in selected
    ]


def publish_inputs(store: Store, clips: Sequence[HeldOutClip]) -> None:
    """Write each clip's voice, cut to the video's length, and its reference picture."""
    import cv2

    for clip in clips:
        wave = clip.sample.wave[: clip.frames * SAMPLES_PER_FRAME].astype(np.float32) / 32768
        with store.writing(clip.voice) as target:
            write_wav(target, wave, SAMPLE_RATE)
        with store.writing(clip.reference) as target:
            cv2.imwrite(str(target), clip.reference_picture()[:, :, ::-1])


def noise_seed(seed: int, clip: HeldOutClip) -> int:
    return int(sha256_json([seed, clip.clip_id])[:12], 16)


def conditions_of(pipeline: PahaPipeline, clips: Sequence[HeldOutClip], frames: int) -> Conditions:
    """Conditions of a batch, for `frames` frames; where a clip's audio ends early its last window
    is repeated. Reference latents are the shards' own, or encoded at `generation.size`."""
    preset = pipeline.preset
    samples = [clip.sample for clip in clips]
    windows = []
    for clip, sample in zip(clips, samples, strict=True):
        audio = sample.audio[: clip.frames].astype(np.float32)
        windows.append(
            audio_windows(audio, preset.audio.margin)[
                np.minimum(np.arange(frames), clip.frames - 1)
            ]
        )
    if preset.generation.size in (None, preset.codec.size):
        latents = [s.latents[c.reference_frame] for s, c in zip(samples, clips, strict=True)]
    else:
        pictures = np.concatenate(
            [resize(clip.reference_picture()[None], preset.evaluation_size) for clip in clips]
        )
        with pipeline.on_device(pipeline.codec):
            latents = list(pipeline.codec.encode(pictures).numpy())
    embeddings = [s.reference[c.reference_place] for s, c in zip(samples, clips, strict=True)]
    return Conditions(
        *(torch.from_numpy(np.stack(x).astype(np.float32)) for x in (latents, embeddings, windows))
    )
