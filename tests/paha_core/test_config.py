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
        ("classifiers", {"train": {"batch": 15, "micro_batch": 1}}, "both halves of pairs"),
        ("classifiers", {"datasets": ["ted"]}, "classifiers.datasets names no corpus: ted"),
    ],
)
def test_what_classifiers_can_not_read_is_refused_by_name(tmp_path, section, changes, words):
    values = load_preset("smoke").model_dump(mode="json")
    for name, value in changes.items():
        values[section][name] = value
    (tmp_path / "mine.yaml").write_text(yaml.safe_dump(values))
    with pytest.raises(PresetError, match=words):
        load_preset(tmp_path / "mine.yaml")


def test_a_preset_is_laid_over_its_base(tmp_path):
    (tmp_path / "mine.yaml").write_text(
        "base: demo\nname: mine\nunivdm: {train: {steps: 7}}\nnegatives: {lengths: [8]}\n"
    )
    (tmp_path / "sub").mkdir()
    (tmp_path / "sub/over.yaml").write_text("base: ../mine.yaml\nname: over\nthreads: 1\n")
    mine, demo = load_preset(tmp_path / "mine.yaml"), load_preset("demo")
    assert mine.univdm.train.steps == 7
    assert mine.negatives.lengths == (8,)  # a list replaces, it is not appended
    assert mine.univdm.train.learning_rate == demo.univdm.train.learning_rate
    assert mine.codec == demo.codec
    over = load_preset(tmp_path / "sub/over.yaml")
    assert (over.name, over.threads, over.univdm) == ("over", 1, mine.univdm)


def test_bases_in_a_circle_are_refused_by_name(tmp_path):
    (tmp_path / "a.yaml").write_text("base: b.yaml\nname: a\n")
    (tmp_path / "b.yaml").write_text("base: a.yaml\nname: b\n")
    with pytest.raises(PresetError, match=r"in a circle: .*a\.yaml -> .*b\.yaml -> .*a\.yaml"):
        load_preset(tmp_path / "a.yaml")
    (tmp_path / "c.yaml").write_text("base: nowhere\nname: c\n")
    with pytest.raises(PresetError, match="no preset 'nowhere'"):
        load_preset(tmp_path / "c.yaml")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"base: demo\nname: x\nname: y\n", "the key 'name' occurs twice"),
        ("base: demo\nname: x  # 中文\n".encode("gbk"), "not UTF-8 text"),
        (b"base: demo\nname: ../evil\n", "name: String should match"),
        (b"base: [demo]\nname: x\n", "base must be"),
    ],
)
def test_a_preset_file_that_misleads_is_refused_in_a_sentence(tmp_path, content, message):
    (tmp_path / "x.yaml").write_bytes(content)
    with pytest.raises(PresetError, match=message):
        load_preset(tmp_path / "x.yaml")


def test_the_study_is_ten_lines_over_the_demo():
    study, demo = load_preset("study"), load_preset("demo")
    assert study.corpora.studio.programmes == 64
    assert (study.codec, study.univdm.network) == (demo.codec, demo.univdm.network)


@pytest.mark.parametrize(
    ("value", "expected", "source"),
    [
        ("par.threshold", 0.8, "tau, 5.1"),
        ("par.radius", 10, "r, 5.1"),
        ("par.hand_face_weight", 10, "omega_1, 5.1"),
        ("par.body_weight", 2, "omega_2, 5.1"),
        ("univdm.train.frames", 32, "5.1"),
        ("univdm.train.steps", 100_000, "appendix B.1"),
        ("univdm.train.batch", 8, "B.1"),
        ("univdm.train.learning_rate", 5e-5, "B.1"),
        ("negatives_step", 60_000, "5.1, B.3.2"),
        ("negatives.count", 50_000, "5.1"),
        ("negatives.lengths", (30, 60, 90, 120), "5.1"),
        ("negatives.ddim_steps", 30, "5.1, B.3.3"),
        ("classifier_datasets", ["pats"], "positives are PATS' training set, 5.1"),
        ("classifiers.mask_probability", 0.8, "5.1"),
        ("classifiers.train.steps", 100_000, "B.3.3"),
        ("classifiers.train.batch", 16, "B.3.3"),
        ("classifiers.train.learning_rate", 1e-4, "B.3.3"),
        ("classifiers.train.warmup", 5000, "B.3.3"),
        ("pose.faces_from_keypoints", False, "MediaPipe's boxes, 5.1 and B.3.3"),
        ("generation.clips", 0, "all of both test sets, 5.1"),
        ("generation.size", 256, "the final video is evaluated at 256 x 256, B.4.2"),
        ("generation.ddim_steps", 30, "B.4.2"),
        ("generation.guidance.rate", 0.5, "the first 15 of 30 steps, B.4.2"),
        ("generation.guidance.lambda_face", 0.1, "B.4.2"),
        ("generation.guidance.lambda_non_face", 1.0, "B.4.2"),
        ("generation.guidance.lambda_diff", 0.25, "B.4.2"),
    ],
)
def test_the_paper_preset_has_the_papers_value(value, expected, source):
    found = load_preset("paper")
    for name in value.split("."):
        found = getattr(found, name)
    assert found == expected, source
