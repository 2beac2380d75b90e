"""Training and testing of the PCE classifiers (paper 4.1.3, B.3; DESIGN 8)."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from torch import nn
from torch.nn import functional as F

from paha_core.config import Preset
from paha_core.inference.sampling import training_scheduler
from paha_core.models.sync_classifier import SyncClassifier
from paha_core.shards.reader import ShardReader
from paha_core.shards.windows import Batch, LengthBuckets, WindowBatches
from paha_core.stages import kept_rows
from paha_core.store import Store, sha256_json
from paha_core.training.loop import Figures, Run, fit, step_generator
from paha_core.training.univdm import load_univdm

CODE_VERSION = "1"
Part = Literal["face", "non_face"]
NAMES: dict[Part, str] = {"face": "face_classifier", "non_face": "non_face_classifier"}
NEGATIVES = "negative_samples"
GATE_TIMESTEPS = (50, 200, 400)


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
        batch, label = mixed(real, fake, self.config.mismatched_audio, draw)
        batch = masked(batch, self.part, self.config.mask_probability, draw)
        timestep = torch.randint(1000, (len(label),), generator=draw)
        logit = self._logit(model, batch, timestep, draw)
        label = label.to(self.device)
        loss = F.binary_cross_entropy_with_logits(logit, label)  # equation 7
        correct = ((logit.detach() > 0) == (label > 0.5)).float().mean()
        return loss, {"accuracy": float(correct)}

    @torch.no_grad()
    def validate(self, model: Any) -> Figures:
        """Held-out real clips against held-out generated ones, at fixed timesteps with fixed
        noise."""
        losses, correct = [], []
        for i, (real, fake) in enumerate(zip(*self.held_out, strict=True)):
            for level in (100, 400, 700):
                draw = step_generator(0, 2_000_000 + 1000 * i + level)
                batch, label = mixed(real, fake, 0.0, draw)
                batch = masked(batch, self.part, 1.0, draw)
                logit = self._logit(model, batch, torch.full((len(label),), level), draw)
                label = label.to(self.device)
                losses.append(float(F.binary_cross_entropy_with_logits(logit, label)))
                correct.append(float(((logit > 0) == (label > 0.5)).float().mean()))
        return {
            "validation_loss": float(np.mean(losses)),
            "validation_accuracy": float(np.mean(correct)),
        }

    def export(self, model: Any, folder: Path) -> None:
        model.save_pretrained(folder)

    def _logit(
        self, model: Any, batch: Batch, timestep: torch.Tensor, draw: torch.Generator
    ) -> torch.Tensor:
        noise = torch.randn(batch.latents.shape, generator=draw)
        noised = self.scheduler.add_noise(batch.latents, noise, timestep)
        batch = batch.to(self.device)
        return model(
            noised.to(self.device),
            timestep.to(self.device),
            batch.reference_latents,
            batch.reference_embedding,
            batch.audio,
        )


def mixed(
    real: Batch, fake: Batch, mismatched: float, draw: torch.Generator
) -> tuple[Batch, torch.Tensor]:
    """Half real, half negative, and their labels.

    A share `mismatched` of the negatives is real video with another clip's audio in place of
    generated video: the plain task can be solved by traces of the network alone, without hearing
    anything.
    """
    half = len(real.keys) // 2
    swapped = torch.rand(half, generator=draw) < mismatched
    pick = {}
    for name, value in real.__dict__.items():
        if name == "keys":
            continue
        other = getattr(fake, name)[:half].clone()
        other[swapped] = value[:half][swapped]
        if name == "audio":  # the second half's clips speak over the first half's pictures
            other[swapped] = value[half : 2 * half][swapped]
        pick[name] = torch.cat([value[:half], other])
    label = torch.cat([torch.ones(half), torch.zeros(half)])
    return Batch(**pick, keys=real.keys[:half] + fake.keys[:half]), label


def masked(batch: Batch, part: Part, probability: float, draw: torch.Generator) -> Batch:
    """With `probability` a sample keeps only the classifier's own region, in all its frames, on
    clean latents."""
    keep = batch.face_mask if part == "face" else 1 - batch.face_mask
    hidden = torch.rand(len(batch.keys), generator=draw) < probability
    keep = torch.where(hidden[:, None, None], keep, torch.ones_like(keep))
    return replace(batch, latents=batch.latents * keep[:, None, None])


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
    """Train one classifier and test it (`gate`); returns whether anything had to be done."""
    run = run or classifier_run(store, preset, part)
    if run.is_done():
        return False
    config = preset.classifiers
    model = SyncClassifier.from_univdm(
        load_univdm(store), width=config.width, layers=config.layers, heads=config.heads
    )
    real, fake = _streams(store, preset, "train")
    held_real, held_fake = _streams(store, preset, "test")
    steps = range(4)
    held_out = ([held_real.batch_at(i) for i in steps], [held_fake.batch_at(i) for i in steps])
    torch.manual_seed(config.train.seed)
    task = ClassifierTask(model, part, preset, real, fake, held_out, device)
    done = fit(task, config.train, run)
    store.write_json(f"{run.folder}/gate.json", gate(store, preset, part, device))
    return done


def _streams(store: Store, preset: Preset, split: str) -> tuple[LengthBuckets, LengthBuckets]:
    """Real and generated batches of a split, of the same length at every step."""
    readers = [
        ShardReader(
            store, preset.corpora.datasets, split, stage, on_bad_shard=preset.shards.on_bad_shard
        )
        for stage in ("training_shards", NEGATIVES)
    ]
    longest = min(max(reader.frames) for reader in readers)
    lengths = [length for length in preset.negatives.lengths if length <= longest]
    if not lengths:
        raise ValueError(f"no {split} clip has {min(preset.negatives.lengths)} frames")
    config = preset.classifiers.train
    real, fake = (
        LengthBuckets(reader, config.batch, lengths, preset.audio.margin, config.seed)
        for reader in readers
    )
    return real, fake


def load_classifier(
    store: Store, part: Part, export: str = "final", device: str = "cpu"
) -> SyncClassifier:
    """A trained classifier in eval mode. Raises `FileNotFoundError` when it has not been trained
    yet."""
    rel = f"checkpoints/{NAMES[part]}/{export}"
    if not store.exists(f"{rel}/config.json"):
        raise FileNotFoundError(f"no {store.uri(rel)}: materialise `{NAMES[part]}` first")
    with store.reading_folder(rel) as folder:
        return SyncClassifier.from_pretrained(folder, use_safetensors=True).to(device).eval()


@torch.no_grad()
def gate(store: Store, preset: Preset, part: Part, device: str = "cpu") -> dict[str, Any]:
    """The audio-swap test on held-out real clips: does the score fall when another clip's voice is
    put in?

    Pairs are windows of the longest length that held-out clips have, at several noise levels.
    Passed when the share of falls is above one half by more than its 95 % interval (normal
    approximation over windows).
    """
    model = load_classifier(store, part, device=device)
    reader = ShardReader(store, preset.corpora.datasets, "test")
    fits = [length for length in preset.negatives.lengths if length <= max(reader.frames)]
    windows = WindowBatches(reader, 16, max(fits), preset.audio.margin, 7)
    scheduler = training_scheduler(preset.univdm)
    falls = []
    for step in range(4):
        draw = step_generator(3, step)
        batch = masked(windows.batch_at(step), part, 1.0, draw)
        other = batch.audio.roll(1, dims=0)
        different = torch.tensor([a != b for a, b in zip(batch.keys, np.roll(batch.keys, 1))])
        per_window = torch.zeros(len(batch.keys))
        for level in GATE_TIMESTEPS:
            timestep = torch.full((len(batch.keys),), level)
            noise = torch.randn(batch.latents.shape, generator=draw)
            noised = scheduler.add_noise(batch.latents, noise, timestep).to(device)
            given = (batch.reference_latents.to(device), batch.reference_embedding.to(device))
            right = model(noised, timestep.to(device), *given, batch.audio.to(device))
            wrong = model(noised, timestep.to(device), *given, other.to(device))
            per_window += (right - wrong).cpu()
        falls += (per_window > 0)[different].tolist()
    share, n = float(np.mean(falls)), len(falls)
    half_width = 1.96 * (share * (1 - share) / n) ** 0.5
    return {
        "classifier": NAMES[part],
        "share": share,
        "low": share - half_width,
        "high": share + half_width,
        "n": n,
        "passed": share - half_width > 0.5,
    }
