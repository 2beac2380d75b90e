"""Tables, whole: real stages, real networks of a few thousand weights, a step or none trained."""

import pytest
import yaml

from paha_core.benchmark.samples import Sampler
from paha_core.benchmark.suite import load_suite, run_suite
from paha_core.benchmark.suites import SUITES
from paha_core.benchmark.variants import trained_variant
from paha_core.config import Preset, load_preset
from paha_core.errors import StepError
from paha_core.models.sync_classifier import SyncClassifier
from paha_core.models.trained import load_univdm
from paha_core.steps import STEPS
from paha_core.store import Store

STAGES = ("programmes", "clips", "keypoints", "face_boxes", "par_masks", "latent_codec")
STAGES += ("training_shards", "univdm", "pose_autoencoder")


def tiny(**suite) -> Preset:
    """The smoke preset with fewer steps, one corpus and one clip length."""
    one = {"steps": 1, "batch": 2, "frames": 4, "checkpoint_every": 1, "validate_every": 1}
    values = load_preset("smoke").model_dump(mode="json")
    values = yaml.safe_load(yaml.safe_dump(values))
    values["corpora"]["studio"] |= {"programmes": 2, "seconds": 2.5, "height": 128}
    values["corpora"]["clip"]["size"] = 128
    values["corpora"]["cnas"] |= {"region": [128, 224], "clip_frames": 62}
    values["corpora"]["pats"] = None
    for section in ("codec", "univdm"):
        values[section]["train"] |= one
    values["generation"] |= {"ddim_steps": 2, "segment_frames": 17, "max_frames": 17, "clips": 2}
    values["benchmark"] |= {"pose_autoencoder_steps": 2, "bootstrap": 20, "suite": suite}
    return Preset(**values | {"name": "tiny", "workers": 1})


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Store:
    """Everything that tables need; the classifiers as they are before training."""
    made = Store(str(tmp_path_factory.mktemp("tiny")))
    for name in STAGES:
        STEPS[name].run(made, tiny(), *(["cnas"] if STEPS[name].per_dataset else []))
    config = tiny().classifiers
    sizes = {"width": config.width, "layers": config.layers, "heads": config.heads}
    for part in ("face", "non_face"):
        with made.writing_folder(f"checkpoints/{part}_classifier/final") as folder:
            SyncClassifier.from_univdm(load_univdm(made), **sizes).save_pretrained(folder)
            (folder / "training.json").write_text('{"fingerprint": "untrained"}')
    return made


@pytest.fixture(autouse=True)
def pixel_detector() -> None:
    """The real detector, not this folder's."""


def test_table_2_is_generated_measured_and_judged(store: Store) -> None:
    result = run_suite(store, tiny(seeds=2), 2)
    assert result.computed
    values = {(row.system, row.metric): row.value for row in result.rows}
    for metric in ("tc", "fvd_random_r3d", "face_share"):
        assert values["SG 0 %", metric] == values["DG 0 %", metric]  # generated once
    assert values["SG 100 %", "tc_classifiers"] > values["SG 0 %", "tc_classifiers"]
    assert len({row.system for row in result.rows}) == 11  # ten rows and the real videos
    cells = {(c.system, c.metric): c for c in result.comparisons}
    assert cells["SG 100 %", "tc"].claimed == "up"
    assert cells["SG 100 %", "tc"].verdict == "undecided"  # two clips
    assert (cells["DG 0 %", "tc"].difference, cells["DG 0 %", "tc"].verdict) == (0, "undecided")
    assert cells["SG 50 %", "fvd"].verdict == "missing"
    assert len(store.glob("manifests/suite_samples/*.parquet")) == 2 * 9
    assert store.exists("benchmark/suites/table2_verdicts.parquet")

    again = run_suite(store, tiny(seeds=2), 2)
    assert not again.computed
    assert again.comparisons == result.comparisons == load_suite(store, 2).comparisons


def test_an_ablation_trains_its_own_network_beside_ours(store: Store) -> None:
    row = next(row for row in SUITES[3].rows if row.name == "w/o PAR + two classifiers")
    before = {rel: store.read_bytes(rel) for rel in store.glob("checkpoints/*/final/*")}
    over, preset = trained_variant(store, tiny(), row.training, "cpu", guided=False)
    assert {rel: store.read_bytes(rel) for rel in before} == before
    own = "variants/univdm.par-False/checkpoints/univdm/final/training.json"
    made = store.read_bytes(own)
    trained_variant(store, tiny(), row.training, "cpu", guided=False)
    assert store.read_bytes(own) == made
    assert not store.exists("variants/univdm.par-False/checkpoints/latent_codec/final")
    ours, theirs = Sampler(store, store, tiny()), Sampler(store, over, preset)
    assert ours.key(row, 0) != theirs.key(row, 0)
    assert [video.seed for video in theirs.videos(row, [5])] == [5, 5]


def test_table_4_is_the_user_study(store: Store) -> None:
    with pytest.raises(StepError, match="user study"):
        run_suite(store, tiny(), 4)
