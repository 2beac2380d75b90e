"""Training of the PCE classifiers (paper 4.1.3, B.3)."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

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
from paha_core.shards.windows import Batch, Batches, LengthBuckets
from paha_core.store import Store
from paha_core.trained import UNIVDM, Part, classifier_name, gate_fingerprint, gate_verdict
from paha_core.training.loop import fit
from paha_core.training.run import Metrics, Run, Scalars, step_generator
from paha_core.training.tasks.gate import examine
from paha_core.training.tasks.pairs import accuracy, cross_entropy, logits, masked, paired

CODE_VERSION = "3"
NEGATIVES = "negative_samples"


class ClassifierTask:
    """Real pairs (label 1) against self-distilled ones (label 0), noised at uniform timesteps
    (equation 7)."""

    def __init__(
        self,
        model: SyncClassifier,
        part: Part,
        preset: Preset,
        real: Batches,
        generated: Batches,
        held_out: tuple[list[Batch], list[Batch]],
    ) -> None:
        self.model: nn.Module = model
        self.part, self.config = part, preset.classifiers
        self.real, self.generated, self.held_out = real, generated, held_out
        self.scheduler = training_scheduler(preset.univdm)

    def loss(self, model: Any, number: int) -> tuple[torch.Tensor, Metrics]:
        generator = step_generator(self.config.train.seed, number)
        real, fake = self.real.batch_at(number), self.generated.batch_at(number)
        mismatched = torch.rand(len(real.keys), generator=generator) < self.config.mismatched_audio
        pairs = paired(real, fake, mismatched)
        pairs = masked(pairs, self.part, self.config.mask_probability, generator)
        timestep = torch.randint(1000, (len(real.keys),), generator=generator)
        timestep = torch.where(mismatched, self._audible(timestep), timestep)
        logit = logits(model, self.scheduler, pairs, timestep, generator)
        loss = cross_entropy(logit)
        return loss, {"accuracy": accuracy(logit.detach())}

    @torch.no_grad()
    def validate(self, model: Any) -> Scalars:
        """Held-out real clips against generated ones, and against themselves with the sound of
        another moment, at fixed timesteps with fixed noise."""
        losses: list[float] = []
        generated: list[float] = []
        mismatched: list[float] = []
        for i, (real, fake) in enumerate(zip(*self.held_out, strict=True)):
            count = len(real.keys)
            for level in (100, 400, 700):
                for is_mismatched, correct in ((False, generated), (True, mismatched)):
                    generator = step_generator(0, 2_000_000 + 1000 * i + level)
                    pairs = paired(real, fake, torch.full((count,), is_mismatched))
                    pairs = masked(pairs, self.part, 1.0, generator)
                    timestep = torch.full((count,), level)
                    timestep = self._audible(timestep) if is_mismatched else timestep
                    logit = logits(model, self.scheduler, pairs, timestep, generator)
                    correct.append(accuracy(logit))
                    losses.append(float(cross_entropy(logit)))
        return {
            "validation_loss": float(np.mean(losses)),
            "validation_accuracy_generated": float(np.mean(generated)),
            "validation_accuracy_mismatched": float(np.mean(mismatched)),
        }

    def _audible(self, timestep: torch.Tensor) -> torch.Tensor:
        """Timesteps of mismatched pairs: in more noise than this no lips are visible that the
        sound could contradict, and the label is only noise in the gradient."""
        return timestep * self.config.mismatched_below // 1000

    def export(self, model: Any, folder: Path) -> None:
        model.save_pretrained(folder)


def classifier_run(store: Store, preset: Preset, part: Part, device: str = "cpu") -> Run:
    """The run of the preset's settings on the store's negatives, from its UniVDM."""
    negatives = kept_rows(store, NEGATIVES, preset.corpora.datasets)
    clips = [(row["clip_id"], row["fingerprint"]) for row in negatives]
    univdm = store.read_json(f"checkpoints/{UNIVDM}/final/training.json")["fingerprint"]
    config = preset.classifiers
    content = [CODE_VERSION, part, config.identity("train"), univdm, clips]
    run = Run.of(store, classifier_name(part), config.train, preset.trainer, content)
    return replace(run, device=device, sources={UNIVDM: univdm})


def train_classifier(store: Store, preset: Preset, part: Part, run: Run | None = None) -> bool:
    """Train one classifier and examine it (`gate.py`); returns whether anything had to be done."""
    run = run or classifier_run(store, preset, part)
    if run.is_done() and gate_verdict(store, preset, classifier_name(part)) is not None:
        return False
    config = preset.classifiers
    torch.manual_seed(config.train.seed)
    model = new_classifier(config, load_univdm(store))
    if preset.univdm.gradient_checkpointing:
        model.encoder.enable_gradient_checkpointing()
    real, fake = _streams(store, preset, "train")
    held_real, held_fake = _streams(store, preset, "test")
    batches = range(-(-preset.trainer.validation_windows // held_real.batch))
    held_out = ([held_real.batch_at(i) for i in batches], [held_fake.batch_at(i) for i in batches])
    with Prefetched(real) as real_batches, Prefetched(fake) as fake_batches:
        task = ClassifierTask(model, part, preset, real_batches, fake_batches, held_out)
        fit(task, config.train, run)
    trained = load_classifier(store, part, device=run.device)
    verdict = examine(trained, part, store, preset, held_out)
    about = {
        "classifier": classifier_name(part),
        "fingerprint": gate_fingerprint(store, preset, classifier_name(part)),
    }
    store.write_json(f"{run.folder}/gate.json", about | verdict)
    return True


def _streams(store: Store, preset: Preset, split: str) -> tuple[LengthBuckets, LengthBuckets]:
    """Real and generated halves of a split's batches, of the same length at every step."""
    readers = [
        ShardReader(
            store, preset.corpora.datasets, split, stage, on_bad_shard=preset.shards.on_bad_shard
        )
        for stage in ("training_shards", NEGATIVES)
    ]
    longest = min(max(reader.frames) for reader in readers)
    lengths = preset.negatives.lengths_within(longest)
    if not lengths:
        raise UserError(f"no {split} clip has {min(preset.negatives.lengths)} frames")
    config = preset.classifiers.train
    micro_batch, _ = config.shares()
    real, fake = (
        LengthBuckets(reader, micro_batch // 2, lengths, preset.audio.margin, config.seed)
        for reader in readers
    )
    return real, fake
