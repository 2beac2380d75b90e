"""Two processes train as one does with the batch of both."""

import signal
import subprocess
import sys

import pytest
import torch
from safetensors.torch import load_file

import small_univdm
from paha_core.config import TrainConfig
from paha_core.engine.processes import INTERRUPTED
from paha_core.errors import UserError

SCRIPT = small_univdm.__file__


def pair(*arguments):
    """The exit code of two processes under the launcher."""
    command = [
        sys.executable,
        "-m",
        "paha_core.training.launch",
        "2",
        "300",
        sys.executable,
        SCRIPT,
    ]
    return subprocess.run([*command, *map(str, arguments)], timeout=600).returncode


def weights(folder):
    return load_file(folder / "checkpoints/small/final/diffusion_pytorch_model.safetensors")


@pytest.fixture(scope="module")
def by_one(tmp_path_factory):
    folder = tmp_path_factory.mktemp("one")
    assert small_univdm.main(folder, 4) == 0
    return folder


@pytest.fixture(scope="module")
def by_two(tmp_path_factory):
    folder = tmp_path_factory.mktemp("two")
    assert pair(folder, 2) == 0
    return folder


@pytest.mark.parametrize("turns", [1, 2])
def test_two_processes_have_the_gradient_of_one_with_twice_as_much_at_once(by_one, by_two, turns):
    """In one turn, and in two, where the processes' sum comes with the last."""
    expected = load_file(by_one / f"gradient-{turns}.safetensors")
    found = load_file(by_two / f"gradient-{turns}.safetensors")
    assert expected.keys() == found.keys()
    for name, value in expected.items():  # sums of the same terms in another order
        torch.testing.assert_close(found[name], value, rtol=1e-4, atol=1e-7, msg=name)


def test_two_processes_come_to_the_weights_of_one(by_one, by_two):
    expected, found = weights(by_one), weights(by_two)
    apart = max(float((found[name] - expected[name]).abs().max()) for name in expected)
    assert apart < 1e-4  # after 12 steps of 1e-3


def test_stops_and_shared_moments_change_nothing(tmp_path, by_two):
    """ZeRO-1 over a stop: its shares come together in a checkpoint and part again; the next
    checkpoint is gone on from by processes that keep all moments each."""
    assert pair(tmp_path, 2, 3, "shard") == INTERRUPTED
    assert not (tmp_path / "checkpoints/small/final").exists()
    assert pair(tmp_path, 2, 7, "shard") == INTERRUPTED
    assert pair(tmp_path, 2) == 0
    expected, found = weights(by_two), weights(tmp_path)
    assert all(torch.equal(found[name], expected[name]) for name in expected)


def test_a_batch_that_can_t_be_shared_is_refused():
    train = TrainConfig(batch=8, micro_batch=2)
    assert [train.shares(world) for world in (1, 2, 4)] == [(2, 4), (2, 2), (2, 1)]
    assert TrainConfig(batch=8).shares(8) == (1, 1)
    for world in (3, 8):
        with pytest.raises(UserError, match=f"{world} processes that take 2 at once can't share"):
            train.shares(world)


STUBBORN = r"""
import os, signal, time
signal.signal(signal.SIGTERM, lambda *_: os.write(1, b"asked\n"))
os.write(1, b"ready\n")  # at once, lest two processes' lines mix
time.sleep(600)
"""


@pytest.mark.parametrize(("grace", "again"), [("0.2", False), ("600", True)])
def test_who_does_not_stop_is_ended_after_the_grace_or_at_the_second_interrupt(grace, again):
    command = [sys.executable, "-m", "paha_core.training.launch", "2", grace]
    command += [sys.executable, "-c", STUBBORN]
    launcher = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    assert [launcher.stdout.readline() for _ in range(2)] == ["ready\n"] * 2
    launcher.send_signal(signal.SIGINT)
    if again:  # once the first was heard: a busy machine takes two that wait for one
        assert launcher.stdout.readline() == "asked\n"
        launcher.send_signal(signal.SIGINT)
    assert launcher.wait(timeout=300) == 128 + signal.SIGKILL
