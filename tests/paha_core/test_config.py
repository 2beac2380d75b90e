"""What a preset refuses before anything starts."""

import pytest
import yaml

from paha_core.config import PresetError, load_preset


@pytest.mark.parametrize(
    ("section", "changes", "words"),
    [
        ("generation", {"segment_frames": 200}, "no place for 200 frames"),
        ("negatives", {"lengths": [30, 150]}, "no place for 150 frames"),
        ("classifiers", {"train": {"frames": 16}}, "classifiers.train.frames: Extra inputs"),
        ("classifiers", {"train": {"batch": 16, "micro_batch": 1}}, "an even number at once"),
    ],
)
def test_what_classifiers_can_not_read_is_refused_by_name(tmp_path, section, changes, words):
    values = load_preset("smoke").model_dump(mode="json")
    for name, value in changes.items():
        values[section][name] = value
    (tmp_path / "mine.yaml").write_text(yaml.safe_dump(values))
    with pytest.raises(PresetError, match=words):
        load_preset(tmp_path / "mine.yaml")
