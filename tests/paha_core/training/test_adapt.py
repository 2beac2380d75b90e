"""An adapter's training: UniVDM stays, a kill costs nothing, checkpoints hold the adapter alone."""

import copy
from dataclasses import replace

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from paha_core.config import derived, load_preset
from paha_core.errors import Interrupted, UserError
from paha_core.inference.adapters import FILE, fingerprint_of, read_adapter
from paha_core.inference.untrained import untrained_pipeline
from paha_core.shards.reader import ShardReader
from paha_core.shards.sample import ClipSample
from paha_core.shards.windows import WindowBatches
from paha_core.shards.writer import write_index, write_shards
from paha_core.store import Store
from paha_core.training.tasks.adapt import Footage, adapter_run, train_adapter
from paha_core.training.tasks.prior import DATASET, MixedWindows, prior_of
from shard_samples import make_sample

TRAIN = {"steps": 6, "batch": 2, "frames": 4, "checkpoint_every": 2, "validate_every": 3}


@pytest.fixture(scope="module")
def pipeline():
    changes = {
        "adapt": {"rank": 2, "alpha": 2, "train": TRAIN | {"learning_rate": 1e-2, "warmup": 0}},
        "trainer": {"validation_windows": 2, "tensorboard": False, "log_every": 1},
        "univdm": {"condition_dropout": 0.1},
        "generation": {"ddim_steps": 2},
    }
    return untrained_pipeline(derived(load_preset("smoke"), changes))


@pytest.fixture(scope="module")
def clips(pipeline):
    """Clips as the pipeline's encoders would make them."""
    made, audio = [], pipeline.audio
    for n in range(4):
        sample = make_sample(n, dataset="footage")
        draw = torch.Generator().manual_seed(n)
        fields = {
            "audio": torch.randn(12, audio.layers, audio.width, generator=draw).half().numpy(),
            "reference": torch.randn(3, pipeline.reference.width, generator=draw).half().numpy(),
        }
        made.append(replace(sample, **fields))
    return made


def store_with(clips: list[ClipSample], folder) -> Store:
    store = Store(str(folder))
    rows = write_shards(store, "shards/footage/train", clips, clips_per_shard=8)
    rows = [row | {"fingerprint": row["checksum"]} for row in rows]
    write_index(store, "training_shards", "footage", rows)
    return store


def train(pipeline, store, others=None, **changes):
    own = replace(pipeline, univdm=copy.deepcopy(pipeline.univdm))
    footage = Footage.of(store, "footage", 0.25)
    prior = prior_of(store, own, footage.train, others)
    run = replace(adapter_run(store, own, footage, prior), **changes)
    return own, run, lambda: train_adapter(own, footage, run, "me", "mine", prior)


def test_it_learns_and_leaves_the_base_as_it_was(pipeline, clips, tmp_path):
    seen = {}
    own, run, go = train(
        pipeline, store_with(clips, tmp_path), on_metrics=lambda step, m: seen.update(m)
    )
    assert go()
    assert fingerprint_of(own.univdm) == fingerprint_of(pipeline.univdm)
    assert own.univdm.state_dict().keys() == pipeline.univdm.state_dict().keys()
    assert seen["validation_loss"] < seen["validation_loss_of_base"]
    with run.store.reading(f"{run.final}/{FILE}") as file:
        info, tensors = read_adapter(file)
    assert (info.clips, info.seconds) == (3, 3 * 12 / 25), "the last clip is validated on"
    assert any(value.any() for name, value in tensors.items() if "lora_B" in name)
    assert not go(), "done is done"
    [last] = run.store.glob(f"{run.folder}/steps/*/model.safetensors")
    with run.store.reading(last) as file:
        assert all("/lora_" in name for name in load_file(file))


def test_a_run_that_was_stopped_ends_with_the_same_adapter(pipeline, clips, tmp_path):
    import os
    import signal

    _, run, go = train(pipeline, store_with(clips, tmp_path / "whole"))
    go()
    whole = run.store.read_bytes(f"{run.final}/{FILE}")

    def stop(step, metrics):
        if step == 3:
            os.kill(os.getpid(), signal.SIGTERM)

    store = store_with(clips, tmp_path / "stopped")
    _, _, go = train(pipeline, store, on_metrics=stop)
    with pytest.raises(Interrupted):
        go()
    _, run, go = train(pipeline, store)
    go()
    assert run.store.read_bytes(f"{run.final}/{FILE}") == whole


def test_one_clip_is_too_little(clips, tmp_path):
    with pytest.raises(UserError, match="1 usable clips"):
        Footage.of(store_with(clips[:1], tmp_path), "footage", 0.1)


def of_others(pipeline, dataset="pats", **wrong):
    """Clips of a run on other people, by the pipeline's encoders; the last one is held out."""
    encoders = {"codec": pipeline.codec, "audio_encoder": pipeline.audio}
    encoders |= {"reference_encoder": pipeline.reference}
    hashes = {f"{name}_sha256": network.sha256 for name, network in encoders.items()} | wrong
    made, audio = [], pipeline.audio
    for n in range(3):
        sample = make_sample(10 + n, dataset=dataset, split="test" if n == 2 else "train", **hashes)
        reference = np.ones((3, pipeline.reference.width), np.float16)
        sound = np.ones((12, audio.layers, audio.width), np.float16)
        made.append(replace(sample, audio=sound, reference=reference))
    return made


@pytest.fixture
def run_store(pipeline, tmp_path):
    def make(**wrong):
        store = Store(str(tmp_path / "run"))
        rows = write_shards(
            store, "shards/pats/all", of_others(pipeline, **wrong), clips_per_shard=8
        )
        rows = [row | {"fingerprint": row["checksum"]} for row in rows]
        write_index(store, "training_shards", "pats", rows)
        return store

    return make


def test_half_of_the_windows_show_other_people_of_the_run(pipeline, clips, run_store, tmp_path):
    seen = {}
    store = store_with(clips, tmp_path / "me")
    footage, others = Footage.of(store, "footage", 0.25), run_store()
    prior = prior_of(store, pipeline, footage.train, others)
    assert prior.source == "2 training clips of the run"
    windows = MixedWindows(
        *(WindowBatches(r, 1, 4, 2, 0) for r in (footage.train, prior.train)), 0.5, 3
    )
    keys = [key.partition("__")[0] for step in range(2) for key in windows.batch_at(step).keys]
    assert keys == ["footage", "pats"] * 3
    _, _, go = train(pipeline, store, others, on_metrics=lambda step, m: seen.update(m))
    assert go()
    assert {"validation_loss_others", "validation_loss_others_of_base"} <= seen.keys()


def test_windows_of_other_people_ask_for_the_bases_prediction(pipeline, clips, run_store, tmp_path):
    """At the start an adapter changes nothing: on the prior's windows the loss is zero."""
    from paha_core.models.lora import add_lora, lora_parameters, target_layers
    from paha_core.training.tasks.adapt import AdaptedUniVDM, AdapterTask
    from paha_core.training.tasks.univdm import ExampleBatches

    univdm, adapt = copy.deepcopy(pipeline.univdm), pipeline.preset.adapt
    add_lora(univdm, "trained", target_layers(univdm, adapt.targets), 2, 2)
    model = AdaptedUniVDM(univdm, lora_parameters(univdm, "trained"))
    reader = ShardReader(run_store(), ["pats"], "train")
    examples = ExampleBatches(WindowBatches(reader, 2, 4, 2, 0), pipeline.preset.univdm)
    keys = {row["key"] for row in reader.rows}
    task = AdapterTask(model, pipeline.preset.univdm, examples, [], None, keys, [])
    assert float(task.loss(model, 0)[0].detach()) < 1e-10
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            parameter += 0.1 * ("lora_B" in name)
    loss, _ = task.loss(model, 0)
    loss.backward()
    assert float(loss.detach()) > 1e-6
    assert all(p.grad is not None for p in model.parameters())
    others = AdapterTask(model, pipeline.preset.univdm, examples, [], None, set(), [])
    assert float(others.loss(model, 0)[0].detach()) > float(loss.detach()), (
        "without the prior: the noise itself"
    )


def test_shards_of_other_encoders_are_no_prior_and_the_base_samples_one(
    pipeline, clips, run_store, tmp_path
):
    store = store_with(clips, tmp_path / "me")
    footage = Footage.of(store, "footage", 0.25)
    own = replace(pipeline, preset=derived(pipeline.preset, {"adapt": {"prior_samples": 8}}))
    prior = prior_of(store, own, footage.train, run_store(codec_sha256="another"))
    assert prior.source == "7 samples of the base"
    sample = prior.train.read(0)
    assert sample.frames == 4
    assert np.isfinite(sample.latents.astype(np.float32)).all()
    assert not np.array_equal(sample.latents, prior.train.read(1).latents)
    written = store.glob(f"shards/{DATASET}/*")
    assert prior_of(store, own, footage.train, None).fingerprints == prior.fingerprints
    assert store.glob(f"shards/{DATASET}/*") == written


def test_a_network_that_can_do_neither_gets_a_warning(pipeline, clips, tmp_path, caplog):
    store = store_with(clips, tmp_path / "me")
    voices = Footage.of(store, "footage", 0.25).train
    own = replace(pipeline, preset=derived(pipeline.preset, {"univdm": {"condition_dropout": 0}}))
    assert prior_of(store, own, voices, None) is None
    assert "will change other people as well" in caplog.text
    off = replace(pipeline, preset=derived(pipeline.preset, {"adapt": {"prior_share": 0}}))
    assert prior_of(store, off, voices, None) is None
