"""A tiny training run, as a module so that a test can start it as a process and kill it."""

import sys
import time
from pathlib import Path

import torch
from safetensors.torch import save_file
from torch import nn

from paha_core.config import TrainerConfig, WindowTrainConfig
from paha_core.store import Store
from paha_core.training.loop import fit
from paha_core.training.run import Run, step_generator


class TinyTask:
    """A small network learns a linear map; `pause` seconds a step, or a `hidden` layer that takes a
    while to write, leave time to kill it."""

    def __init__(self, pause=0.0, bad_steps=(), hidden=8):
        torch.manual_seed(0)
        self.model = nn.Sequential(nn.Linear(6, hidden), nn.Tanh(), nn.Linear(hidden, 3))
        self.pause, self.bad_steps, self.losses = pause, bad_steps, {}

    def loss(self, model, step):
        time.sleep(self.pause)
        x = torch.randn(16, 6, generator=step_generator(1, step))
        loss = (model(x) - x[:, :3]).square().mean()
        if step in self.bad_steps:
            loss = loss * float("nan")
        self.losses[step] = loss.item()
        return loss, {"tiny": 1.0}

    @torch.no_grad()
    def validate(self, model):
        x = torch.ones(4, 6)
        return {"validation_loss": float((model(x) - x[:, :3]).square().mean())}

    def export(self, model, folder):
        save_file(model.state_dict(), folder / "model.safetensors")


def config(**changes):
    return WindowTrainConfig(
        **{
            "steps": 40,
            "batch": 16,
            "learning_rate": 1e-2,
            "ema": 0.9,
            "checkpoint_every": 5,
            "validate_every": 20,
        }
        | changes
    )


def run(folder, content="a", train=None):
    trainer = TrainerConfig(log_every=1)
    made = Run.of(Store(str(folder)), "tiny", train or config(), trainer, content)
    made.milestones = {24: "early"}
    return made


if __name__ == "__main__":
    task = TinyTask(pause=float(sys.argv[2]), hidden=int(sys.argv[3]))
    fit(task, config(), run(Path(sys.argv[1])))
