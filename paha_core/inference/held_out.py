"""Held-out clips to videos: what the stage `generated_clips` and the benchmark's tables share.

Clips are made `generation.batch` at a time and published with each batch, so that a killed run
loses no more. A clip's noise comes from its id and the seed alone: it is the same in every mode and
row, whatever else is in the batch.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import torch

from paha_core.config import Preset
from paha_core.engine.manifest_stage import KEPT, clip_key, kept_rows, stage_schema
from paha_core.inference.pipeline import PahaPipeline, Settings, describe
from paha_core.inference.sampling import Conditions
from paha_core.media import FPS
from paha_core.media.audio import write_wav
from paha_core.media.encode import write_video
from paha_core.media.frames import resize
from paha_core.media.video import read_frames
from paha_core.models.audio_encoder import SAMPLE_RATE, SAMPLES_PER_FRAME, audio_windows
from paha_core.shards.reader import ShardReader
from paha_core.shards.sample import ClipSample
from paha_core.store import Store, sha256_file, sha256_json
from paha_core.trained import CLASSIFIERS, fingerprint

CODE_VERSION = "6"
GENERATED_SCHEMA = stage_schema(
    pa.schema(
        [
            ("mode", pa.string()),
            ("gates_failed", pa.string()),  # classifiers that guided without having passed
            ("frames", pa.int32()),
            ("audio_path", pa.string()),  # what is heard, cut to the video's length
            ("real_path", pa.string()),  # the held-out clip
            ("reference", pa.string()),  # png
            ("reference_frame", pa.int32()),
            ("seconds", pa.float64()),  # to generate it; a batch's time is shared evenly
            ("seed", pa.int64()),
        ]
    )
)


@dataclass(frozen=True)
class HeldOut:
    """One held-out clip to generate; `stem`: where its voice and its reference picture go."""

    reader: ShardReader
    index: int
    real_path: str
    frames: int
    stem: str

    @property
    def row(self) -> dict[str, Any]:
        """Of the shards' manifest."""
        return self.reader.rows[self.index]

    @property
    def sample(self) -> ClipSample:
        return self.reader.read(self.index)

    @property
    def clip_id(self) -> str:
        return str(self.row["clip_id"])

    @property
    def reference_place(self) -> int:
        """Which of the stored reference frames is taken: of those that show a face (of all, where
        none does) the one nearest the middle, which is not the one the video starts with."""
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
        """Of the reference, float [4] xyxy in units of the side; empty where it shows no face."""
        return self.sample.faces[self.reference_frame]

    @property
    def voice(self) -> str:
        return f"{self.stem}.wav"

    @property
    def reference(self) -> str:
        return f"{self.stem}.reference.png"


def choose(store: Store, preset: Preset, folder: str = "generated") -> list[HeldOut]:
    """The first held-out clips of each speaker in turn, `generation.clips` in all, each cut to
    `generation.max_frames`."""
    reader = ShardReader(store, preset.corpora.datasets, "test")
    real = {
        row["clip_id"]: row["path"] for row in kept_rows(store, "clips", preset.corpora.datasets)
    }
    by_speaker: dict[str, list[int]] = {}
    for i, row in enumerate(reader.rows):
        by_speaker.setdefault(row["speaker"], []).append(i)
    longest = max(len(clips) for clips in by_speaker.values())
    turns = [clips[k] for k in range(longest) for clips in by_speaker.values() if k < len(clips)]
    return [
        HeldOut(
            reader,
            i,
            real[reader.rows[i]["clip_id"]],
            min(reader.frames[i], preset.generation.max_frames),
            f"{folder}/{clip_key(reader.rows[i]['clip_id'])}",
        )
        for i in turns[: preset.generation.clips]
    ]


_NOT_READ = {"modes", "clips", "batch", "max_frames", "guidance", "seed"}  # or put in by itself


def recipe(networks: Store, preset: Preset, how: Settings) -> str:
    """A hash of all but the clip that a video depends on. `networks` holds the checkpoints."""
    names = ("univdm",) if how.mode == "unguided" else ("univdm", *CLASSIFIERS)
    settings = preset.generation
    guidance = (how.guidance or settings.guidance).read_by(how.mode, settings.ddim_steps)
    read = settings.model_dump(mode="json", exclude=_NOT_READ)
    prints = [fingerprint(networks, name) for name in names]
    return sha256_json([CODE_VERSION, how.mode, guidance, read, how.seed, prints])


@dataclass
class VideoSet:
    """The videos of `clips` made in one way, and their manifest `rel`.

    `networks` holds the checkpoints, `path_of` says where a clip's video goes.
    """

    store: Store
    networks: Store
    preset: Preset
    clips: Sequence[HeldOut]
    how: Settings
    rel: str
    path_of: Callable[[HeldOut], str]

    def __post_init__(self) -> None:
        made_by = recipe(self.networks, self.preset, self.how)
        self.prints = {
            clip.clip_id: sha256_json([made_by, clip.row["fingerprint"], clip.frames])
            for clip in self.clips
        }
        before = self.store.read_table(self.rel).to_pylist() if self.store.exists(self.rel) else []
        self.rows: dict[str, dict[str, Any]] = {
            row["clip_id"]: row
            for row in before
            if row["fingerprint"] == self.prints.get(row["clip_id"])
            and self.store.exists(row["path"])
        }
        if len(before) != len(self.rows):
            self._write()  # what is not asked for any more leaves the manifest

    @property
    def todo(self) -> list[HeldOut]:
        return [clip for clip in self.clips if clip.clip_id not in self.rows]

    def make(self, pipeline: PahaPipeline) -> Iterator[int]:
        """Generate what is missing, `generation.batch` clips at a time; yields how many are in the
        store and in the manifest now.

        The longest clips come first: a batch is as long as its longest, and what does not fit into
        memory fails at once.
        """
        size = self.preset.generation.batch
        ordered = sorted(self.todo, key=lambda clip: (-clip.frames, clip.clip_id))
        for first in range(0, len(ordered), size):
            batch = ordered[first : first + size]
            for row in generate_batch(self.store, pipeline, batch, self.how, self.path_of):
                self.rows[row["clip_id"]] = row | {"fingerprint": self.prints[row["clip_id"]]}
            self._write()
            yield len(batch)

    def table(self) -> pa.Table:
        """The manifest, in the order of the clips."""
        names = GENERATED_SCHEMA.names
        rows = [self.rows[clip.clip_id] for clip in self.clips if clip.clip_id in self.rows]
        return pa.Table.from_pylist(
            [{name: row.get(name) for name in names} for row in rows], schema=GENERATED_SCHEMA
        )

    def _write(self) -> None:
        self.store.write_table(self.rel, self.table())


def publish_inputs(store: Store, clips: Sequence[HeldOut]) -> None:
    """Each clip's voice, cut to the video's length, and its reference picture."""
    import cv2

    for clip in clips:
        wave = clip.sample.wave[: clip.frames * SAMPLES_PER_FRAME].astype(np.float32) / 32768
        with store.writing(clip.voice) as target:
            write_wav(target, wave, SAMPLE_RATE)
        with store.reading(clip.real_path) as source:
            at = clip.reference_frame / FPS
            picture = read_frames(source, start=at, end=at + 0.04)[0]
        with store.writing(clip.reference) as target:
            cv2.imwrite(str(target), picture[:, :, ::-1])


def generate_batch(
    store: Store,
    pipeline: PahaPipeline,
    clips: Sequence[HeldOut],
    how: Settings,
    path_of: Callable[[HeldOut], str],
) -> list[dict[str, Any]]:
    """Rows of the manifest but for their fingerprint; the videos are in the store, and beside each
    a json that says what made it."""
    made = pipeline.generate(
        conditions_of(clips, max(clip.frames for clip in clips), pipeline.preset.audio.margin),
        np.stack([clip.face_box for clip in clips]),
        seeds=[noise_seed(how.seed, clip) for clip in clips],
        **vars(how),
    )
    failed = pipeline.gates_failed(how)
    said = describe(pipeline, made.trace, made.seconds) | {"mode": how.mode, "seed": how.seed}
    said |= {"gates_failed": failed, "batch": [clip.clip_id for clip in clips]}
    if how.guidance is not None:
        said["guidance"] = how.guidance.settings()
    shared: dict[str, Any] = {
        "seconds": made.seconds / len(clips),
        "seed": how.seed,
        "mode": how.mode,
    }
    shared |= {"gates_failed": ", ".join(failed), "status": KEPT, "reason": ""}
    rows = []
    for clip, video in zip(clips, made.frames, strict=True):
        path = path_of(clip)
        sha256 = _publish(store, pipeline.preset, clip, video[: clip.frames], path)
        store.write_json(f"{path.removesuffix('.mp4')}.json", said | {"clip": clip.clip_id})
        row = {name: clip.row[name] for name in ("clip_id", "dataset", "speaker", "split")}
        row |= {"path": path, "sha256": sha256, "frames": clip.frames}
        row |= {"audio_path": clip.voice, "real_path": clip.real_path}
        row |= {"reference": clip.reference, "reference_frame": clip.reference_frame}
        rows.append(row | shared)
    return rows


def noise_seed(seed: int, clip: HeldOut) -> int:
    return int(sha256_json([seed, clip.clip_id])[:12], 16)


def conditions_of(clips: Sequence[HeldOut], frames: int, margin: int) -> Conditions:
    """The batch's conditions; audio that ends early holds its last window."""
    samples = [clip.sample for clip in clips]
    windows = []
    for clip, sample in zip(clips, samples, strict=True):
        heard = audio_windows(sample.audio[: clip.frames].astype(np.float32), margin)
        windows.append(heard[np.minimum(np.arange(frames), clip.frames - 1)])
    latents = [s.latents[c.reference_frame] for s, c in zip(samples, clips, strict=True)]
    embeddings = [s.reference[c.reference_place] for s, c in zip(samples, clips, strict=True)]
    return Conditions(
        *(torch.from_numpy(np.stack(x).astype(np.float32)) for x in (latents, embeddings, windows))
    )


def _publish(store: Store, preset: Preset, clip: HeldOut, video: np.ndarray, path: str) -> str:
    """Video and voice as `path`; returns its sha256.

    The video is enlarged to the clip's size first: at 64 pixels H.264 would keep colour at 32.
    """
    wave = clip.sample.wave[: clip.frames * SAMPLES_PER_FRAME].astype(np.float32) / 32768
    frames = resize(video, preset.corpora.clip.size)
    with store.writing(path) as target:
        write_video(target, frames, fps=FPS, wave=wave, sample_rate=SAMPLE_RATE)
        return sha256_file(target)
