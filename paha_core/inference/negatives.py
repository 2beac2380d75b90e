"""Self-distilled negative samples for the classifiers (paper 4.1.3, B.3; docs/design.md 8).

UniVDM as it was at 60 % of its training speaks with a real voice from a real first frame, with a
randomly sampled reference of the same speaker. Real and generated samples are latents of one codec,
so nothing but the generation tells them apart. One shard a batch: a run that was killed goes on
with the batches that are missing.
"""

from __future__ import annotations

from collections.abc import Generator, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass
from queue import SimpleQueue
from typing import Any

import numpy as np
import pyarrow as pa
import torch

from paha_core.config import NegativeConfig, Preset
from paha_core.engine.manifest_stage import KEPT, StageResult, clip_key, kept_rows, read_manifest
from paha_core.engine.prefetch import ahead
from paha_core.engine.progress import Progress
from paha_core.errors import UserError
from paha_core.inference.sampling import Conditions, Sampler
from paha_core.models.audio_encoder import SAMPLES_PER_FRAME, audio_windows
from paha_core.models.load import load_univdm
from paha_core.pretrained import weights_sha256
from paha_core.shards.reader import ShardReader
from paha_core.shards.sample import ClipSample
from paha_core.shards.writer import write_index, write_shards
from paha_core.store import Store, sha256_json
from paha_core.trained import FOR_NEGATIVES, negatives_checkpoint

CODE_VERSION = "5"
STAGE = "negative_samples"
TEST_SHARE = 0.25  # of the training negatives' number are made of held-out clips, for validation


@dataclass(frozen=True)
class Plan:
    """One negative: frames `start` to `start + frames` of clip `voice` spoken by clip `face` (a
    reader's indices)."""

    number: int
    voice: int
    start: int  # anywhere, as real windows: clips begin with silence, which would give them away
    face: int
    reference: int  # frame of `face` that is the reference
    frames: int


@dataclass(frozen=True)
class Group:
    """A batch of negatives of one length: one shard."""

    dataset: str
    split: str
    number: int
    plans: list[Plan]

    @property
    def prefix(self) -> str:
        return f"negatives/{self.dataset}-{self.split}-{self.plans[0].frames:03d}-{self.number:05d}"


def make_negatives(store: Store, preset: Preset, device: str = "cpu") -> dict[str, StageResult]:
    """Bring the negatives of each dataset up to date with the 60 % checkpoint; rows name what they
    came from.

    On "cuda" every GPU of this host makes a batch at a time. A negative's noise comes from its own
    id, so what comes out does not depend on how many there are.
    """
    work = {dataset: Work(store, preset, dataset) for dataset in preset.classifier_datasets}
    devices = [device]
    if device == "cuda":
        devices = [f"cuda:{i}" for i in range(torch.cuda.device_count())]
    todo = any(one.todo for one in work.values())
    makers = [Maker(store, preset, device) for device in devices] if todo else []
    return {dataset: one.finish(makers) for dataset, one in work.items()}


class Work:
    """The batches of one dataset: those that are up to date, and those to generate."""

    def __init__(self, store: Store, preset: Preset, dataset: str) -> None:
        self.store, self.dataset = store, dataset
        rows = kept_rows(store, "training_shards", [dataset])
        self.readers = {
            split: ShardReader(store, [dataset], split)
            for split in ("train", "test")
            if split in {row["split"] for row in rows}
        }
        count = max(1, round(preset.negatives.count / len(preset.classifier_datasets)))
        self.groups = [
            group
            for split, reader in self.readers.items()
            for group in plan(reader, dataset, split, preset.negatives, count)
        ]
        before = {row["clip_id"]: row for row in read_manifest(store, STAGE, dataset)}
        checkpoint = negatives_checkpoint(store, preset)
        self.prints = [
            fingerprint(group, self.readers[group.split], checkpoint, preset)
            for group in self.groups
        ]
        self.rows: dict[int, list[dict[str, Any]]] = {}  # by place among the groups
        for place, (group, print_) in enumerate(zip(self.groups, self.prints, strict=True)):
            old = [before.get(negative_id(group, p)) for p in group.plans]
            standing = [row for row in old if row and row["fingerprint"] == print_]
            if len(standing) == len(old) and all(store.exists(row["shard"]) for row in standing):
                self.rows[place] = standing
        self.todo = [place for place in range(len(self.groups)) if place not in self.rows]

    def finish(self, makers: Sequence[Maker]) -> StageResult:
        """Make what is missing; the index names every batch that stands, also when a kill ends it
        half-way."""
        computed = 0
        with (
            Progress(len(self.todo), f"{STAGE} {self.dataset}", "batch") as progress,
            closing(self._made(makers)) as made,
        ):
            for place, samples in zip(self.todo, made, strict=True):
                group, print_ = self.groups[place], self.prints[place]
                rows = write_shards(
                    self.store, group.prefix, samples, clips_per_shard=len(group.plans)
                )
                self.rows[place] = [row | {"fingerprint": print_} for row in rows]
                computed += len(rows)
                self._write()
                progress.update()
        table = self._write()
        return StageResult(table, computed, len(table) - computed)

    def _made(self, makers: Sequence[Maker]) -> Generator[list[ClipSample]]:
        """The samples of each batch that is to be made, in order."""
        idle: SimpleQueue[Maker] = SimpleQueue()
        for maker in makers:
            idle.put(maker)

        def make(place: int) -> list[ClipSample]:
            maker, group = idle.get(), self.groups[place]
            try:
                return maker.make(group, self.readers[group.split])
            finally:
                idle.put(maker)

        if len(makers) > 1:
            yield from ahead(make, self.todo, depth=len(makers), threads=len(makers))
        else:
            yield from map(make, self.todo)

    def _write(self) -> pa.Table:
        rows = [row for place in sorted(self.rows) for row in self.rows[place]]
        return write_index(self.store, STAGE, self.dataset, rows)


def plan(
    reader: ShardReader, dataset: str, split: str, config: NegativeConfig, count: int
) -> list[Group]:
    """What to generate: `count` for training, lengths uniform, one voice after the other.

    Raises `UserError` where no clip has one of the lengths.
    """
    rng = np.random.default_rng([config.seed, len(reader), split == "test"])
    wanted = max(config.batch, round(count * TEST_SHARE) if split == "test" else count)
    lengths = config.lengths_within(max(reader.frames))
    if not lengths:
        raise UserError(f"no {split} clip of {dataset} has {min(config.lengths)} frames")
    groups = []
    for number in range(-(-wanted // config.batch)):
        frames = lengths[number % len(lengths)]
        fitting = [i for i, length in enumerate(reader.frames) if length >= frames]
        plans = []
        for i in range(config.batch):
            voice = fitting[(number * config.batch + i) % len(fitting)]
            speaker = reader.rows[voice]["speaker"]
            same = [j for j, row in enumerate(reader.rows) if row["speaker"] == speaker]
            face = int(rng.choice(same)) if config.augment else voice
            reference = int(rng.integers(reader.frames[face])) if config.augment else 0
            start = int(rng.integers(reader.frames[voice] - frames + 1))
            plans.append(Plan(number * config.batch + i, voice, start, face, reference, frames))
        groups.append(Group(dataset, split, number, plans))
    return groups


def negative_id(group: Group, plan: Plan) -> str:
    return f"{group.dataset}/negative/{group.split}-{plan.number:06d}"


def fingerprint(group: Group, reader: ShardReader, checkpoint: str, preset: Preset) -> str:
    """Of everything a group's samples depend on."""
    clips = [
        [
            reader.rows[p.voice]["fingerprint"],
            reader.rows[p.face]["fingerprint"],
            p.start,
            p.reference,
            p.frames,
        ]
        for p in group.plans
    ]
    return sha256_json([CODE_VERSION, checkpoint, _settings(preset), clips, group.number])


def _settings(preset: Preset) -> dict[str, int]:
    """How a sample is made beside what it is made of."""
    return {
        "ddim_steps": preset.negatives.ddim_steps,
        "segment_frames": preset.generation.segment_frames,
        "seed": preset.negatives.seed,
    }


class Maker:
    """Makes batches on one device, with UniVDM as it was at the checkpoint."""

    def __init__(self, store: Store, preset: Preset, device: str) -> None:
        self.preset, self.device = preset, device
        model = load_univdm(store, "for_negatives", device)
        self.sampler = Sampler(model, preset.univdm, preset.negatives.ddim_steps)
        trained = store.read_json(f"{FOR_NEGATIVES}/training.json")
        self.provenance = _settings(preset) | {
            "checkpoint": trained["fingerprint"],
            "step": trained["step"],
            "weights": weights_sha256(model),
        }

    def make(self, group: Group, reader: ShardReader) -> list[ClipSample]:
        """The samples of one group, generated as one batch."""
        voices = [reader.read(p.voice) for p in group.plans]
        faces = [reader.read(p.face) for p in group.plans]
        frames, margin = group.plans[0].frames, self.preset.audio.margin
        conditions = Conditions(
            reference_latents=_stack(
                face.latents[p.reference] for face, p in zip(faces, group.plans)
            ),
            reference_embedding=_stack(
                face.reference[_nearest(face, p.reference)] for face, p in zip(faces, group.plans)
            ),
            audio=_stack(
                audio_windows(voice.audio, margin, p.start, p.start + frames)
                for voice, p in zip(voices, group.plans)
            ),
        ).to(self.device)
        latents = self.sampler.video(
            conditions,
            self.preset.generation.segment_frames,
            [self._noise(negative_id(group, p)) for p in group.plans],
            first_frame=_stack(face.latents[0] for face in faces).to(self.device),
        )
        made = latents.transpose(1, 2).cpu().numpy().astype(np.float16)
        about = self.provenance | {"batch": group.number}
        return [
            _sample(group, p, sample, voice, face, about)
            for p, sample, voice, face in zip(group.plans, made, voices, faces, strict=True)
        ]

    def _noise(self, name: str) -> torch.Generator:
        seed = int(sha256_json([self.preset.negatives.seed, name])[:12], 16)
        return torch.Generator().manual_seed(seed)


def _nearest(face: ClipSample, frame: int) -> int:
    """Which of the clip's stored embeddings is the nearest to a frame's."""
    return int(np.abs(face.reference_index - frame).argmin())


def _sample(
    group: Group,
    plan: Plan,
    latents: np.ndarray,
    voice: ClipSample,
    face: ClipSample,
    provenance: dict[str, Any],
) -> ClipSample:
    """The generated latents with the voice they were made for and the face they were made from."""
    frames = plan.frames
    clip_id = negative_id(group, plan)
    # The boxes of the face's own frames stand for those made from it: masks of one shape for real
    # and generated, else the shape would give them away. So would a generated reference.
    at = np.minimum(np.arange(frames), face.frames - 1)
    nearest = _nearest(face, plan.reference)
    meta = voice.meta | {
        "clip_id": clip_id,
        "split": group.split,
        "frames": frames,
        "status": KEPT,
        "generated": True,
        "voice": voice.meta["clip_id"],
        "voice_start": plan.start,
        "face": face.meta["clip_id"],
        "reference_frame": plan.reference,
        **provenance,
    }
    grid = latents.shape[-2:]
    return ClipSample(
        key=clip_key(clip_id),
        latents=latents,
        par=np.ones((frames, *grid), np.float16),
        regions=np.zeros((frames, *grid), np.uint8),
        audio=voice.audio[plan.start : plan.start + frames],
        faces=face.faces[at],
        face_found=face.face_found[at],
        reference=face.reference[nearest : nearest + 1],
        reference_index=np.zeros(1, np.int32),
        wave=voice.wave[plan.start * SAMPLES_PER_FRAME :][: frames * SAMPLES_PER_FRAME],
        meta=meta,
        reference_latents=face.latents[plan.reference][None],
    )


def _stack(arrays: Iterator[np.ndarray]) -> torch.Tensor:
    return torch.from_numpy(np.stack([np.asarray(a, np.float32) for a in arrays]))
