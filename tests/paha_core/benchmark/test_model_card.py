"""The model card of an export: licences, figures and origin in the hub's form."""

import yaml

from paha_core.benchmark.report.model_card import card
from paha_core.config import derived, load_preset
from paha_core.inference.untrained import untrained_pipeline
from paha_core.metrics.row import MetricRow
from paha_core.store import Store


def front_matter(text):
    return yaml.safe_load(text.split("---\n")[1])


def row(system, metric, value, dataset="all"):
    bounds = (value - 0.1, value + 0.1)
    return MetricRow("t", system, dataset, metric, value, *bounds, 6, "", "higher", "pixels", "")


def test_a_drawn_corpus_binds_nobody_and_unmeasured_is_said(tmp_path):
    pipeline = untrained_pipeline(load_preset("smoke"))
    store = Store(str(tmp_path))
    store.write_json("checkpoints/univdm/final/training.json", {"step": 1234})
    text = card(pipeline, store, [])
    about = front_matter(text)
    assert (about["license"], about["pipeline_tag"]) == ("apache-2.0", "image-to-video")
    assert "model-index" not in about
    assert "no part forbids any use" in text
    assert "1,234 steps" in text
    assert "Nothing is measured" in text
    assert "studio: drawn presenters" in text, "stand-ins are named"
    assert pipeline.networks["univdm"]["sha256"][:12] in text


def test_licences_and_figures_of_footage_are_the_cards(tmp_path):
    footage = {"kind": "pats", "csv": "a.csv", "videos": "v", "licence": "CC BY-NC 4.0"}
    preset = load_preset("smoke")
    preset = derived(preset, {"corpora": {"pats": footage, "cnas": None}})
    pipeline = untrained_pipeline(preset)
    rows = [row("unguided", "lip_correlation", 0.5), row("real", "lip_correlation", 0.9)]
    text = card(pipeline, None, rows, ["me: only for my own films"])
    about = front_matter(text)
    assert (about["license"], about["license_name"]) == ("other", "CC BY-NC 4.0")
    assert "not for commercial use, because of pats (CC BY-NC 4.0)" in text
    assert "A merged adapter: me: only for my own films." in text
    [result] = about["model-index"][0]["results"]
    assert result["metrics"][0]["value"] == 0.5
    assert "0.500 (0.400 to 0.600)" in text
    assert "| real | unguided |" in text
