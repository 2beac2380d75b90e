"""`paha`: what it answers, in the words and exit codes of a shell."""

import pytest
from typer.testing import CliRunner

from paha_core.cli import app
from paha_core.config import load_preset
from paha_core.stages import stages_up_to
from paha_core.stages.precision import refused_precisions


@pytest.fixture
def paha():
    runner = CliRunner()
    return lambda *arguments, **env: runner.invoke(app, list(arguments), env=env)


def test_help_teaches(paha):
    for command in ("run", "generate", "corpus", "train", "preset", "status"):
        assert command in paha("--help").output
    assert "paha run clips --preset study.yaml" in paha("run", "--help").output


def test_presets_are_listed_shown_and_checked(paha):
    assert {"demo", "smoke"} <= set(paha("preset", "list").output.split())
    assert "par_power:" in paha("preset", "show", "smoke").output
    assert "good preset" in paha("preset", "check", "demo").output


def test_a_bad_preset_is_one_sentence(paha, tmp_path):
    bad = tmp_path / "bad.yaml"
    bad.write_text("name: x\ncorpora: {cnas: {}, studio: {heigt: 3}}\n")
    done = paha("run", "--preset", str(bad), "--store", str(tmp_path / "store"))
    assert done.exit_code == 1
    assert "corpora.studio.heigt" in done.output
    assert "Traceback" not in done.output
    assert not (tmp_path / "store").exists()


@pytest.mark.parametrize(
    ("section", "stage", "before", "words"),
    [
        ("trainer: {compile: true, precision: bf16}", "univdm", "par_masks", "loses gradients"),
        ("negatives: {precision: tf32}", "negative_samples", "univdm", "tf32 needs a GPU"),
        ("generation: {precision: tf32}", "report", "negative_samples", "tf32 needs a GPU"),
    ],
)
def test_a_precision_that_a_cpu_lacks_is_refused_at_the_start(
    paha, tmp_path, section, stage, before, words
):
    wrong, store = tmp_path / "wrong.yaml", tmp_path / "store"
    wrong.write_text(f"base: smoke\nname: wrong\ndevice: cpu\n{section}\n")
    for command in (
        ["preset", "check", str(wrong)],
        ["run", stage, "--preset", str(wrong), "--store", str(store)],
    ):
        done = paha(*command)
        assert done.exit_code == 1
        assert words in done.output
    assert not store.exists()
    preset = load_preset(wrong)
    assert refused_precisions(preset, stages_up_to(before)) == []
    on_gpu = preset.model_copy(update={"device": "cuda"})
    assert refused_precisions(on_gpu, stages_up_to(stage)) == []


def test_an_unknown_preset_names_those_there_are(paha):
    done = paha("preset", "check", "nonsense")
    assert done.exit_code == 1
    assert "smoke" in done.output


def test_status_of_an_empty_store(paha, tmp_path):
    done = paha("status", "--preset", "smoke", "--store", str(tmp_path))
    assert done.exit_code == 0
    assert "not yet" in done.output


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("run", "no_such_step"), "no stage"),
        (("run", "keypoints", "--only"), "run `paha run clips` first"),
        (("results",), "no report"),
    ],
)
def test_expected_failures_are_one_sentence(paha, tmp_path, arguments, words):
    done = paha(*arguments, "--preset", "smoke", "--store", str(tmp_path))
    assert done.exit_code == 1
    assert words in done.output
    assert "Traceback" not in done.output


def test_generate_says_how_to_get_networks(paha, tmp_path):
    (tmp_path / "me.png").write_bytes(b"")
    (tmp_path / "voice.wav").write_bytes(b"")
    given = ("--image", str(tmp_path / "me.png"), "--audio", str(tmp_path / "voice.wav"))
    done = paha(
        *("generate", *given, "--out", str(tmp_path / "out.mp4")),
        *("--preset", "smoke", "--store", str(tmp_path / "store")),
    )
    assert done.exit_code == 1
    assert "no trained networks in" in done.output
    assert "`paha run --preset smoke`" in " ".join(done.output.split())
    missing = paha("generate", *given[:2], "--audio", "no.wav", "--out", "x.mp4")
    assert missing.exit_code == 1
    assert "no file no.wav" in missing.output


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ((), "--image, --audio (or --text) and --out"),
        (("--from", "no.json", "--out", "a.mp4"), "no file no.json"),
        (("--batch", "no.csv"), "no file no.csv"),
        (("--folder", "nowhere"), "paha export"),
    ],
)
def test_generate_names_what_it_needs(paha, tmp_path, monkeypatch, arguments, words):
    monkeypatch.chdir(tmp_path)
    image = ("--image", "a.png", "--audio", "a.wav", "--out", "a.mp4")
    networks = ("--preset", "smoke", "--store", str(tmp_path / "store"))
    if "--folder" in arguments:
        given = (*arguments, *image)
    else:
        given = arguments if "--from" in arguments else (*arguments, *networks)
    done = paha("generate", *given)
    assert done.exit_code == 1
    assert words in done.output
    assert "Traceback" not in done.output


def test_corpus_studio_renders_what_was_asked(paha, tmp_path):
    done = paha(
        *("corpus", "studio", "--out", str(tmp_path), "--programmes", "1"),
        *("--seconds", "2", "--height", "128"),
    )
    assert done.exit_code == 0
    assert (tmp_path / "pats" / "intervals.csv").is_file()
    assert list(tmp_path.glob("cnas/*/*.mp4"))
