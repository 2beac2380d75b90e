"""A small UniVDM's training as a module, so that a test can start it in one process or in two.

    small_univdm.py FOLDER MICRO_BATCH [STOP [shard]]

Writes step 0's gradient, taken in one turn and in two, to FOLDER/gradient-<turns>.safetensors and
trains; at step STOP it asks its launcher to stop.
"""

import os
import signal
import sys
import threading
import time
from dataclasses import replace
from pathlib import Path

import torch
from safetensors.torch import save_file

from paha_core.config import TrainConfig, TrainerConfig, UniVDMConfig
from paha_core.engine.processes import INTERRUPTED
from paha_core.errors import Interrupted
from paha_core.shards.windows import Batch
from paha_core.store import Store
from paha_core.training.distributed import SINGLE_PROCESS, init_distributed
from paha_core.training.gradient import GradientAccumulation
from paha_core.training.loop import fit
from paha_core.training.run import Run, step_generator
from paha_core.training.tasks.univdm import ExampleBatches, UniVDMTask
from tiny_univdm import tiny_univdm

WHOLE = 4  # clips of a step, however many processes share them
FRAMES, SIZE = 3, 4


class Made:
    """Micro-batch by micro-batch the rows of one rank of made-up batches of `WHOLE` clips."""

    def __init__(self, micro, dist):
        self.micro, self.dist = micro, dist

    def batch_at(self, number):
        step, first = divmod((number * self.dist.world_size + self.dist.rank) * self.micro, WHOLE)
        draw, rows = step_generator(7, step), slice(first, first + self.micro)

        def normal(*shape):
            return torch.randn(WHOLE, *shape, generator=draw)[rows]

        def below(high):
            shape = (WHOLE, FRAMES, SIZE, SIZE)
            return torch.randint(high, shape, generator=draw, dtype=torch.uint8)[rows]

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
            has_mismatch=torch.ones(self.micro) > 0,
            keys=[str(i) for i in range(WHOLE)][rows],
        )


def task(micro, dist, **settings):
    held_out = [Made(WHOLE, SINGLE_PROCESS).batch_at(1000)]
    config = UniVDMConfig(**settings)
    examples = ExampleBatches(Made(micro, dist), config, dist)
    return UniVDMTask(tiny_univdm(), config, examples, held_out)


def config(micro):
    return TrainConfig(
        steps=12,
        batch=WHOLE,
        micro_batch=micro,
        learning_rate=1e-3,
        ema=0.9,
        checkpoint_every=4,
        validate_every=6,
    )


def run(folder, **changes):
    made = Run.of(Store(str(folder)), "small", config(1), TrainerConfig(log_every=1), "a")
    return replace(made, **changes)


def main(folder, micro, stop="0", shard=""):
    torch.set_num_threads(1)
    dist, micro = init_distributed("cpu"), int(micro)
    for turns in (1, 2):
        at_once = micro // turns
        first_step = task(at_once, dist)
        GradientAccumulation(first_step, config(at_once), TrainerConfig(), dist).compute(0)
        if dist.is_main_process:
            gradient = {name: p.grad.clone() for name, p in first_step.model.named_parameters()}
            save_file(gradient, Path(folder) / f"gradient-{turns}.safetensors")

    def ask_to_stop(step, metrics):
        if step == int(stop):
            arrived, handle = threading.Event(), signal.getsignal(signal.SIGTERM)
            signal.signal(signal.SIGTERM, lambda *caught: (handle(*caught), arrived.set()))
            os.kill(os.getppid(), signal.SIGTERM)  # the launcher passes it on
            patience = time.monotonic() + 240
            while not arrived.wait(0.05):  # a signal that another thread took can't end one wait
                assert time.monotonic() < patience

    try:
        trainer = TrainerConfig(log_every=1, shard_optimizer=bool(shard))
        made = run(folder, on_metrics=ask_to_stop, trainer=trainer)
        fit(task(micro, dist), config(micro), made, dist)
    except Interrupted:
        return INTERRUPTED
    return 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
