"""A small UniVDM's training as a module, so that a test can start it in one process or in two.

    small_univdm.py FOLDER BATCH [STOP]

Writes step 0's gradient to FOLDER/gradient.safetensors and trains; at step STOP it asks its
launcher to stop.
"""

import os
import signal
import sys
import time
from pathlib import Path

import torch
from safetensors.torch import save_file

from paha_core.config import TrainConfig, TrainerConfig, UniVDMConfig
from paha_core.errors import Interrupted
from paha_core.models.univdm import UniVDM
from paha_core.shards.windows import Batch
from paha_core.store import Store
from paha_core.training.gradient import Gradient
from paha_core.training.launch import INTERRUPTED
from paha_core.training.loop import fit
from paha_core.training.ranks import join
from paha_core.training.run import Run, step_generator
from paha_core.training.univdm import UniVDMTask

WHOLE = 4  # clips of a step, however many processes share them
FRAMES, SIZE = 3, 4


def small_univdm():
    torch.manual_seed(0)
    return UniVDM(
        block_out_channels=(8, 16),
        attention_levels=(True, True),
        layers_per_block=1,
        attention_head_dim=4,
        input_heads=2,
        cross_attention_dim=8,
        norm_num_groups=4,
        reference_width=6,
        reference_tokens=2,
        audio_layers=1,
        audio_width=4,
        audio_tokens=2,
        audio_dim=8,
        audio_hidden=8,
    )


class Made:
    """Step by step the rows of one rank of a made-up batch of `WHOLE` clips."""

    def __init__(self, rank, batch):
        self.rows = slice(rank * batch, (rank + 1) * batch)

    def batch_at(self, step):
        draw = step_generator(7, step)

        def normal(*shape):
            return torch.randn(WHOLE, *shape, generator=draw)[self.rows]

        def below(high):
            shape = (WHOLE, FRAMES, SIZE, SIZE)
            return torch.randint(high, shape, generator=draw, dtype=torch.uint8)[self.rows]

        latents = normal(4, FRAMES, SIZE, SIZE)
        return Batch(
            latents=latents,
            par=1.0 + below(9),
            regions=below(8),
            audio=normal(FRAMES, 5, 1, 4),
            reference_latents=normal(4, SIZE, SIZE),
            reference_embedding=normal(6),
            first_frame=latents[:, :, 0],
            face_mask=below(2)[:, 0].float(),
            mismatched_audio=normal(FRAMES, 5, 1, 4),
            keys=[str(i) for i in range(WHOLE)][self.rows],
        )


def task(batch, ranks):
    held_out = [Made(0, batch).batch_at(1000)]
    return UniVDMTask(
        small_univdm(), UniVDMConfig(), Made(ranks.rank, batch), held_out, ranks=ranks
    )


def config(batch):
    return TrainConfig(
        steps=12,
        batch=batch,
        frames=FRAMES,
        learning_rate=1e-3,
        ema=0.9,
        checkpoint_every=4,
        validate_every=6,
    )


def run(folder, **changes):
    return Run(Store(str(folder)), "small", "a", log_every=1, **changes)


def main(folder, batch, stop="0"):
    torch.set_num_threads(1)
    ranks, batch = join("cpu"), int(batch)
    first_step = task(batch, ranks)
    Gradient(first_step, config(batch), TrainerConfig(), ranks).at(0)
    if ranks.first:
        gradient = {name: p.grad.clone() for name, p in first_step.model.named_parameters()}
        save_file(gradient, Path(folder) / "gradient.safetensors")

    def ask_to_stop(step, figures):
        if step == int(stop):
            os.kill(os.getppid(), signal.SIGTERM)
            time.sleep(1.0)

    try:
        fit(task(batch, ranks), config(batch), run(folder, on_figures=ask_to_stop))
    except Interrupted:
        return INTERRUPTED
    return 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
