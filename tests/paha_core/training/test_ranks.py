"""Two processes train as one does with the batch of both."""

import subprocess
import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from paha_core.training.launch import INTERRUPTED

SCRIPT = str(Path(__file__).parent / "small_univdm.py")


def alone(*arguments):
    subprocess.run([sys.executable, SCRIPT, *map(str, arguments)], check=True, timeout=120)


def pair(*arguments):
    """The exit code of two processes under the launcher."""
    command = [sys.executable, "-m", "paha_core.training.launch", "2", sys.executable, SCRIPT]
    return subprocess.run([*command, *map(str, arguments)], timeout=120).returncode


def weights(folder):
    return load_file(folder / "checkpoints/small/final/diffusion_pytorch_model.safetensors")


@pytest.fixture(scope="module")
def by_one(tmp_path_factory):
    folder = tmp_path_factory.mktemp("one")
    alone(folder, 4)
    return folder


@pytest.fixture(scope="module")
def by_two(tmp_path_factory):
    folder = tmp_path_factory.mktemp("two")
    assert pair(folder, 2) == 0
    return folder


def test_two_processes_have_the_gradient_of_one_with_twice_the_batch(by_one, by_two):
    expected = load_file(by_one / "gradient.safetensors")
    found = load_file(by_two / "gradient.safetensors")
    assert expected.keys() == found.keys()
    for name, value in expected.items():  # sums of the same terms in another order
        torch.testing.assert_close(found[name], value, rtol=1e-4, atol=1e-7, msg=name)


def test_two_processes_come_to_the_weights_of_one(by_one, by_two):
    expected, found = weights(by_one), weights(by_two)
    apart = max(float((found[name] - expected[name]).abs().max()) for name in expected)
    assert apart < 1e-4  # after 12 steps of 1e-3


def test_a_stopped_pair_says_so_and_goes_on_as_if_never_stopped(tmp_path, by_two):
    assert pair(tmp_path, 2, 3) == INTERRUPTED
    assert not (tmp_path / "checkpoints/small/final").exists()
    assert pair(tmp_path, 2) == 0
    expected, found = weights(by_two), weights(tmp_path)
    assert all(torch.equal(found[name], expected[name]) for name in expected)
