"""`trainer.processes` of any network that can be shared: stages, commands and variants alike."""

import shutil

import pytest
import torch
from safetensors.torch import load_file

from paha_core.benchmark.tables.variants import OverlayStore
from paha_core.config import Preset, load_preset
from paha_core.shards.writer import write_index, write_shards
from paha_core.store import Store
from paha_core.training import parallel
from paha_core.training.run import TrainingError
from shard_samples import make_sample

WEIGHTS = "checkpoints/univdm/final/diffusion_pytorch_model.safetensors"


def preset(processes, **train):
    values = load_preset("smoke").model_dump(mode="json")
    values["corpora"]["cnas"] = None
    values["trainer"] |= {"processes": processes, "validation_windows": 2, "tensorboard": False}
    values["univdm"]["train"] |= {"steps": 4, "batch": 2, "frames": 6} | train
    return Preset.model_validate(values)


@pytest.fixture(scope="module")
def by_one(tmp_path_factory):
    """A store of shards with UniVDM trained in this process."""
    store = Store(str(tmp_path_factory.mktemp("one")))
    samples = [
        make_sample(n, frames=20, split=split) for n, split in enumerate(["train"] * 4 + ["test"])
    ]
    rows = write_shards(store, "shards/pats/all", samples, clips_per_shard=8)
    write_index(store, "training_shards", "pats", rows)
    assert parallel.train(store, preset(1), parallel.new_run(store, preset(1), "univdm", "cpu"))
    return store


def test_two_processes_train_a_variants_univdm_as_one_does(by_one, tmp_path):
    """In a store that lies over another, as those of the tables' variants."""
    base = tmp_path / "base"
    shutil.copytree(by_one.full("shards"), base / "shards")
    shutil.copytree(by_one.full("manifests"), base / "manifests")
    over = OverlayStore(str(tmp_path / "over"), str(base))
    run = parallel.new_run(over, preset(2), "univdm", "cpu")
    assert parallel.train(over, preset(2), run)
    assert not parallel.train(over, preset(2), run)
    one, two = (load_file(store.full(WEIGHTS)) for store in (by_one, over))
    apart = torch.cat([(two[name] - one[name]).flatten() for name in one]).norm()
    assert apart < 1e-3 * torch.cat([weight.flatten() for weight in one.values()]).norm()
    assert not (base / "checkpoints").exists()


def test_a_failure_in_one_of_them_is_a_sentence(by_one, capfd):
    odd = preset(2, batch=3)
    run = parallel.new_run(by_one, odd, "univdm", "cpu")
    with pytest.raises(TrainingError, match="one of its 2 processes ended with code 1"):
        parallel.train(by_one, odd, run)
    assert "2 processes that take 1 at once can't share a batch of 3" in capfd.readouterr().err
