"""Any number of corpora by any name: the registry, the preset's entries, and a third corpus."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from paha_core.config import (
    CORPUS_KINDS,
    CnasConfig,
    CorporaConfig,
    PatsConfig,
    Preset,
    PresetError,
    checked,
    load_preset,
)
from paha_core.corpora.card import card_path
from paha_core.corpora.registry import CORPORA
from paha_core.engine.manifest_stage import kept_rows
from paha_core.stages.data import ingest_clips

ROOT = Path(__file__).parents[3]


def test_every_kind_has_a_section_and_an_entry():
    assert {name: corpus.config for name, corpus in CORPORA.items()} == CORPUS_KINDS


@pytest.fixture
def ted(studio, tmp_path) -> Preset:
    """A preset with a third corpus, `ted`, whose footage is an interval csv, beside `cnas`."""
    corpora = {
        "studio": {},
        "clip": {"size": 64},
        "ted": {
            "kind": "pats",
            "csv": str(studio / "pats/intervals.csv"),
            "videos": str(studio / "pats/videos"),
            "min_seconds": 1.0,
            "licence": "CC BY-NC-ND",
        },
        "anchors": {"kind": "cnas", "programmes": str(studio / "cnas")},
    }
    path = tmp_path / "ted.yaml"
    preset = {"name": "ted", "workers": 1, "corpora": corpora}
    path.write_text(yaml.safe_dump(preset, sort_keys=False))
    return load_preset(path)


def test_a_third_corpus_goes_from_footage_to_clips(ted, store, in_this_process):
    with in_this_process():
        report = ingest_clips(store, ted, "ted")
    rows = kept_rows(store, "clips", ["ted"])
    assert report.kept == len(rows) > 0
    assert {row["dataset"] for row in rows} == {"ted"}
    assert {row["licence"] for row in rows} == {"CC BY-NC-ND"}
    assert all(row["clip_id"].startswith("ted/") for row in rows)
    assert store.exists(f"clips/{rows[0]['clip_id']}.mp4")
    assert "# Clips of ted" in store.read_bytes(card_path("ted")).decode()
    assert ingest_clips(store, ted, "ted").computed == 0
    assert not store.glob("manifests/clips/pats*")


def test_partitions_are_the_chosen_presets_corpora(ted, tmp_path):
    """And the smoke preset's, whose job is always there."""
    code = (
        "from pipelines.partitions import CORPORA, SMOKE, whole_range\n"
        "print(CORPORA.get_partition_keys(), *whole_range().values(), *whole_range(SMOKE).values())"
    )
    environment = {"PAHA_PRESET": str(tmp_path / "ted.yaml"), "PYTHONPATH": str(ROOT)}
    done = subprocess.run(
        [sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == "['ted', 'anchors', 'pats', 'cnas'] ted anchors pats cnas"


def test_kind_and_paths_of_weights_are_no_part_of_the_identity():
    for preset in ("demo", "paper"):
        corpora = load_preset(preset).corpora
        for name in corpora.datasets:
            settings = corpora.entry(name).settings()
            assert corpora.entry(name).identity() == {
                key: value for key, value in settings.items() if key not in ("kind", "syncnet")
            }


def test_entries_are_read_by_their_kind():
    corpora = CorporaConfig.model_validate(
        {
            "b": {"kind": "cnas", "programmes": "p"},
            "a": {"kind": "pats", "csv": "c", "videos": "v"},
            "pats": None,
        }
    )
    assert corpora.datasets == ["b", "a"]
    assert isinstance(corpora.entry("b"), CnasConfig)
    assert isinstance(corpora.entry("a"), PatsConfig)
    assert CorporaConfig.model_validate(corpora.settings()) == corpora


@pytest.mark.parametrize(
    ("corpora", "message"),
    [
        ({"ted": {"csv": "a"}}, "ted needs a `kind`"),
        ({"ted": {"kind": "tv"}}, "ted needs a `kind`"),
        ({"pats": {"csvv": "a"}}, "csvv: Extra inputs are not permitted"),
        ({"clip": {}}, "name at least one corpus"),
        ({"pats": {}}, "corpora.pats names no footage"),
        ({"all": {"kind": "cnas", "programmes": "p"}}, "can't be called 'all'"),
        ({"a b": {"kind": "cnas", "programmes": "p"}}, "can't be called 'a b'"),
        ({"../a": {"kind": "cnas", "programmes": "p"}}, "can't be called '../a'"),
    ],
)
def test_a_bad_entry_is_refused_by_name(corpora, message):
    with pytest.raises(PresetError) as refused:
        checked(CorporaConfig, corpora, "these settings")
    assert message in str(refused.value)


def test_an_encoder_for_an_unknown_corpus_is_refused():
    value = load_preset("smoke").settings()
    value["audio"] = {"encoder": "wav2vec2", "pretrained": "a", "by_dataset": {"tde": "b"}}
    with pytest.raises(PresetError, match="names no corpus: tde"):
        checked(Preset, value, "this preset")
