"""Self-distilled negative samples for the classifiers (paper 4.1.3, B.3; docs/design.md 8).

UniVDM's checkpoint at 60 % of its training generates each from a real voice, a real first frame and
a randomly sampled reference of the same speaker. Real and generated samples are latents of one
codec, so they differ only in being generated.

Each negative is planned from its own number and has its own fingerprint. They are generated in
batches of one length, `negatives.batch` at a time, and every batch is a shard with a record of its
rows beside it. Any number of processes, on any hosts, take batches that nobody has claimed; the
manifest collects the records.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, cast

import numpy as np
import torch

from paha_core.config import NegativeConfig, Preset, refused_precision
from paha_core.engine.manifest_stage import KEPT, StageResult, clip_key, kept_rows, read_manifest
from paha_core.engine.progress import Progress
from paha_core.engine.shared_work import GpuWorkers, claimed_in_turn
from paha_core.errors import UserError
from paha_core.inference.compiled import check_compiled
from paha_core.inference.precision import repeatable
from paha_core.inference.sampling import Conditions, Sampler
from paha_core.models.audio_encoder import SAMPLES_PER_FRAME, audio_windows
from paha_core.models.compiled import compile_blocks
from paha_core.models.load import load_univdm
from paha_core.pretrained import weights_sha256
from paha_core.shards.reader import ShardReader
from paha_core.shards.sample import ClipSample
from paha_core.shards.writer import IndexRow, write_index, write_shards
from paha_core.store import Store, sha256_json
from paha_core.trained import FOR_NEGATIVES, negatives_checkpoint

CODE_VERSION = "6"
STAGE = "negative_samples"
FOLDER = "negatives"


@dataclass(frozen=True)
class Negative:
    """The plan of one negative: frames `start` to `start + frames` of clip `voice` spoken by clip
    `face` (indices of the reader)."""

    dataset: str
    split: str
    number: int
    voice: int
    start: int  # random, as for real windows: silence at the start would give it away
    face: int
    reference: int  # frame of `face` that is the reference
    frames: int

    @property
    def clip_id(self) -> str:
        return f"{self.dataset}/negative/{self.split}-{self.number:06d}"


@dataclass(frozen=True)
class NegativeBatch:
    """Negatives of one length that are generated side by side, and become one shard."""

    negatives: list[Negative]

    @property
    def name(self) -> str:
        first = self.negatives[0]
        return f"{first.dataset}-{first.split}-{first.frames:03d}-{first.number:06d}"


def make_negatives(store: Store, preset: Preset, device: str = "cpu") -> dict[str, StageResult]:
    """Bring the negatives of each dataset that the classifiers are trained on up to date with the
    60 % checkpoint; rows name what they came from.

    On "cuda" every GPU of this host has a process. A negative's noise comes from its own id, so the
    result does not depend on how many there are. Raises `UserError` for a precision that the device
    can't compute in.
    """
    config = preset.negatives
    if refused := refused_precision("negatives", config.precision, config.compile, device):
        raise UserError(refused)
    plans = {
        dataset: NegativePlan(store, preset, dataset) for dataset in preset.classifier_datasets
    }
    if not any(plan.todo for plan in plans.values()):
        return {dataset: plan.finish(0) for dataset, plan in plans.items()}
    with GpuWorkers(_generate_all, (store, preset), device) as own_device:
        computed = _generate_all(store, preset, own_device)
    return {dataset: plan.finish(computed[dataset]) for dataset, plan in plans.items()}


def _generate_all(store: Store, preset: Preset, device: str) -> dict[str, int]:
    """Generate what is missing and not claimed by others, until nothing is missing; returns how
    many negatives of each dataset this process has generated."""
    generator = NegativeGenerator(store, preset, device)
    return {
        dataset: NegativePlan(store, preset, dataset).generate(generator)
        for dataset in preset.classifier_datasets
    }


class NegativePlan:
    """The negatives of one dataset: which exist, and which are to be generated."""

    def __init__(self, store: Store, preset: Preset, dataset: str) -> None:
        self.store, self.preset, self.dataset = store, preset, dataset
        splits = {row["split"] for row in kept_rows(store, "training_shards", [dataset])}
        self.readers = {
            split: ShardReader(store, [dataset], split)
            for split in ("train", "test")
            if split in splits
        }
        self.negatives = [
            negative
            for split, reader in self.readers.items()
            for negative in plan(reader, dataset, split, preset.negatives, count_of(preset, split))
        ]
        checkpoint = negatives_checkpoint(store, preset)
        self.fingerprints = {
            n.clip_id: fingerprint(n, self.readers[n.split], checkpoint, preset)
            for n in self.negatives
        }
        self.rows: dict[str, IndexRow] = {}  # by clip id
        self._records: set[str] = set()  # records that have been read and whose shard exists
        self._add(cast(list[IndexRow], read_manifest(store, STAGE, dataset)), self._shards())
        self.refresh()

    @property
    def todo(self) -> list[Negative]:
        return [n for n in self.negatives if n.clip_id not in self.rows]

    def refresh(self) -> None:
        """Add the negatives that any process has generated since."""
        records = set(self.store.glob(f"{FOLDER}/{self.dataset}-*.json")) - self._records
        shards = self._shards() if records else set()
        for record in sorted(records):
            self._add(self.store.read_json(record), shards)
        self._records |= {r for r in records if f"{r.removesuffix('.json')}.tar" in shards}

    def generate(self, generator: NegativeGenerator) -> int:
        """Generate the batches that are missing, each under its claim, until all negatives exist;
        returns how many were generated here."""
        computed = 0
        batches = {batch.name: batch for batch in batched(self.negatives, self.preset.negatives)}
        with Progress(len(self.todo), f"{STAGE} {self.dataset}", "negative") as progress:
            for name in claimed_in_turn(
                self.store,
                f"{FOLDER}/{self.dataset}",
                list(batches),
                lambda name: not self._missing(batches[name]),
                lambda names: self.refresh(),
            ):
                todo = self._missing(batches[name])
                samples = generator.generate(todo, self.readers[todo[0].split])
                prefix = f"{FOLDER}/{NegativeBatch(todo).name}"
                rows = write_shards(self.store, prefix, samples, clips_per_shard=len(todo))
                for row in rows:
                    row["fingerprint"] = self.fingerprints[row["clip_id"]]
                self.store.write_json(f"{rows[0]['shard'].removesuffix('.tar')}.json", rows)
                self._add(rows, {rows[0]["shard"]})
                computed += len(rows)
                progress.update(len(rows))
        return computed

    def finish(self, computed: int) -> StageResult:
        """Write the manifest."""
        self.refresh()
        rows = [self.rows[n.clip_id] for n in self.negatives if n.clip_id in self.rows]
        table = write_index(self.store, STAGE, self.dataset, rows)
        return StageResult(table, computed, len(table) - computed)

    def _missing(self, batch: NegativeBatch) -> list[Negative]:
        return [n for n in batch.negatives if n.clip_id not in self.rows]

    def _shards(self) -> set[str]:
        return set(self.store.glob(f"{FOLDER}/{self.dataset}-*.tar"))

    def _add(self, rows: list[IndexRow], shards: set[str]) -> None:
        """Keep the rows of this plan's negatives whose shard exists."""
        for row in rows:
            wanted = self.fingerprints.get(row["clip_id"])
            if row["fingerprint"] == wanted and row["shard"] in shards:
                self.rows.setdefault(row["clip_id"], row)


def count_of(preset: Preset, split: str) -> int:
    """Negatives of each dataset: those to train on are shared evenly, and of the held-out ones
    there are as many as validation uses, equally many of each length."""
    datasets = len(preset.classifier_datasets)
    if split == "train":
        return max(1, round(preset.negatives.count / datasets))
    lengths = len(set(preset.negatives.lengths)) if preset.negatives.augment else 1
    per_length = 2 * -(-preset.trainer.validation_windows // (2 * lengths))
    return -(-per_length * lengths // datasets)


def plan(
    reader: ShardReader, dataset: str, split: str, config: NegativeConfig, count: int
) -> list[Negative]:
    """The first `count` negatives. Lengths take turns, and each length goes through all voices in
    an order of its own before it meets one again.

    Raises `UserError` where no clip has one of the lengths.
    """
    lengths = config.lengths_within(max(reader.frames))
    if not lengths:
        raise UserError(f"no {split} clip of {dataset} has {min(config.lengths)} frames")
    is_test = split == "test"
    fitting = {n: [i for i, length in enumerate(reader.frames) if length >= n] for n in lengths}
    speakers: dict[str, list[int]] = {}
    for i, row in enumerate(reader.rows):
        speakers.setdefault(row["speaker"], []).append(i)
    orders: dict[tuple[int, int], np.ndarray] = {}
    negatives = []
    for number in range(count):
        turn, which = divmod(number, len(lengths))
        frames = lengths[which]
        voices = fitting[frames]
        epoch, place = divmod(turn, len(voices))
        if (frames, epoch) not in orders:
            seed = [config.seed, is_test, frames, epoch]
            orders[frames, epoch] = np.random.default_rng(seed).permutation(len(voices))
        voice = voices[orders[frames, epoch][place]]
        rng = np.random.default_rng([config.seed, is_test, number])
        face = int(rng.choice(speakers[reader.rows[voice]["speaker"]])) if config.augment else voice
        reference = int(rng.integers(reader.frames[face])) if config.augment else 0
        start = int(rng.integers(reader.frames[voice] - frames + 1))
        negatives.append(Negative(dataset, split, number, voice, start, face, reference, frames))
    return negatives


def batched(negatives: list[Negative], config: NegativeConfig) -> Iterator[NegativeBatch]:
    """Batches of one split and length, `negatives.batch` at most."""
    alike: dict[tuple[str, int], list[Negative]] = {}
    for negative in negatives:
        alike.setdefault((negative.split, negative.frames), []).append(negative)
    for group in alike.values():
        for first in range(0, len(group), config.batch):
            yield NegativeBatch(group[first : first + config.batch])


def fingerprint(negative: Negative, reader: ShardReader, checkpoint: str, preset: Preset) -> str:
    """A hash of everything that a negative depends on."""
    voice, face = (reader.rows[clip]["fingerprint"] for clip in (negative.voice, negative.face))
    window = [negative.start, negative.reference, negative.frames]
    own = [negative.clip_id, voice, face, *window]
    return sha256_json([CODE_VERSION, checkpoint, _settings(preset), own])


def _settings(preset: Preset) -> dict[str, Any]:
    """The settings of the generation, without its inputs."""
    compiled = {"compile": True} if preset.negatives.compile else {}
    return compiled | {
        "ddim_steps": preset.negatives.ddim_steps,
        "segment_frames": preset.generation.segment_frames,
        "precision": preset.negatives.precision,
        "seed": preset.negatives.seed,
    }


class NegativeGenerator:
    """Generates batches on one device, with UniVDM as it was at the checkpoint."""

    def __init__(self, store: Store, preset: Preset, device: str) -> None:
        self.preset, self.device = preset, device
        config = preset.negatives
        model = load_univdm(store, "for_negatives", device)
        self.unchecked = config.compile
        self.sampler = Sampler(model, preset.univdm, config.ddim_steps, precision=config.precision)
        trained = store.read_json(f"{FOR_NEGATIVES}/training.json")
        self.provenance = _settings(preset) | {
            "checkpoint": trained["fingerprint"],
            "step": trained["step"],
            "weights": weights_sha256(model),
        }
        if config.compile:
            compile_blocks(model)

    def generate(self, negatives: list[Negative], reader: ShardReader) -> list[ClipSample]:
        """The samples of negatives of one length, generated as one batch."""
        voices = [reader.read(n.voice) for n in negatives]
        faces = [reader.read(n.face) for n in negatives]
        margin = self.preset.audio.margin
        conditions = Conditions(
            reference_latents=_stack(f.latents[n.reference] for f, n in zip(faces, negatives)),
            reference_embedding=_stack(
                f.reference[_nearest(f, n.reference)] for f, n in zip(faces, negatives)
            ),
            audio=_stack(
                audio_windows(voice.audio, margin, n.start, n.start + n.frames)
                for voice, n in zip(voices, negatives)
            ),
        ).to(self.device)
        with repeatable(self.device, self.preset.negatives.precision):
            if self.unchecked:
                check_compiled(
                    self.sampler, conditions.part(0, self.preset.generation.segment_frames)
                )
                self.unchecked = False
            latents = self.sampler.video(
                conditions,
                self.preset.generation.segment_frames,
                [self._noise(n.clip_id) for n in negatives],
                first_frame=_stack(face.latents[0] for face in faces).to(self.device),
            )
        made = latents.transpose(1, 2).cpu().numpy().astype(np.float16)
        return [
            _sample(n, sample, voice, face, self.provenance)
            for n, sample, voice, face in zip(negatives, made, voices, faces, strict=True)
        ]

    def _noise(self, name: str) -> torch.Generator:
        seed = int(sha256_json([self.preset.negatives.seed, name])[:12], 16)
        return torch.Generator().manual_seed(seed)


def _nearest(face: ClipSample, frame: int) -> int:
    """Which of the clip's stored embeddings is the nearest to a frame's."""
    return int(np.abs(face.reference_index - frame).argmin())


def _sample(
    negative: Negative,
    latents: np.ndarray,
    voice: ClipSample,
    face: ClipSample,
    provenance: dict[str, Any],
) -> ClipSample:
    """The generated latents with the voice they were generated for and the face they start
    from."""
    start, frames = negative.start, negative.frames
    # Generated frames take the boxes of the real frames of `face`: masks must have the same shapes
    # for real and generated samples, or the shape would give the label away. So would a generated
    # reference.
    at = np.minimum(np.arange(frames), face.frames - 1)
    nearest = _nearest(face, negative.reference)
    meta = voice.meta | {
        "clip_id": negative.clip_id,
        "split": negative.split,
        "frames": frames,
        "status": KEPT,
        "generated": True,
        "voice": voice.meta["clip_id"],
        "voice_start": start,
        "face": face.meta["clip_id"],
        "reference_frame": negative.reference,
        **provenance,
    }
    grid = latents.shape[-2:]
    return ClipSample(
        key=clip_key(negative.clip_id),
        latents=latents,
        par=np.ones((frames, *grid), np.float16),
        regions=np.zeros((frames, *grid), np.uint8),
        audio=voice.audio[start : start + frames],
        faces=face.faces[at],
        face_found=face.face_found[at],
        reference=face.reference[nearest : nearest + 1],
        reference_index=np.zeros(1, np.int32),
        wave=voice.wave[start * SAMPLES_PER_FRAME :][: frames * SAMPLES_PER_FRAME],
        meta=meta,
        reference_latents=face.latents[negative.reference][None],
    )


def _stack(arrays: Iterator[np.ndarray]) -> torch.Tensor:
    return torch.from_numpy(np.stack([np.asarray(a, np.float32) for a in arrays]))
