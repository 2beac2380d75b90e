"""A small classifier's training as a module, so that a test can start it in one process or in two.

    small_classifier.py FOLDER MICRO_BATCH

FOLDER is a store with the shards of `publish_pairs`. Writes step 0's gradient to
FOLDER/gradient.safetensors and trains; the weights are in checkpoints/small.
"""

import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import save_file

from paha_core.config import TrainConfig, TrainerConfig, load_preset
from paha_core.models.sync_classifier import SyncClassifier
from paha_core.models.univdm import UniVDM
from paha_core.shards.reader import ShardReader
from paha_core.store import Store
from paha_core.training.distributed import SINGLE_PROCESS, init_distributed
from paha_core.training.gradient import GradientAccumulation
from paha_core.training.loop import fit
from paha_core.training.run import Run
from paha_core.training.tasks.classifier import ClassifierTask
from paha_core.training.tasks.pairs import PairBatches
from shard_samples import make_sample, publish

BATCH, LENGTHS, CLIPS = 8, (4, 6), 6


def publish_pairs(store):
    """Real clips of 20 frames, and for each a negative of 6 frames from its third frame on."""
    real = [make_sample(n, frames=20) for n in range(CLIPS)]
    publish(store, real)
    negatives = []
    for n in range(CLIPS):
        clip_id = f"pats/negative/train-{n:06d}"
        meta = {"clip_id": clip_id, "voice": real[n].meta["clip_id"], "voice_start": 2}
        made = make_sample(n, frames=6, **meta)
        negatives.append(replace(made, latents=np.full_like(made.latents, 100 + n)))
    publish(store, negatives, stage="negative_samples", folder="negatives")


def train_config(micro_batch=None, **changes):
    settings = {"steps": 6, "batch": BATCH, "learning_rate": 1e-3, "ema": 0.9, "seed": 3}
    return TrainConfig(
        micro_batch=micro_batch, checkpoint_every=6, validate_every=6, **settings | changes
    )


def pair_batches(store, micro_batch=None, dist=SINGLE_PROCESS, **changes):
    real, generated = (
        ShardReader(store, ["pats"], "train", stage)
        for stage in ("training_shards", "negative_samples")
    )
    config = load_preset("smoke").classifiers.model_copy(
        update={"train": train_config(micro_batch), "mismatched_audio": 0.5} | changes
    )
    return PairBatches(real, generated, "face", config, LENGTHS, 2, dist)


def small_classifier():
    torch.manual_seed(0)
    univdm = UniVDM(
        block_out_channels=(8, 16),
        attention_levels=(True, True),
        layers_per_block=1,
        attention_head_dim=4,
        input_heads=2,
        cross_attention_dim=8,
        norm_num_groups=4,
        reference_width=5,
        reference_tokens=2,
        audio_layers=2,
        audio_width=3,
        audio_tokens=2,
        audio_dim=8,
        audio_hidden=8,
    )
    model = SyncClassifier.from_univdm(univdm, width=16, layers=1, heads=2, max_frames=8)
    for weights in model.parameters():  # new modules begin at zero, which would hide them
        weights.data.add_(0.05 * torch.randn_like(weights))
    return model


def classifier_task(store, micro_batch=None, dist=SINGLE_PROCESS):
    preset = load_preset("smoke")
    held_out = pair_batches(store).held_out(2)
    batches = pair_batches(store, micro_batch, dist)
    return ClassifierTask(small_classifier(), "face", preset, batches, held_out)


def gradient(store, micro_batch=None, dist=SINGLE_PROCESS):
    task = classifier_task(store, micro_batch, dist)
    GradientAccumulation(task, train_config(micro_batch), TrainerConfig(), dist).compute(0)
    return {name: p.grad.clone() for name, p in task.model.named_parameters() if p.grad is not None}


def main(folder, micro_batch):
    torch.set_num_threads(1)
    dist, micro_batch, store = init_distributed("cpu"), int(micro_batch), Store(folder)
    found = gradient(store, micro_batch, dist)
    if dist.is_main_process:
        save_file(found, Path(folder) / "gradient.safetensors")
    config = train_config(micro_batch)
    run = Run.of(store, "small", config, TrainerConfig(log_every=1), "a")
    fit(classifier_task(store, micro_batch, dist), config, run, dist)


if __name__ == "__main__":
    main(*sys.argv[1:])
