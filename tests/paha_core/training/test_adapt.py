"""An adapter's training: UniVDM stays, a kill costs nothing, checkpoints hold the adapter alone."""

import copy
from dataclasses import replace

import pytest
import torch
from safetensors.torch import load_file

from paha_core.config import derived, load_preset
from paha_core.errors import Interrupted, UserError
from paha_core.inference.adapters import FILE, fingerprint_of, read_adapter
from paha_core.inference.untrained import untrained_pipeline
from paha_core.shards.sample import ClipSample
from paha_core.shards.writer import write_index, write_shards
from paha_core.store import Store
from paha_core.training.tasks.adapt import Footage, adapter_run, train_adapter
from shard_samples import make_sample

TRAIN = {"steps": 6, "batch": 2, "frames": 4, "checkpoint_every": 2, "validate_every": 3}


@pytest.fixture(scope="module")
def pipeline():
    changes = {
        "adapt": {"rank": 2, "alpha": 2, "train": TRAIN | {"learning_rate": 1e-2, "warmup": 0}},
        "trainer": {"validation_windows": 2, "tensorboard": False, "log_every": 1},
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


def train(pipeline, store, **changes):
    own = replace(pipeline, univdm=copy.deepcopy(pipeline.univdm))
    footage = Footage.of(store, "footage", 0.25)
    run = replace(adapter_run(store, own, footage), **changes)
    return own, run, lambda: train_adapter(own, footage, run, "me", "mine")


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
