"""Other people for the training of an adapter: prior preservation (Ruiz et al. 2023, DreamBooth).

A share of the windows shows other people. On these the adapted network learns to predict what the
base predicts, so that it stays the base for everybody but the person of the footage. They come from
shards that the base was trained on; without them the base samples them itself, from noise and the
footage's voice without a reference, which a network can do that was trained with
`univdm.condition_dropout`.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch

from paha_core.inference.adapters import fingerprint_of
from paha_core.inference.components import PipelineComponents
from paha_core.inference.sampling import Conditions, Sampler
from paha_core.models.audio_encoder import SAMPLE_RATE, SAMPLES_PER_FRAME
from paha_core.models.protocols import AudioEncoder, LatentCodec, ReferenceEncoder
from paha_core.shards.reader import ShardReader
from paha_core.shards.sample import ClipSample
from paha_core.shards.windows import Batch, Batches, WindowBatches, joined
from paha_core.shards.writer import IndexRow, index_rows, write_index, write_shards
from paha_core.store import Store, sha256_json
from paha_core.training.run import step_generator

log = logging.getLogger("paha")

CODE_VERSION = "1"
STAGE = "training_shards"
DATASET = "prior"  # of the base's own samples, in the adapter's store


@dataclass(frozen=True)
class Prior:
    """Clips of other people: those to train with, and others to validate on."""

    train: ShardReader
    test: ShardReader
    source: str

    @property
    def fingerprints(self) -> list[str]:
        return [row["fingerprint"] for row in (*self.train.rows, *self.test.rows)]


def prior_of(
    store: Store, pipeline: PipelineComponents, voices: ShardReader, training: Store | None
) -> Prior | None:
    """The prior for an adapter whose artifacts are in `store`: shards of the run `training`, or
    samples that speak with `voices`. None with `adapt.prior_share: 0`, or where there is neither.
    """
    if not pipeline.preset.adapt.prior_share:
        return None
    prior = prior_from_shards(training, pipeline) if training else None
    prior = prior or prior_from_samples(store, pipeline, voices)
    if prior is None:
        log.warning(
            "the adapter will change other people as well: no training shards of this network were "
            "found (--prior names a run's store), and it was trained without condition dropout, so "
            "it can't sample other people itself"
        )
    return prior


def prior_from_shards(store: Store, pipeline: PipelineComponents) -> Prior | None:
    """The training shards of a run; None where there are none of the pipeline's encoders."""
    encoders = {
        "codec_sha256": pipeline.codec.sha256,
        "reference_encoder_sha256": pipeline.reference.sha256,
        "audio_encoder_sha256": pipeline.audio.sha256,
    }
    datasets = pipeline.preset.corpora.datasets
    usable = [
        row
        for row in index_rows(store, STAGE, datasets)
        if all(row[name] == sha256 for name, sha256 in encoders.items())  # type: ignore[literal-required]
    ]
    train, test = ([row for row in usable if row["split"] == s] for s in ("train", "test"))
    if not train or not test:
        return None
    return Prior(*_readers(store, datasets, train, test), f"{len(train)} training clips of the run")


def prior_from_samples(
    store: Store, pipeline: PipelineComponents, voices: ShardReader
) -> Prior | None:
    """`adapt.prior_samples` videos that the base samples, as shards in the adapter's store; every
    eighth is validated on. None for a network that was trained without condition dropout."""
    preset = pipeline.preset
    if not preset.univdm.condition_dropout:
        return None
    content = [
        CODE_VERSION,
        fingerprint_of(pipeline.univdm),
        pipeline.codec.sha256,
        [preset.adapt.prior_samples, preset.adapt.train.frames, preset.generation.ddim_steps],
        [row["fingerprint"] for row in voices.rows],
    ]
    fingerprint = sha256_json(content)
    rows = index_rows(store, STAGE, [DATASET])
    if {row["fingerprint"] for row in rows} != {fingerprint}:
        log.info("sampling %d videos of other people", preset.adapt.prior_samples)
        samples = sample_prior(pipeline, voices)
        count = preset.shards.clips_per_shard
        rows = write_shards(store, f"shards/{DATASET}/train", samples, clips_per_shard=count)
        for row in rows:
            row["fingerprint"] = fingerprint
        write_index(store, STAGE, DATASET, rows)
    test = rows[::8]
    train = [row for row in rows if row not in test]
    return Prior(*_readers(store, [DATASET], train, test), f"{len(train)} samples of the base")


def sample_prior(pipeline: PipelineComponents, voices: ShardReader) -> Iterator[ClipSample]:
    """Videos of `adapt.train.frames` frames that the base samples without a reference, one after
    the other; a video's noise comes from its number."""
    preset, frames = pipeline.preset, pipeline.preset.adapt.train.frames
    sampler = Sampler(pipeline.univdm, preset.univdm, preset.generation.ddim_steps)
    windows = WindowBatches(voices, 1, frames, preset.audio.margin, seed=preset.adapt.train.seed)
    for number in range(preset.adapt.prior_samples):
        voice = windows.batch_at(number)
        conditions = Conditions(
            torch.zeros_like(voice.reference_latents),
            torch.zeros_like(voice.reference_embedding),
            voice.audio,
        )
        generator = step_generator(preset.adapt.train.seed, number)
        [latents] = sampler.segments(conditions, frames, generator)
        sound = voice.audio[0, :, preset.audio.margin].half().numpy()
        yield _clip(pipeline, number, latents[0].transpose(0, 1).cpu(), sound)


def _clip(
    pipeline: PipelineComponents, number: int, latents: torch.Tensor, sound: np.ndarray
) -> ClipSample:
    """A sampled video, latents [T, C, h, w] and audio features [T, layers, width], as a clip whose
    references are frames of its own."""
    count, _, height, width = latents.shape
    shown = np.linspace(0, count - 1, pipeline.preset.shards.reference_frames).round()
    shown = np.unique(shown).astype(np.int32)
    with pipeline.on_device(pipeline.codec):
        pictures = pipeline.codec.decode(latents[shown].to(pipeline.device))
    with pipeline.on_device(pipeline.reference):
        embeddings = pipeline.reference.encode(pictures)
    encoders: dict[str, LatentCodec | AudioEncoder | ReferenceEncoder] = {
        "codec": pipeline.codec,
        "audio_encoder": pipeline.audio,
        "reference_encoder": pipeline.reference,
    }
    named = {name: network.name for name, network in encoders.items()}
    named |= {f"{name}_sha256": network.sha256 for name, network in encoders.items()}
    clip_id = f"{DATASET}/base/{number:04d}"
    return ClipSample(
        key=clip_id.replace("/", "__"),
        latents=latents.numpy().astype(np.float16),
        par=np.ones((count, height, width), np.float16),
        regions=np.zeros((count, height, width), np.uint8),
        audio=sound,
        faces=np.zeros((count, 4), np.float32),
        face_found=np.zeros(count, bool),
        reference=embeddings,
        reference_index=shown,
        wave=np.zeros(count * SAMPLES_PER_FRAME, np.int16),
        meta={"clip_id": clip_id, "dataset": DATASET, "speaker": "base", "split": "train"}
        | {"fps": 25, "sample_rate": SAMPLE_RATE, "frames": count}
        | named,
    )


def _readers(
    store: Store, datasets: Sequence[str], *sides: list[IndexRow]
) -> tuple[ShardReader, ShardReader]:
    train, test = (ShardReader(store, datasets, None) for _ in sides)
    train.rows, test.rows = sides
    return train, test


class MixedWindows:
    """Batches of `batch` windows, an even `share` of which are the prior's; `own` and `prior` give
    one window each."""

    def __init__(self, own: Batches, prior: Batches, share: float, batch: int) -> None:
        self.own, self.prior, self.share, self.batch = own, prior, share, batch

    def batch_at(self, step: int) -> Batch:
        first = step * self.batch
        return joined([self._window(number) for number in range(first, first + self.batch)])

    def _window(self, number: int) -> Batch:
        before, after = (int(n * self.share + 1e-9) for n in (number, number + 1))
        return self.prior.batch_at(before) if after > before else self.own.batch_at(number - before)
