"""Training of the PCE classifiers (paper 4.1.3, B.3; DESIGN 8)."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from paha_core.config import Preset
from paha_core.errors import UserError
from paha_core.models.noise import training_scheduler
from paha_core.models.sync_classifier import SyncClassifier
from paha_core.models.trained import NAMES, Part, load_classifier, load_univdm
from paha_core.shards.reader import ShardReader
from paha_core.shards.windows import Batch, LengthBuckets
from paha_core.stages import kept_rows
from paha_core.store import Store, sha256_json
from paha_core.training.gate import examine
from paha_core.training.loop import fit
from paha_core.training.pairs import accuracy, cross_entropy, logits, masked, paired
from paha_core.training.run import Figures, Run, step_generator

CODE_VERSION = "2"
NEGATIVES = "negative_samples"


class ClassifierTask:
    """Real pairs (label 1) against self-distilled ones (label 0), noised at uniform timesteps
    (equation 7)."""

    def __init__(
        self,
        model: SyncClassifier,
        part: Part,
        preset: Preset,
        real: LengthBuckets,
        generated: LengthBuckets,
        held_out: tuple[list[Batch], list[Batch]],
        device: str = "cpu",
    ) -> None:
        self.model: nn.Module = model.to(device)
        self.part, self.config, self.device = part, preset.classifiers, device
        self.real, self.generated, self.held_out = real, generated, held_out
        self.scheduler = training_scheduler(preset.univdm)

    def loss(self, model: Any, step: int) -> tuple[torch.Tensor, Figures]:
        draw = step_generator(self.config.train.seed, step)
        real, fake = self.real.batch_at(step), self.generated.batch_at(step)
        mismatched = torch.rand(len(real.keys), generator=draw) < self.config.mismatched_audio
        pairs = paired(real, fake, mismatched)
        pairs = masked(pairs, self.part, self.config.mask_probability, draw)
        timestep = torch.randint(1000, (len(real.keys),), generator=draw)
        timestep = torch.where(mismatched, self._audible(timestep), timestep)
        logit = logits(model, self.scheduler, pairs, timestep, draw)
        loss = cross_entropy(logit)
        return loss, {"accuracy": accuracy(logit.detach())}

    @torch.no_grad()
    def validate(self, model: Any) -> Figures:
        """Held-out real clips against generated ones, and against themselves with the sound of
        another moment, at fixed timesteps with fixed noise."""
        losses: list[float] = []
        told: list[float] = []
        heard: list[float] = []
        for i, (real, fake) in enumerate(zip(*self.held_out, strict=True)):
            count = len(real.keys)
            for level in (100, 400, 700):
                for mismatched, correct in ((False, told), (True, heard)):
                    draw = step_generator(0, 2_000_000 + 1000 * i + level)
                    pairs = paired(real, fake, torch.full((count,), mismatched))
                    pairs = masked(pairs, self.part, 1.0, draw)
                    timestep = torch.full((count,), level)
                    timestep = self._audible(timestep) if mismatched else timestep
                    logit = logits(model, self.scheduler, pairs, timestep, draw)
                    correct.append(accuracy(logit))
                    losses.append(float(cross_entropy(logit)))
        return {
            "validation_loss": float(np.mean(losses)),
            "validation_accuracy_generated": float(np.mean(told)),
            "validation_accuracy_mismatched": float(np.mean(heard)),
        }

    def _audible(self, timestep: torch.Tensor) -> torch.Tensor:
        """Timesteps of mismatched pairs: in more noise than this nothing of the lips is left that
        sound could contradict, and a label is only noise in the gradient."""
        return timestep * self.config.mismatched_below // 1000

    def export(self, model: Any, folder: Path) -> None:
        model.save_pretrained(folder)


def classifier_run(store: Store, preset: Preset, part: Part) -> Run:
    """The run's name and fingerprint: its settings, the negatives, and the UniVDM it starts
    from."""
    negatives = kept_rows(store, NEGATIVES, preset.corpora.datasets)
    content = [(row["clip_id"], row["fingerprint"]) for row in negatives]
    univdm = store.read_json("checkpoints/univdm/final/training.json")["fingerprint"]
    settings = [part, preset.classifiers.settings(), univdm]
    return Run(store, NAMES[part], sha256_json([CODE_VERSION, settings, content]))


def train_classifier(
    store: Store, preset: Preset, part: Part, run: Run | None = None, device: str = "cpu"
) -> bool:
    """Train one classifier and examine it (`gate.py`); returns whether anything had to be done."""
    run = run or classifier_run(store, preset, part)
    verdict = f"{run.folder}/gate.json"
    if run.is_done() and store.exists(verdict):
        return False
    config = preset.classifiers
    torch.manual_seed(config.train.seed)
    model = SyncClassifier.from_univdm(
        load_univdm(store), width=config.width, layers=config.layers, heads=config.heads
    )
    real, fake = _streams(store, preset, "train")
    held_real, held_fake = _streams(store, preset, "test")
    steps = range(4)
    held_out = ([held_real.batch_at(i) for i in steps], [held_fake.batch_at(i) for i in steps])
    fit(ClassifierTask(model, part, preset, real, fake, held_out, device), config.train, run)
    found = examine(load_classifier(store, part, device=device), part, store, preset, held_out)
    store.write_json(verdict, {"classifier": NAMES[part]} | found)
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
    lengths = [length for length in preset.negatives.lengths if length <= longest]
    if not lengths:
        raise UserError(f"no {split} clip has {min(preset.negatives.lengths)} frames")
    config = preset.classifiers.train
    real, fake = (
        LengthBuckets(reader, config.batch // 2, lengths, preset.audio.margin, config.seed)
        for reader in readers
    )
    return real, fake
