"""`paha gc`: what it lists, and that it deletes that and no more."""

import pytest
import yaml
from typer.testing import CliRunner

from paha_core.benchmark.tables.variants import OverlayStore, variant_name
from paha_core.cli import app
from paha_core.config import derived
from paha_core.engine.claims import try_claim
from paha_core.inference.negatives import NegativePlan, make_negatives
from paha_core.store import Store


@pytest.fixture
def gc(negatives_store, negatives_preset, tmp_path_factory):
    file = tmp_path_factory.mktemp("preset") / "small.yaml"
    file.write_text(yaml.safe_dump(negatives_preset.model_dump(mode="json")))
    command = ["gc", "--preset", str(file), "--store", negatives_store.root]
    return lambda *more, **options: CliRunner().invoke(app, [*command, *more], **options)


def test_a_store_without_leftovers(gc, negatives_store, negatives_preset):
    make_negatives(negatives_store, negatives_preset)
    before = negatives_store.glob("**")
    done = gc("--yes")
    assert (done.exit_code, done.output) == (0, "nothing to delete\n")
    assert negatives_store.glob("**") == before


def test_it_lists_asks_and_deletes_what_is_superseded(gc, negatives_store, negatives_preset):
    store = negatives_store
    make_negatives(store, derived(negatives_preset, {"negatives": {"seed": 1}}))
    old = store.glob("negatives/*")
    make_negatives(store, negatives_preset)
    current = sorted(set(store.glob("negatives/*")) - set(old))
    store.write_bytes("variants/an-older-table/checkpoints/univdm/final/a", bytes(5000))
    store.write_bytes("checkpoints/univdm.before-0123abcd/final/a", bytes(7000))
    kilobytes = (sum(store.size(path) for path in old) + 5000 + 7000) / 1000

    refused = gc(input="n\n")
    assert refused.exit_code == 1
    assert f"negatives/ ({len(old)} files)" in refused.output
    assert "variants/an-older-table" in refused.output
    assert "checkpoints/univdm.before-0123abcd" in refused.output
    assert "7.0 kB" in refused.output
    assert f"Delete {kilobytes:.1f} kB?" in refused.output
    assert store.exists(old[0])

    assert gc(input="y\n").exit_code == 0
    assert store.glob("negatives/*") == current
    assert not store.glob("variants/*")
    assert not store.glob("checkpoints/*.before-*")
    assert NegativePlan(store, negatives_preset, "cnas").todo == []
    assert gc().output == "nothing to delete\n"


def test_a_variants_own_negatives_are_cleared_and_ours_stay(gc, negatives_store, negatives_preset):
    store, changes = negatives_store, {"negatives": {"augment": False}}
    make_negatives(store, negatives_preset)
    ours = store.glob("negatives/*")
    folder = f"variants/{variant_name(changes)}"
    over = OverlayStore(f"{store.url}/{folder}", store.url)
    variant = derived(negatives_preset, changes)
    make_negatives(over, derived(variant, {"negatives": {"seed": 1}}))
    old = store.glob(f"{folder}/negatives/*")
    make_negatives(over, variant)
    current = sorted(set(store.glob(f"{folder}/negatives/*")) - set(old))

    done = gc("--yes")
    assert "superseded negatives of a variant" in done.output
    assert store.glob(f"{folder}/negatives/*") == current
    assert store.glob("negatives/*") == ours
    assert NegativePlan(over, variant, "cnas").todo == []

    claim = try_claim(over, "negatives/cnas/cnas-train-006-000000")
    assert "negatives are being generated (process" in gc("--yes").output
    claim.release()


def test_it_waits_for_the_training_of_a_variant(gc, negatives_store):
    place = Store(f"{negatives_store.url}/variants/of_no_table")
    place.write_bytes("checkpoints/univdm/log.jsonl", b"")
    claim = try_claim(place, "checkpoints/univdm")
    assert "a network is being trained (process" in gc("--yes").output
    claim.release()
    assert gc("--yes").exit_code == 0
    assert not negatives_store.glob("variants/*")


def test_it_waits_for_those_who_generate(gc, negatives_store):
    claim = try_claim(negatives_store, "negatives/cnas/cnas-train-006-000000")
    done = gc("--yes")
    assert done.exit_code == 1
    assert "negatives are being generated (process" in done.output
    claim.release()
    assert gc("--yes").output == "nothing to delete\n"
