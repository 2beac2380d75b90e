"""What the trainer's settings do, and what a run leaves to look at."""

import json
import shutil
import sys

import numpy as np
import pytest
import small_classifier
import torch
from PIL import Image
from safetensors.torch import load_file
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

import small_univdm
from paha_core.config import TrainerConfig, load_preset
from paha_core.inference.untrained import untrained_pipeline
from paha_core.shards.windows import Batch
from paha_core.training.compiled import check_gradient, compile_model
from paha_core.training.distributed import SINGLE_PROCESS
from paha_core.training.gradient import GradientAccumulation, memory_advice
from paha_core.training.loop import fit
from paha_core.training.optimizer import moments_bytes
from paha_core.training.run import TrainingError
from paha_core.training.tasks.strips import Strips
from paha_core.training.tasks.univdm import sample_weights
from tiny import TinyTask, config, run
from tiny_univdm import tiny_univdm


class Remembering(TinyTask):
    """Keeps the type of what the network gave."""

    def loss(self, model, step):
        self.seen = model(torch.ones(1, 6)).dtype
        return super().loss(model, step)


def with_trainer(folder, **changes):
    made = run(folder)
    made.trainer = TrainerConfig(**{"log_every": 1} | changes)
    return made


def test_bf16_computes_in_bfloat16_and_keeps_weights_and_moments_in_float32(tmp_path):
    task = Remembering()
    fit(task, config(), with_trainer(tmp_path, precision="bf16", keep_every=40))
    assert task.seen == torch.bfloat16
    assert task.losses[39] < 0.5 * task.losses[0]
    saved = tmp_path / "checkpoints/tiny/steps/00000040"
    for name in ("model", "optimizer", "average"):
        values = load_file(saved / f"{name}.safetensors").values()
        assert all(value.dtype == torch.float32 for value in values)


@pytest.mark.skipif(shutil.which("g++") is None, reason="torch.compile needs a C++ compiler")
def test_a_compiled_network_trains_to_the_same_weights_under_the_same_names(tmp_path):
    fit(TinyTask(), config(steps=6), run(tmp_path / "eager"))
    fit(TinyTask(), config(steps=6), with_trainer(tmp_path / "compiled", compile=True))
    eager, compiled = (
        load_file(tmp_path / name / "checkpoints/tiny/final/model.safetensors")
        for name in ("eager", "compiled")
    )
    assert eager.keys() == compiled.keys()
    for name, value in eager.items():
        torch.testing.assert_close(compiled[name], value, rtol=1e-3, atol=1e-5)


def test_moments_in_8_bits_need_bitsandbytes_and_no_shares(tmp_path, monkeypatch):
    for name in ("bitsandbytes", "bitsandbytes.optim"):  # as where it is not installed
        monkeypatch.setitem(sys.modules, name, None)
    for changes, message in (
        ({}, r"needs bitsandbytes: pip install 'paha\[adam8bit\]'"),
        ({"shard_optimizer": True}, "choose one of them"),
    ):
        with pytest.raises(TrainingError, match=message):
            fit(TinyTask(), config(), with_trainer(tmp_path, optimizer_bits=8, **changes))


def test_moments_in_8_bits_are_a_quarter_and_come_back_from_a_checkpoint(tmp_path):
    pytest.importorskip("bitsandbytes", reason="needs bitsandbytes")
    for name, steps in (("whole", 20), ("parts", 10), ("parts", 20)):
        made = run(tmp_path / name, train=config(steps=steps))
        made.trainer = TrainerConfig(log_every=1, optimizer_bits=8)
        fit(TinyTask(hidden=1024), config(steps=steps), made)
    final = "checkpoints/tiny/final/model.safetensors"
    one, two = (load_file(tmp_path / name / final) for name in ("whole", "parts"))
    assert all(torch.equal(one[name], two[name]) for name in one)
    saved = load_file(tmp_path / "whole/checkpoints/tiny/steps/00000020/optimizer.safetensors")
    sizes = [p.numel() for p in TinyTask(hidden=1024).model.parameters()]
    assert saved["0.weight/state1"].dtype == torch.uint8
    kept = sum(v.nbytes for k, v in saved.items() if "qmap" not in k and not k.endswith("step"))
    assert kept + 4 * sum(s < 4096 for s in sizes) == moments_bytes(sizes, bits=8)


def test_bf16_compiled_on_a_cpu_is_refused(tmp_path):
    with pytest.raises(TrainingError, match=r"compile with trainer.precision bf16 loses gradients"):
        fit(TinyTask(), config(), with_trainer(tmp_path, compile=True, precision="bf16"))


def test_a_compiled_gradient_that_is_not_the_eager_one_is_refused():
    eager = torch.randn(1000)
    without = torch.where(torch.arange(1000) < 500, eager, 0.0)  # half of the weights get none
    with pytest.raises(TrainingError, match=r"changes the gradient by [67].%"):
        check_gradient(without, eager, "bf16")
    check_gradient(eager + 0.02 * torch.randn(1000), eager, "bf16")
    with pytest.raises(TrainingError, match="changes the gradient by"):
        check_gradient(eager + 0.02 * torch.randn(1000), eager, "float32")


def test_repeated_blocks_are_compiled_one_by_one_and_logged(caplog):
    """In the classifier too, whose encoder is UniVDM's."""
    caplog.set_level("INFO", "paha")
    for model in (tiny_univdm(), small_classifier.small_classifier()):
        compile_model(model, TrainerConfig(compile=True), torch.device("cpu"))
        compiled = [m for m in model.modules() if m._compiled_call_impl is not None]
        assert len(compiled) > 5
        assert model not in compiled
        assert f"{len(compiled)} repeated blocks, each by itself" in caplog.text


def test_a_run_says_how_it_takes_its_steps(tmp_path, caplog):
    caplog.set_level("INFO", "paha")
    fit(TinyTask(), config(steps=1, micro_batch=4, replicas=2), with_trainer(tmp_path))
    assert (
        "tiny: 16 samples a step, 4 at once on each of 1 x cpu; float32; eager; activations kept; "
        "moments in 32 bits; 2 threads"
    ) in caplog.messages
    small = small_univdm.task(4, SINGLE_PROCESS, gradient_checkpointing=True)
    trainer = TrainerConfig(precision="bf16", optimizer_bits=8)
    steps = GradientAccumulation(small, small_univdm.config(2), trainer, SINGLE_PROCESS)
    assert steps.summary == (
        "4 samples a step, 2 at once on each of 1 x cpu; bf16; eager; activations recomputed; "
        "moments in 8 bits"
    )


def opened(**settings):
    """The small UniVDM's task; its new modules begin at zero, which would hide them."""
    task = small_univdm.task(4, SINGLE_PROCESS, **settings)
    torch.manual_seed(1)
    for weights in task.model.parameters():
        weights.data.add_(0.05 * torch.randn_like(weights))
    return task


def gradient(precision, **settings):
    task = opened(**settings)
    GradientAccumulation(
        task, small_univdm.config(4), TrainerConfig(precision=precision), SINGLE_PROCESS
    ).compute(0)
    return torch.cat([p.grad.flatten() for p in task.model.parameters()])


def test_univdm_in_bf16_has_nearly_the_gradient_and_recomputing_changes_nothing():
    exact, half = gradient("float32"), gradient("bf16")
    assert half.dtype == torch.float32
    assert torch.nn.functional.cosine_similarity(exact, half, dim=0) > 0.99
    assert torch.equal(half, gradient("bf16", gradient_checkpointing=True))


def test_an_error_of_the_sample_weighs_as_one_of_v_until_little_noise_is_left():
    """v = alpha^0.5 noise - (1 - alpha)^0.5 clean, with the noise that a wrong clean one implies"""
    clean, wrong, noise = torch.randn(3, 4, 5).unbind()
    alphas = torch.tensor([0.0, 0.3, 0.7, 0.99])[:, None]
    noisy = alphas**0.5 * clean + (1 - alphas) ** 0.5 * noise

    def velocity(sample):
        implied = (noisy - alphas**0.5 * sample) / (1 - alphas) ** 0.5
        return alphas**0.5 * implied - (1 - alphas) ** 0.5 * sample

    of_v = (velocity(wrong) - velocity(clean)).square()
    weighed = sample_weights(alphas) * (wrong - clean).square()
    torch.testing.assert_close(weighed[:3], of_v[:3])
    assert (weighed[3] < 0.1 * of_v[3]).all()


def test_univdm_that_predicts_the_sample_learns_from_the_latents():
    task = small_univdm.task(4, SINGLE_PROCESS, prediction="sample", zero_terminal_snr=True)
    latents = task.examples.batch_at(0).batch.latents
    loss, metrics = task.loss(Knowing(latents), 0)
    assert loss == metrics["loss_plain"] == 0


class Knowing(torch.nn.Module):
    """Predicts the same, whatever it is given."""

    def __init__(self, latents):
        super().__init__()
        self.latents = torch.nn.Parameter(latents)

    def forward(self, *_):
        return self.latents


def test_torch_compile_takes_univdm_as_one_graph():
    """Its capture; the generated code, which takes minutes, gave the same gradients to 2e-5."""
    eager, compiled = opened(), opened()
    compiled.model.compile(backend="eager", fullgraph=True)  # raises where it would break up
    for task in (eager, compiled):
        task.loss(task.model, 0)[0].backward()
    for one, other in zip(eager.model.parameters(), compiled.model.parameters(), strict=True):
        torch.testing.assert_close(other.grad, one.grad, rtol=1e-3, atol=1e-6)


def test_checkpoints_are_kept_for_good_at_multiples(tmp_path):
    fit(TinyTask(), config(), with_trainer(tmp_path, keep_every=15))
    kept = sorted(p.name for p in (tmp_path / "checkpoints/tiny/steps").iterdir())
    assert kept == ["00000015", "00000030", "00000040"]


def test_the_log_and_tensorboard_tell_every_figure(tmp_path):
    task = small_univdm.task(4, SINGLE_PROCESS)
    fit(task, small_univdm.config(4), small_univdm.run(tmp_path))
    lines = (tmp_path / "checkpoints/small/log.jsonl").read_text().splitlines()
    steps = [line for line in map(json.loads, lines) if "loss" in line]
    assert [line["step"] for line in steps] == list(range(1, 13))
    wanted = {"loss", "loss_par", "loss_plain", "loss_face", "loss_hands", "loss_body"}
    wanted |= {"loss_background", "gradient_norm", "learning_rate", "data_wait_seconds"}
    wanted |= {"samples_per_second", "memory_gib"}
    assert all(wanted <= line.keys() for line in steps)
    assert steps[-1]["loss"] == pytest.approx(steps[-1]["loss_par"], rel=1e-4)
    assert all(0 < line["memory_gib"] < 24 and line["samples_per_second"] > 0 for line in steps)
    board = EventAccumulator(str(tmp_path / "checkpoints/small/tensorboard")).Reload()
    logged = [event.value for event in board.Scalars("loss")]
    assert logged == pytest.approx([line["loss"] for line in steps], rel=1e-5)


class Waiting(TinyTask):
    """Its data take long at every third step."""

    def loss(self, model, step):
        loss, _ = super().loss(model, step)
        return loss, {"data_wait_seconds": 3.0 * (step % 3 == 0)}


def test_the_wait_for_data_is_the_mean_since_the_line_before(tmp_path):
    fit(Waiting(), config(steps=12), with_trainer(tmp_path, log_every=6))
    lines = (tmp_path / "checkpoints/tiny/log.jsonl").read_text().splitlines()
    waits = [x["data_wait_seconds"] for x in map(json.loads, lines) if "loss" in x]
    assert waits == [1.0, 1.0]


class Greedy(TinyTask):
    """Asks for more memory than there is anywhere."""

    def loss(self, model, step):
        torch.empty(1 << 55, dtype=torch.uint8)
        return super().loss(model, step)


def test_out_of_memory_names_what_to_turn_down(tmp_path):
    greedy = run(tmp_path)
    greedy.name = "univdm"
    with pytest.raises(TrainingError, match="out of memory at step 0") as error:
        fit(Greedy(), config(), greedy)
    knobs = ("trainer.precision bf16", "gradient_checkpointing", "train.micro_batch", "paha plan")
    assert all(knob in str(error.value) for knob in knobs)


@pytest.mark.parametrize(
    ("name", "knobs"),
    [
        ("univdm", ["univdm.gradient_checkpointing", "train.micro_batch", "train.frames"]),
        ("face_classifier", ["classifiers.train.micro_batch 1", "negatives.lengths"]),
        ("latent_codec", ["codec.train.micro_batch", "codec.max_frames"]),
        ("video_encoder", ["clips in memory"]),
    ],
)
def test_the_advice_exists_for_each_network(name, knobs):
    advice = memory_advice(name)
    assert all(knob in advice for knob in knobs)
    assert ("univdm." in advice) == (name in ("univdm", "face_classifier"))


class GreedyLater(TinyTask):
    """The same, but only when it is looked at."""

    def validate(self, model):
        torch.empty(1 << 55, dtype=torch.uint8)


def test_out_of_memory_is_named_wherever_it_happens(tmp_path):
    with pytest.raises(TrainingError, match="out of memory at step 20 with 16 samples"):
        fit(GreedyLater(), config(), run(tmp_path))


def test_strips_show_each_window_over_what_the_network_makes_of_it(tmp_path):
    preset = load_preset("smoke")
    preset = preset.model_copy(update={"trainer": TrainerConfig(strips=2)})
    pipeline = untrained_pipeline(preset)
    size, cells, frames = preset.codec.size, preset.codec.latent_size, 5
    windows = torch.randn(3, pipeline.codec.channels, frames, cells, cells)
    still = torch.zeros(3, frames, cells, cells)
    audio, margin = pipeline.audio, preset.audio.margin
    heard = torch.randn(3, frames, 2 * margin + 1, audio.layers, audio.width)
    embedding = torch.randn(3, pipeline.reference.width)
    keys = ["a", "b", "c"]
    first = windows[:, :, 0]
    has = torch.ones(3) > 0
    batch = Batch(
        windows, still, still, heard, first, embedding, first, still[:, 0], heard, has, keys
    )
    Strips(run(tmp_path), preset, pipeline.codec, batch)(7, pipeline.univdm)
    picture = np.asarray(Image.open(tmp_path / "checkpoints/tiny/strips/00000007.png"))
    assert picture.shape == (2 * 2 * size, frames * size, 3)
    real = pipeline.codec.decode(windows[0].transpose(0, 1))
    assert np.array_equal(picture[:size], np.concatenate(list(real), axis=1))
