"""Training of the PCE classifiers (paper 4.1.3, B.3)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch
from torch import nn

from paha_core.config import Preset
from paha_core.engine.manifest_stage import kept_rows
from paha_core.errors import UserError
from paha_core.models.build import new_classifier
from paha_core.models.load import load_classifier, load_univdm
from paha_core.models.noise import training_scheduler
from paha_core.models.sync_classifier import SyncClassifier
from paha_core.shards.prefetch import Prefetched
from paha_core.shards.reader import ShardReader
from paha_core.shards.windows import Batch
from paha_core.store import Store
from paha_core.trained import UNIVDM, Part, classifier_name, gate_fingerprint, gate_verdict
from paha_core.training.distributed import SINGLE_PROCESS, Distributed, init_distributed
from paha_core.training.loop import fit
from paha_core.training.run import Metrics, Run, Scalars, step_generator
from paha_core.training.tasks.gate import examine
from paha_core.training.tasks.pairs import (
    PairBatches,
    Samples,
    accuracy,
    audible,
    cross_entropy,
    logits,
    masked,
    paired,
    sample_loss,
)
from paha_core.training.tasks.sound_probe import probe_sound

CODE_VERSION = "4"
NEGATIVES = "negative_samples"
VALIDATION_LEVELS = (100, 400, 700)  # timesteps


class SampleBatches(Protocol):
    def batch_at(self, number: int) -> Samples: ...


class ClassifierTask:
    """Real pairs (label 1) against self-distilled ones (label 0), noised at uniform timesteps
    (equation 7). One sample is the unit of a backward pass."""

    def __init__(
        self,
        model: SyncClassifier,
        part: Part,
        preset: Preset,
        batches: SampleBatches,
        held_out: Sequence[tuple[Batch, Batch]],
    ) -> None:
        self.model: nn.Module = model
        self.part, self.config = part, preset.classifiers
        self.batches, self.held_out = batches, held_out
        self.scheduler = training_scheduler(preset.univdm)

    def loss(self, model: Any, number: int) -> tuple[torch.Tensor, Metrics]:
        samples = self.batches.batch_at(number).to(next(model.parameters()).device)
        batch = samples.batch
        noisy = self.scheduler.add_noise(batch.latents, samples.noise, samples.timestep)
        logit = model(
            noisy, samples.timestep, batch.reference_latents, batch.reference_embedding, batch.audio
        )
        correct = (logit.detach() > 0) == (samples.labels > 0)
        return sample_loss(logit, samples.labels), {"accuracy": correct.float().mean()}

    @torch.no_grad()
    def validate(self, model: Any) -> Scalars:
        """Held-out real clips against generated ones, and against themselves with mismatched
        sound, at fixed timesteps with fixed noise."""
        losses: list[float] = []
        accuracies: dict[str, list[float]] = {"generated": [], "mismatched": []}
        for i, (real, generated) in enumerate(self.held_out):
            for level in VALIDATION_LEVELS:
                for kind, correct in accuracies.items():
                    rows = torch.full((len(real.keys),), True)
                    if kind == "mismatched":
                        rows = real.has_mismatch
                    if not rows.any():
                        continue
                    generator = step_generator(0, 2_000_000 + 1000 * i + level)
                    is_mismatched = torch.full((int(rows.sum()),), kind == "mismatched")
                    pairs = paired(real.rows(rows), generated.rows(rows), is_mismatched)
                    pairs = masked(pairs, self.part, 1.0, generator)
                    timestep = torch.full((len(is_mismatched),), level)
                    if kind == "mismatched":
                        timestep = audible(timestep, self.config)
                    logit = logits(model, self.scheduler, pairs, timestep, generator)
                    correct.append(accuracy(logit))
                    losses.append(float(cross_entropy(logit)))
        return {"validation_loss": float(np.mean(losses))} | {
            f"validation_accuracy_{kind}": float(np.mean(correct))
            for kind, correct in accuracies.items()
            if correct
        }

    def export(self, model: Any, folder: Path) -> None:
        model.save_pretrained(folder)


def classifier_run(store: Store, preset: Preset, part: Part, device: str = "cpu") -> Run:
    """The run of the preset's settings on the store's negatives, from its UniVDM."""
    negatives = kept_rows(store, NEGATIVES, preset.classifier_datasets)
    clips = [(n["clip_id"], n["fingerprint"]) for n in negatives if n["split"] == "train"]
    univdm = store.read_json(f"checkpoints/{UNIVDM}/final/training.json")["fingerprint"]
    config = preset.classifiers
    content = [CODE_VERSION, part, config.identity("train"), univdm, clips]
    run = Run.of(store, classifier_name(part), config.train, preset.trainer, content)
    return replace(run, device=device, sources={UNIVDM: univdm})


def train_classifier(store: Store, preset: Preset, part: Part, run: Run | None = None) -> bool:
    """Train one classifier in every launched process, then examine it (`gate.py`, `sound_probe.py`)
    in the first; returns whether anything had to be done."""
    run, name = run or classifier_run(store, preset, part), classifier_name(part)
    if run.is_done() and gate_verdict(store, preset, name) is not None:
        return False
    dist = init_distributed(run.device)
    config = preset.classifiers
    torch.manual_seed(config.train.seed)
    model = new_classifier(config, load_univdm(store))
    if preset.univdm.gradient_checkpointing:
        model.encoder.enable_gradient_checkpointing()
    batches = pair_batches(store, preset, part, "train", dist)
    held_out = pair_batches(store, preset, part, "test").held_out(preset.trainer.validation_windows)
    with Prefetched(batches, pin=run.device == "cuda") as prefetched:
        task = ClassifierTask(model, part, preset, prefetched, held_out)
        fit(task, config.train, run, dist)
    if dist.is_main_process:
        trained = load_classifier(store, part, device=run.device)
        verdict = examine(trained, part, store, preset, held_out)
        verdict |= {"sound_only": probe_sound(store, preset, run.device)}
        about = {"classifier": name, "fingerprint": gate_fingerprint(store, preset, name)}
        store.write_json(f"{run.folder}/gate.json", about | verdict)
    dist.barrier()
    return True


def pair_batches(
    store: Store, preset: Preset, part: Part, split: str, dist: Distributed = SINGLE_PROCESS
) -> PairBatches:
    """The pairs of a split. Raises `UserError` where no clip is long enough for any length."""
    real, generated = (
        ShardReader(
            store, preset.classifier_datasets, split, stage, on_bad_shard=preset.shards.on_bad_shard
        )
        for stage in ("training_shards", NEGATIVES)
    )
    lengths = preset.negatives.lengths_within(min(max(real.frames), max(generated.frames)))
    if not lengths:
        raise UserError(f"no {split} clip has {min(preset.negatives.lengths)} frames")
    return PairBatches(
        real, generated, part, preset.classifiers, lengths, preset.audio.margin, dist
    )
