"""`paha generate` on networks with random weights: what it makes, and what it refuses."""

import json

import cv2
import numpy as np
import pytest
from typer.testing import CliRunner

from paha_core.cli import app
from paha_core.media.audio import write_wav

SMOKE = ("--preset", "smoke", "--mode", "unguided", "--steps", "1", "--size", "64")


@pytest.fixture
def paha():
    runner = CliRunner()
    return lambda *arguments: runner.invoke(app, ["generate", *map(str, arguments)])


def test_a_video_is_made_again_from_its_sidecar_alone(paha, inputs, trained_store, tmp_path):
    image, audio = inputs
    made = paha(
        *("--image", image, "--audio", audio, "--out", tmp_path / "a.mp4"),
        *("--store", trained_store.root, "--max-seconds", 0.2, *SMOKE),
        *("--rate", 1, "--lambda-face", 5, "--form", "printed"),
    )
    assert made.exit_code == 0, made.output
    guidance = json.loads((tmp_path / "a.json").read_text())["request"]["settings"]["guidance"]
    assert (guidance["rate"], guidance["lambda_face"], guidance["lambda_non_face"]) == (1, 5, 1)
    assert guidance["form"] == "printed"
    refused = paha("--from", tmp_path / "a.json")
    assert refused.exit_code == 1
    assert "give --out" in refused.output
    again = paha("--from", tmp_path / "a.json", "--out", tmp_path / "b.mp4")
    assert again.exit_code == 0, again.output
    assert "identical to the first" in again.output


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("--from", "a.json", "--out", "b.mp4", "--seed", 2), "leave out --seed"),
        (("--from", "a.json", "--out", "b.mp4", "--preset", "demo"), "leave out --preset"),
        (("--batch", "a.csv", "--image", "a.png", "--out", "b.mp4"), "leave out --image, --out"),
        (("--folder", "a", "--store", "b", "--batch", "a.csv"), "leave out --store"),
    ],
)
def test_options_that_contradict_each_other_are_refused(paha, arguments, words):
    done = paha(*arguments)
    assert done.exit_code == 1
    assert words in done.output


def test_networks_that_cannot_guide_make_unguided_videos(paha, inputs, trained_store, tmp_path):
    image, audio = inputs
    (tmp_path / "gated.yaml").write_text("base: smoke\ngeneration: {force_guidance: false}\n")
    how = ("--preset", tmp_path / "gated.yaml", "--steps", 1, "--size", 64, "--max-seconds", 0.2)
    given = ("--image", image, "--audio", audio, "--out", tmp_path / "a.mp4", *how,
             "--store", trained_store.root)  # fmt: skip
    made = paha(*given)
    assert made.exit_code == 0, made.output
    assert "note: unguided, because" in made.output
    assert json.loads((tmp_path / "a.json").read_text())["request"]["settings"]["mode"] == (
        "unguided"
    )
    asked = paha(*given, "--mode", "sequential")
    assert asked.exit_code == 1
    assert "--force" in asked.output


def no_face(picture):
    return np.full((128, 128, 3), 90, np.uint8)


def two_faces(picture):
    return np.concatenate([picture, picture], axis=1)


def narrow(picture):
    return np.zeros((2000, 64, 3), np.uint8)


@pytest.mark.parametrize(
    ("draw", "words"),
    [(no_face, "no face was found"), (two_faces, "2 faces"), (narrow, "too narrow")],
)
def test_a_picture_that_is_no_portrait_ends_with_one_sentence(
    paha, picture, inputs, trained_store, tmp_path, draw, words
):
    cv2.imwrite(str(tmp_path / "a.png"), draw(picture)[:, :, ::-1])
    done = paha(
        *("--image", tmp_path / "a.png", "--audio", inputs[1], "--out", tmp_path / "a.mp4"),
        *("--store", trained_store.root, *SMOKE),
    )
    assert_refused(done, words, tmp_path)


@pytest.mark.parametrize(
    ("samples", "words"), [(np.zeros(16000), "silent"), (np.zeros(0), "is not a voice")]
)
def test_a_silent_voice_ends_with_one_sentence(
    paha, inputs, trained_store, tmp_path, samples, words
):
    write_wav(tmp_path / "a.wav", samples, 16000)
    done = paha(
        *("--image", inputs[0], "--audio", tmp_path / "a.wav", "--out", tmp_path / "a.mp4"),
        *("--store", trained_store.root, *SMOKE),
    )
    assert_refused(done, words, tmp_path)


def assert_refused(done, words, folder):
    assert done.exit_code == 1
    assert words in done.output
    assert "Traceback" not in done.output
    assert not (folder / "a.mp4").exists()
    assert not (folder / "a.json").exists()
