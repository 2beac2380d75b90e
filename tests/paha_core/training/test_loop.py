import json
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
import uuid
from contextlib import contextmanager

import pytest
import torch
from safetensors.torch import load_file

import tiny
from paha_core.config import NetworkConfig, TrainerConfig, UniVDMConfig
from paha_core.engine.claims import ClaimedError
from paha_core.errors import Interrupted
from paha_core.stages import checks
from paha_core.store import Store
from paha_core.training import checkpoints
from paha_core.training.loop import fit, learning_rate
from paha_core.training.optimizer import too_many_skipped
from paha_core.training.run import Run, TrainingError, TrainingState
from tiny import TinyTask, config, run


def weights(folder, export="final"):
    return load_file(folder / "checkpoints/tiny" / export / "model.safetensors")


def lines(folder):
    text = (folder / "checkpoints/tiny/log.jsonl").read_text()
    return [json.loads(line, parse_constant=pytest.fail) for line in text.splitlines()]


def read_log(folder):
    return [(line["step"], line["loss"]) for line in lines(folder) if "loss" in line]


def assert_same(one, other):
    assert one.keys() == other.keys()
    assert all(torch.equal(one[name], other[name]) for name in one)


def start(folder, pause, hidden=8):
    script = tiny.__file__
    return subprocess.Popen([sys.executable, *map(str, (script, folder, pause, hidden))])


def wait_for_checkpoint(folder, after=0):
    deadline = time.monotonic() + 240
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
    assert read_log(tmp_path / "whole") == read_log(killed)


def test_a_second_trainer_gets_the_name_of_the_first(tmp_path):
    first = start(tmp_path, 0.05)
    try:
        wait_for_checkpoint(tmp_path)
        with pytest.raises(ClaimedError, match=f"training tiny .* process {first.pid} on "):
            fit(TinyTask(), config(), run(tmp_path))
    finally:
        first.kill()
        first.wait()
    assert fit(TinyTask(), config(), run(tmp_path))  # a dead one's is taken over at once


def killed_in_second_checkpoint(folder, hidden):
    """Kill a run while it writes its second checkpoint; returns whether it was caught at that."""
    process = start(folder, 0, hidden)
    steps = folder / "checkpoints/tiny/steps"
    deadline = time.monotonic() + 240
    while not (found := list(steps.glob("*00000010.*"))) and process.poll() is None:
        assert time.monotonic() < deadline
        time.sleep(0.001)
    process.kill()
    process.wait()
    return bool(found) and found[0].exists() and not (steps / "00000010").exists()


def test_killed_while_it_writes_a_checkpoint_it_ends_as_if_never_killed(tmp_path):
    hidden = 100_000  # some 15 MB a checkpoint
    assert fit(TinyTask(hidden=hidden), config(), run(tmp_path / "whole"))
    # A busy machine may be too late, and the checkpoint be whole already: then another try.
    killed = next(
        folder for n in range(5) if killed_in_second_checkpoint(folder := tmp_path / f"{n}", hidden)
    )
    task = TinyTask(hidden=hidden)
    assert fit(task, config(), run(killed))
    assert min(task.losses) == 5  # from the checkpoint before
    assert_same(weights(tmp_path / "whole"), weights(killed))
    assert [f.name for f in killed.glob("checkpoints/tiny/steps/*")] == ["00000040"]


def stopped_at(step, folder, *signals, train=None, content="a"):
    """A run that is sent the signals once it has reported `step`."""

    def send(reported, figures):
        if reported == step:
            for signum in signals:
                os.kill(os.getpid(), signum)

    stopped = run(folder, content, train)
    stopped.on_metrics = send
    fit(TinyTask(), train or config(), stopped)


def resumed_at(folder, train=None, content="a"):
    """The step at which a run goes on, to its end."""
    task = TinyTask()
    assert fit(task, train or config(), run(folder, content, train))
    return min(task.losses)


@pytest.mark.parametrize("signum", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_saves_and_is_logged(tmp_path, signum):
    before = signal.getsignal(signum)
    with pytest.raises(Interrupted, match="step 8 of 40"):
        stopped_at(7, tmp_path, signum)
    assert signal.getsignal(signum) is before
    assert resumed_at(tmp_path) == 8  # the step in which the signal was heard is kept


def test_a_second_interrupt_aborts(tmp_path):
    with pytest.raises(KeyboardInterrupt):
        stopped_at(7, tmp_path, signal.SIGINT, signal.SIGINT)
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
    assert resumed_at(tmp_path) == 5


def test_a_stop_request_saves_before_validation(tmp_path):
    with pytest.raises(Interrupted, match="step 20 of 40"):
        stopped_at(19, tmp_path, signal.SIGTERM)
    assert "validation_loss" not in lines(tmp_path)[-1]
    with pytest.raises(Interrupted, match="step 40 of 40"):
        stopped_at(39, tmp_path, signal.SIGTERM)
    assert fit(TinyTask(), config(), run(tmp_path))  # what is left is to look, and to publish
    assert "validation_loss" in lines(tmp_path)[-1]
    assert weights(tmp_path)


def held_store(folder, allowed):
    """A store whose checkpoints are not written before `allowed` is set; `seen`: as they begin."""

    class Held(Store):
        seen: list[str] = []  # noqa: RUF012

        @contextmanager
        def writing_folder(self, rel, marker=""):
            if "/steps/" in rel:
                self.seen.append(rel)
                assert allowed.wait(240)
            with super().writing_folder(rel, marker) as path:
                yield path

    return Held(str(folder))


def test_training_goes_on_while_a_checkpoint_is_written_and_waits_for_the_one_before(tmp_path):
    allowed, reached = threading.Event(), []
    slow = run(tmp_path)
    slow.store = held_store(tmp_path, allowed)

    def let_go(step, metrics):
        reached.append((step, len(slow.store.seen)))
        if step == 9:  # steps 6 to 9 were taken while that of step 5 was held
            allowed.set()

    slow.on_metrics = let_go
    fit(TinyTask(), config(), slow)
    assert (9, 1) in reached
    assert slow.store.seen[:2] == [f"checkpoints/tiny/steps/{n:08d}" for n in (5, 10)]
    assert fit(TinyTask(), config(), run(tmp_path / "whole"))
    assert_same(weights(tmp_path / "whole"), weights(tmp_path))


def test_a_signal_waits_for_the_checkpoint_that_is_being_written(tmp_path):
    allowed = threading.Event()
    stopped = run(tmp_path)
    stopped.store = held_store(tmp_path, allowed)

    def stop(step, metrics):
        if step == 7:
            threading.Timer(0.5, allowed.set).start()
            os.kill(os.getpid(), signal.SIGTERM)

    stopped.on_metrics = stop
    with pytest.raises(Interrupted, match="step 8 of 40"):
        fit(TinyTask(), config(), stopped)
    assert (tmp_path / "checkpoints/tiny/steps/00000008/state.json").exists()


def test_a_checkpoint_that_can_not_be_written_ends_the_run(tmp_path, monkeypatch):
    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(checkpoints, "save_file", full)
    with pytest.raises(OSError, match="No space left"):
        fit(TinyTask(), config(), run(tmp_path))
    assert list(tmp_path.glob("checkpoints/tiny/steps/*")) == []


def test_a_finished_run_is_not_repeated_and_a_changed_one_starts_anew(tmp_path):
    assert fit(TinyTask(), config(), run(tmp_path))
    assert not fit(TinyTask(), config(), run(tmp_path))
    task = TinyTask()
    assert fit(task, config(steps=12), run(tmp_path, "b", config(steps=12)))
    assert sorted(task.losses) == list(range(12))


def test_a_finished_run_asked_for_more_steps_continues_to_the_weights_of_as_many_at_once(tmp_path):
    longer = config(steps=60)
    assert fit(TinyTask(), longer, run(tmp_path / "at once", train=longer))
    assert fit(TinyTask(), config(), run(tmp_path / "later"))
    task = TinyTask()
    assert fit(task, longer, run(tmp_path / "later", train=longer))
    assert min(task.losses) == 40
    assert_same(weights(tmp_path / "at once"), weights(tmp_path / "later"))
    assert len(read_log(tmp_path / "later")) == 60
    with pytest.raises(TrainingError, match=r"00000060 is beyond train.steps 40"):
        fit(TinyTask(), config(), run(tmp_path / "later"))
    assert_same(weights(tmp_path / "at once"), weights(tmp_path / "later"))


def test_a_finished_run_without_its_checkpoint_is_an_error(tmp_path):
    assert fit(TinyTask(), config(), run(tmp_path))
    before = weights(tmp_path)
    shutil.rmtree(tmp_path / "checkpoints/tiny/steps")
    longer = config(steps=60)
    with pytest.raises(TrainingError, match="finished at step 40 with another schedule, and its"):
        fit(TinyTask(), longer, run(tmp_path, train=longer))
    assert_same(weights(tmp_path), before)
    assert len(read_log(tmp_path)) == 40
    assert not fit(TinyTask(), config(), run(tmp_path))


def test_a_skipped_step_leaves_weights_average_and_moments_alone(tmp_path):
    train = config(steps=8, checkpoint_every=1, keep=8)
    made = run(tmp_path, train=train)
    made.trainer = TrainerConfig(log_every=1, keep_every=1)
    fit(TinyTask(bad_steps=(5,)), train, made)
    steps = tmp_path / "checkpoints/tiny/steps"
    for name in ("model", "average", "optimizer"):
        before, after, next_one = (
            load_file(steps / f"{step:08d}/{name}.safetensors") for step in (5, 6, 7)
        )
        assert_same(before, after)
        assert not all(torch.equal(after[key], next_one[key]) for key in after)


@pytest.mark.parametrize(
    ("skipped", "in_a_row", "step", "stops"),
    [(20, 20, 30, False), (21, 1, 300, True), (900, 3, 99_000, False), (900, 21, 99_000, True)],
)
def test_too_many_skipped_steps_are_more_than_a_share_or_a_row(skipped, in_a_row, step, stops):
    state = TrainingState(step=step, skipped_steps=skipped, skipped_in_a_row=in_a_row)
    assert too_many_skipped(state, config(max_bad_steps=20)) is stops


def test_checkpoints_of_other_settings_are_set_aside_and_restored(tmp_path):
    with pytest.raises(Interrupted):
        stopped_at(7, tmp_path, signal.SIGTERM)
    assert resumed_at(tmp_path, content="b") == 0
    aside = tmp_path / f"checkpoints/tiny.before-{run(tmp_path).lineage[:8]}"
    assert (aside / "steps/00000008/model.safetensors").is_file()
    b = weights(tmp_path)
    assert resumed_at(tmp_path) == 8
    assert not aside.exists()
    assert not fit(TinyTask(), config(), run(tmp_path, "b"))  # and so does a finished one
    assert_same(weights(tmp_path), b)


def test_so_it_is_in_an_object_store():
    store, short = Store(f"memory://{uuid.uuid4().hex}"), config(steps=2)
    a, b = (Run.of(store, "tiny", short, TrainerConfig(), content) for content in "ab")
    assert fit(TinyTask(), short, a)
    assert fit(TinyTask(), short, b)
    assert not fit(TinyTask(), short, a)
    assert store.glob("checkpoints/*") == [
        "checkpoints/tiny",
        f"checkpoints/tiny.before-{b.lineage[:8]}",
    ]


def test_another_schedule_resumes_from_the_checkpoint(tmp_path, caplog):
    with pytest.raises(Interrupted):
        stopped_at(7, tmp_path, signal.SIGTERM)
    assert resumed_at(tmp_path, config(learning_rate=5e-3, steps=12)) == 8
    assert "with another schedule" in caplog.text
    with pytest.raises(Interrupted):
        stopped_at(7, tmp_path / "b", signal.SIGTERM)
    with pytest.raises(TrainingError, match=r"00000008 is beyond train.steps 6"):
        fit(TinyTask(), config(steps=6), run(tmp_path / "b", train=config(steps=6)))


def test_how_the_machine_goes_about_it_is_not_part_of_what_a_run_is():
    here = config()
    elsewhere = config(micro_batch=4, replicas=2, keep=7, checkpoint_every=3, validate_every=9)
    assert run(".", train=here).fingerprint == run(".", train=elsewhere).fingerprint
    network = NetworkConfig(pretrained="/elsewhere")
    univdm = UniVDMConfig(network=network, gradient_checkpointing=True, train=elsewhere)
    assert univdm.identity() == UniVDMConfig(train=here).identity()
    assert univdm.identity() != UniVDMConfig(train=config(seed=1)).identity()
    faster = config(learning_rate=2e-2)
    assert run(".", train=faster).lineage == run(".", train=here).lineage
    assert run(".", train=faster).fingerprint != run(".", train=here).fingerprint


def test_milestones_are_kept_and_working_checkpoints_removed(tmp_path):
    fit(TinyTask(), config(), run(tmp_path))
    assert weights(tmp_path, "early").keys() == weights(tmp_path).keys()
    kept = list(tmp_path.glob("checkpoints/tiny/steps/*"))
    assert [folder.name for folder in kept] == ["00000040"]  # to continue from
    training = json.loads((tmp_path / "checkpoints/tiny/early/training.json").read_text())
    assert training["step"] == 24


def test_bad_steps_are_skipped_then_stop_the_run(tmp_path):
    with pytest.raises(TrainingError, match="4 steps were not finite, the last one 13"):
        fit(TinyTask(bad_steps=range(10, 99)), config(max_bad_steps=3), run(tmp_path))
    assert list(tmp_path.glob("checkpoints/tiny/steps/00000010"))


def test_a_skipped_step_is_null_in_the_log_and_counted(tmp_path):
    fit(TinyTask(bad_steps=(10, 12)), config(), run(tmp_path))
    logged = [line for line in lines(tmp_path) if "loss" in line]
    assert [line["step"] for line in logged if line["loss"] is None] == [11, 13]
    assert [line["skipped_steps"] for line in logged][9:14] == [0, 1, 1, 2, 2]
    assert checks.finite_loss(run(tmp_path).store, "tiny").passed is False  # two of 40


def test_the_log_can_be_read_while_it_grows_and_holds_means(tmp_path):
    task, seen = TinyTask(bad_steps=(5,)), []
    made = run(tmp_path)
    made.trainer = TrainerConfig(log_every=4)
    made.on_metrics = lambda step, metrics: seen.append(len(lines(tmp_path)))
    fit(task, config(steps=12, validate_every=12), made)
    assert seen == [1, 2, 3, 4]
    means = [sum(task.losses[i] for i in steps) / len(steps) for steps in ((0, 1, 2, 3), (4, 6, 7))]
    assert [line["loss"] for line in lines(tmp_path)[:2]] == pytest.approx(means)


def test_a_failed_run_in_an_object_store_leaves_its_log():
    store = Store(f"memory://{uuid.uuid4().hex}")
    failed = Run.of(store, "tiny", config(), TrainerConfig(log_every=1), "a")
    with pytest.raises(TrainingError, match="not finite"):
        fit(TinyTask(bad_steps=range(7, 99)), config(max_bad_steps=1, checkpoint_every=99), failed)
    logged = [
        json.loads(line) for line in store.read_bytes(f"{failed.folder}/log.jsonl").splitlines()
    ]
    assert [line["step"] for line in logged] == list(range(1, 10))


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
    fit(TinyTask(), config(micro_batch=4), run(one_by_one))
    fit(TinyTask(), config(micro_batch=4, replicas=2), run(together))
    for name, weight in weights(one_by_one).items():
        torch.testing.assert_close(weight, weights(together)[name], rtol=1e-4, atol=1e-6)
