"""Self-distilled negative samples for the classifiers (paper 4.1.3, B.3; DESIGN 8).

UniVDM as it was at 60 % of its training speaks with a real voice from a real first frame, with a
randomly sampled reference of the same speaker. Real and generated samples are latents of one codec,
so nothing but the generation tells them apart. One shard a batch: a run that was killed goes on
with the next one.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from paha_core.config import NegativeConfig, Preset
from paha_core.inference.sampling import Conditions, Sampler
from paha_core.models.audio_encoder import SAMPLES_PER_FRAME, audio_windows
from paha_core.models.trained import load_univdm
from paha_core.progress import Progress
from paha_core.shards.reader import ShardReader
from paha_core.shards.sample import ClipSample
from paha_core.shards.writer import write_index, write_shards
from paha_core.stages import KEPT, StageResult, clip_key, kept_rows, read_manifest
from paha_core.store import Store, sha256_json

CODE_VERSION = "4"
STAGE = "negative_samples"
TEST_SHARE = 0.25  # of the training negatives' number are made of held-out clips, for validation


@dataclass(frozen=True)
class Plan:
    """One negative: frames `start` to `start + frames` of clip `voice` spoken by clip `face` (a
    reader's indices)."""

    number: int
    voice: int
    start: int  # anywhere, as real windows: clips begin with silence, which would tell
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
    came from."""
    config = preset.negatives
    source = store.read_json("checkpoints/univdm/for_negatives/training.json")
    model = load_univdm(store, "for_negatives", device)
    sampler = Sampler(model, preset.univdm, config.ddim_steps)
    datasets = preset.corpora.datasets
    results = {}
    for dataset in datasets:
        present = {row["split"] for row in kept_rows(store, "training_shards", [dataset])}
        readers = {
            split: ShardReader(store, [dataset], split)
            for split in ("train", "test")
            if split in present
        }
        groups = [
            group
            for split, reader in readers.items()
            for group in plan(reader, dataset, split, config, len(datasets))
        ]
        before = {row["clip_id"]: row for row in read_manifest(store, STAGE, dataset)}
        rows: list[dict[str, Any]] = []
        computed = 0
        with Progress(len(groups), f"{STAGE} {dataset}", "batch") as progress:
            for group in groups:
                reader = readers[group.split]
                print_ = fingerprint(group, reader, source["fingerprint"], config)
                old = [before.get(negative_id(group, p)) for p in group.plans]
                if all(
                    row and row["fingerprint"] == print_ and store.exists(row["shard"])
                    for row in old
                ):
                    rows += [row for row in old if row]
                else:
                    provenance = {"checkpoint": source["fingerprint"], "step": source["step"]}
                    samples = generate(group, reader, sampler, preset, provenance, device)
                    made = write_shards(
                        store, group.prefix, samples, clips_per_shard=len(group.plans)
                    )
                    rows += [row | {"fingerprint": print_} for row in made]
                    computed += len(made)
                    write_index(store, STAGE, dataset, rows)
                progress.update()
        table = write_index(store, STAGE, dataset, rows)
        results[dataset] = StageResult(table, computed, len(rows) - computed)
    return results


def plan(
    reader: ShardReader, dataset: str, split: str, config: NegativeConfig, datasets: int
) -> list[Group]:
    """What to generate: `count` over all datasets for training, lengths uniform, one voice after
    the other."""
    rng = np.random.default_rng([config.seed, len(reader), split == "test"])
    count = max(config.batch, round(config.count / datasets))
    if split == "test":
        count = max(config.batch, round(count * TEST_SHARE))
    lengths = [n for n in config.lengths if n <= max(reader.frames)]
    groups = []
    for number in range(-(-count // config.batch)):
        frames = lengths[number % len(lengths)] if config.augment else lengths[-1]
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


def fingerprint(group: Group, reader: ShardReader, checkpoint: str, config: NegativeConfig) -> str:
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
    return sha256_json(
        [CODE_VERSION, checkpoint, config.ddim_steps, config.seed, clips, group.number]
    )


def generate(
    group: Group,
    reader: ShardReader,
    sampler: Sampler,
    preset: Preset,
    provenance: dict[str, Any],
    device: str,
) -> Iterator[ClipSample]:
    """The samples of one group, generated as one batch."""
    voices = [reader.read(p.voice) for p in group.plans]
    faces = [reader.read(p.face) for p in group.plans]
    frames = group.plans[0].frames
    conditions = Conditions(
        reference_latents=_stack(face.latents[p.reference] for face, p in zip(faces, group.plans)),
        reference_embedding=_stack(
            face.reference[np.abs(face.reference_index - p.reference).argmin()]
            for face, p in zip(faces, group.plans)
        ),
        audio=_stack(
            audio_windows(voice.audio, preset.audio.margin, p.start, p.start + frames)
            for voice, p in zip(voices, group.plans)
        ),
    ).to(device)
    first_frame = _stack(face.latents[0] for face in faces).to(device)
    draw = torch.Generator().manual_seed(preset.negatives.seed * 1_000_003 + group.number)
    latents = sampler.video(
        conditions, preset.generation.segment_frames, draw, first_frame=first_frame
    )
    made = latents.transpose(1, 2).cpu().numpy().astype(np.float16)
    for sample, voice, face, p in zip(made, voices, faces, group.plans):
        yield _sample(group, p, sample, voice, face, provenance)


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
    nearest = int(np.abs(face.reference_index - plan.reference).argmin())
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
