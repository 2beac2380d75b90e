import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from paha_core.errors import Interrupted
from paha_core.training.loop import fit, learning_rate
from paha_core.training.run import TrainingError

sys.path.insert(0, str(Path(__file__).parent))
from tiny import TinyTask, config, run


def weights(folder, export="final"):
    return load_file(folder / "checkpoints/tiny" / export / "model.safetensors")


def journal(folder):
    text = (folder / "checkpoints/tiny/log.jsonl").read_text()
    lines = [json.loads(line) for line in text.splitlines()]
    return [(line["step"], line["loss"]) for line in lines if "loss" in line]


def assert_same(one, other):
    assert one.keys() == other.keys()
    assert all(torch.equal(one[name], other[name]) for name in one)


def start(folder, pause, hidden=8):
    script = Path(__file__).parent / "tiny.py"
    return subprocess.Popen([sys.executable, *map(str, (script, folder, pause, hidden))])


def wait_for_checkpoint(folder, after=0):
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        found = sorted(folder.glob("checkpoints/tiny/steps/*/state.json"))
        steps = [int(f.parent.name) for f in found if f.parent.name.isdigit()]
        if steps and max(steps) > after:
            return max(steps)
        time.sleep(0.02)
    raise AssertionError("no checkpoint appeared")


def test_killed_twice_it_ends_as_if_never_killed(tmp_path):
    assert fit(TinyTask(), config(), run(tmp_path / "whole"))
    killed = tmp_path / "killed"
    reached = 0
    for _ in range(2):
        process = start(killed, 0.05)
        reached = wait_for_checkpoint(killed, after=reached)
        os.kill(process.pid, signal.SIGKILL)
        process.wait()
        assert not (killed / "checkpoints/tiny/final").exists()
    task = TinyTask()
    assert fit(task, config(), run(killed))
    assert min(task.losses) >= reached > 0  # it went on, not from zero
    assert_same(weights(tmp_path / "whole"), weights(killed))
    assert journal(tmp_path / "whole") == journal(killed)


def test_killed_while_it_writes_a_checkpoint_it_ends_as_if_never_killed(tmp_path):
    hidden = 400_000  # some 60 MB a checkpoint
    assert fit(TinyTask(hidden=hidden), config(), run(tmp_path / "whole"))
    killed = tmp_path / "killed"
    process = start(killed, 0, hidden)
    half_written = killed / "checkpoints/tiny/steps"
    deadline = time.monotonic() + 60
    while not (found := list(half_written.glob("00000010.*"))):  # the second: one is whole
        assert time.monotonic() < deadline
        assert process.poll() is None
        time.sleep(0.001)
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    assert found[0].exists()
    assert not (half_written / "00000010").exists()
    task = TinyTask(hidden=hidden)
    assert fit(task, config(), run(killed))
    assert min(task.losses) == 5  # from the checkpoint before
    assert_same(weights(tmp_path / "whole"), weights(killed))
    assert not list(killed.glob("checkpoints/tiny/steps/*"))


def test_sigterm_saves_and_says_so(tmp_path):
    task = TinyTask()

    def stop_at_seven(step, figures):
        if step == 7:
            os.kill(os.getpid(), signal.SIGTERM)

    stopped = run(tmp_path)
    stopped.on_figures = stop_at_seven
    with pytest.raises(Interrupted, match="step 8 of 40"):
        fit(task, config(), stopped)
    again = TinyTask()
    fit(again, config(), run(tmp_path))
    assert min(again.losses) == 8  # the step in which the signal was heard is kept


def test_a_finished_run_is_not_repeated_and_a_changed_one_starts_anew(tmp_path):
    assert fit(TinyTask(), config(), run(tmp_path))
    assert not fit(TinyTask(), config(), run(tmp_path))
    task = TinyTask()
    assert fit(task, config(steps=12), run(tmp_path, fingerprint="b"))
    assert sorted(task.losses) == list(range(12))


def test_milestones_are_kept_and_working_checkpoints_removed(tmp_path):
    fit(TinyTask(), config(), run(tmp_path))
    assert weights(tmp_path, "early").keys() == weights(tmp_path).keys()
    assert not list(tmp_path.glob("checkpoints/tiny/steps/*"))
    training = json.loads((tmp_path / "checkpoints/tiny/early/training.json").read_text())
    assert training["step"] == 24


def test_bad_steps_are_skipped_then_stop_the_run(tmp_path):
    with pytest.raises(TrainingError, match="4 steps were not finite, the last one 13"):
        fit(TinyTask(bad_step=10), config(max_bad_steps=3), run(tmp_path))
    assert list(tmp_path.glob("checkpoints/tiny/steps/00000010"))


def test_the_loss_falls(tmp_path):
    task = TinyTask()
    fit(task, config(), run(tmp_path))
    assert task.losses[39] < 0.5 * task.losses[0]


def test_learning_rate_warms_up_then_falls():
    settings = config(warmup=10, decay="cosine", steps=100)
    rates = [learning_rate(settings, step) for step in range(100)]
    assert rates[0] == pytest.approx(1e-3)
    assert max(rates) == pytest.approx(1e-2)
    assert rates[-1] == pytest.approx(2e-4, rel=0.05)


def test_micro_batches_side_by_side_give_the_same_weights(tmp_path):
    one_by_one, together = tmp_path / "a", tmp_path / "b"
    fit(TinyTask(), config(accumulate=4), run(one_by_one))
    fit(TinyTask(), config(accumulate=4, replicas=2), run(together))
    for name, weight in weights(one_by_one).items():
        torch.testing.assert_close(weight, weights(together)[name], rtol=1e-4, atol=1e-6)
