"""What only a CUDA device shows: fused AdamW's resume, CUDA's autocast, Inductor's kernels."""

import os
import signal

import pytest
import torch
from safetensors.torch import load_file

import small_univdm
from paha_core.config import TrainerConfig
from paha_core.errors import Interrupted
from paha_core.training.distributed import SINGLE_PROCESS
from paha_core.training.gradient import GradientAccumulation
from paha_core.training.loop import fit
from tiny_univdm import tiny_univdm

pytestmark = pytest.mark.gpu
FINAL = "checkpoints/small/final/diffusion_pytorch_model.safetensors"


@pytest.mark.parametrize("precision", ["float32", "bf16"])
def test_a_stopped_run_ends_near_one_that_was_not(precision, tmp_path):
    """Near, since kernels that add in any order are allowed in training."""

    def train(folder, stop=0):
        def ask_to_stop(step, metrics):
            if step == stop:
                os.kill(os.getpid(), signal.SIGTERM)

        trainer = TrainerConfig(log_every=1, precision=precision)
        made = small_univdm.run(folder, device="cuda", trainer=trainer, on_metrics=ask_to_stop)
        fit(small_univdm.task(4, SINGLE_PROCESS), small_univdm.config(4), made)

    train(tmp_path / "whole")
    with pytest.raises(Interrupted):
        train(tmp_path / "parts", stop=5)
    train(tmp_path / "parts")
    one, two = (load_file(tmp_path / name / FINAL) for name in ("whole", "parts"))
    before = dict(tiny_univdm().named_parameters())
    moved, apart = (
        torch.cat([(one[n] - other[n]).flatten() for n in one]).norm() for other in (before, two)
    )
    assert apart < 0.02 * moved


@pytest.mark.parametrize("precision", ["float32", "bf16"])
def test_compiled_blocks_have_the_eager_gradient(precision):
    task = small_univdm.task(4, SINGLE_PROCESS)
    task.model.to("cuda")
    trainer = TrainerConfig(compile=True, precision=precision)
    gradient = GradientAccumulation(task, small_univdm.config(4), trainer, SINGLE_PROCESS)
    gradient.compute(0)  # raises where the compiled gradient is not the eager one
    assert all(p.grad is not None for p in task.model.parameters())
