"""Content credentials and metadata: who signs, what is bound, what `paha inspect` finds."""

import json
import os
import shutil
import stat
from dataclasses import replace
from pathlib import Path

import av
import numpy as np
import pytest
from typer.testing import CliRunner

from paha_core.cli import app
from paha_core.errors import UserError
from paha_core.inference.batch import is_made
from paha_core.inference.credentials import CERTIFICATES, KEY, TEST_NAME, VARIABLE, credentials
from paha_core.inference.marks import Mark, inspect_video, mark_video
from paha_core.inference.pipeline import Settings
from paha_core.inference.video_file import Request, make_video
from paha_core.media.encode import write_video
from paha_core.media.video import read_frames
from paha_core.store import sha256_file

MARK = Mark("PAHA 0", "demo", "ab" * 32, "no part forbids any use")


@pytest.fixture(scope="session")
def made(pipeline, inputs, tmp_path_factory):
    """A marked video of the pipeline with its request."""
    out = tmp_path_factory.mktemp("marked") / "a.mp4"
    settings = Settings(mode="unguided", steps=1, max_seconds=0.2)
    request = Request(*inputs, out, settings, 64)
    return request, make_video(pipeline, request)


@pytest.fixture
def plain(tmp_path):
    """An mp4 without marks."""
    frames = np.random.default_rng(0).integers(0, 255, (5, 64, 64, 3), np.uint8)
    write_video(tmp_path / "plain.mp4", frames, wave=np.zeros(3200, np.float32))
    return tmp_path / "plain.mp4"


def test_every_video_is_signed_and_bound_to_its_sidecar(made, pipeline):
    request, sidecar = made
    found = inspect_video(request.out)
    assert (found.state, found.problems) == ("valid", ())
    assert found.signed_by == TEST_NAME
    assert found.sidecar == request.sidecar
    assert found.claim["sidecar_sha256"] == sha256_file(request.sidecar)
    assert found.claim["univdm_sha256"] == sidecar["networks"]["univdm"]["sha256"]
    assert found.claim == found.comment
    assert "generated" in found.claim["generator"]
    assert sidecar["marked"]
    assert is_made(pipeline, request)


def test_marks_leave_pictures_and_sound_alone(plain):
    marked = plain.with_name("marked.mp4")
    mark_video(plain, marked, MARK)
    assert np.array_equal(read_frames(plain), read_frames(marked))
    assert packets(plain) == packets(marked)
    assert inspect_video(marked).claim == vars(MARK)


def packets(path):
    with av.open(str(path)) as container:
        return [(p.stream.index, p.pts, bytes(p)) for p in container.demux() if p.size]


def test_a_changed_byte_is_found(made, pipeline, tmp_path):
    request, _ = made
    copy = replace(request, out=tmp_path / "a.mp4")
    shutil.copy(request.sidecar, copy.sidecar)
    data = bytearray(request.out.read_bytes())
    data[-300] ^= 1
    copy.out.write_bytes(data)
    found = inspect_video(copy.out)
    assert found.state == "changed"
    assert "hash" in found.problems[0]
    assert not is_made(pipeline, copy)


def test_a_renamed_video_finds_its_sidecar_and_a_changed_sidecar_is_none(made, tmp_path):
    request, _ = made
    shutil.copy(request.out, tmp_path / "renamed.mp4")
    shutil.copy(request.sidecar, tmp_path / "kept.json")
    assert inspect_video(tmp_path / "renamed.mp4").sidecar == tmp_path / "kept.json"
    with (tmp_path / "kept.json").open("a") as file:
        file.write(" ")
    found = inspect_video(tmp_path / "renamed.mp4")
    assert found.sidecar is None
    assert "sidecar" in found.problems[0]


def test_an_unmarked_video_says_so_in_its_sidecar(made, pipeline, tmp_path):
    request = replace(made[0], out=tmp_path / "b.mp4", mark=False)
    sidecar = make_video(pipeline, request)
    assert not sidecar["marked"]
    assert sha256_file(request.out) == sidecar["video_sha256"] == made[1]["video_sha256"]
    assert inspect_video(request.out).state == "unsigned"
    assert is_made(pipeline, request)
    assert not is_made(pipeline, replace(request, mark=True))


def test_inspect_in_a_shell(made, plain):
    shown = CliRunner().invoke(app, ["inspect", str(made[0].out)])
    assert shown.exit_code == 0, shown.output
    assert "content credentials: valid" in shown.output
    assert f"sidecar: {made[0].sidecar}" in shown.output
    assert "metadata, model: smoke" in shown.output
    for wrong, words in ((plain, "no content credentials"), (made[0].sidecar, "not a readable")):
        refused = CliRunner().invoke(app, ["inspect", str(wrong)])
        assert refused.exit_code == 1
        assert words in refused.output
        assert "Traceback" not in refused.output


def test_the_test_certificate_is_made_once_and_its_key_is_private(monkeypatch, tmp_path):
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))
    first = credentials()
    assert credentials() == first
    key = tmp_path / "paha/credentials" / KEY
    assert stat.S_IMODE(key.stat().st_mode) == 0o600
    assert [p.name for p in key.parent.parent.iterdir()] == ["credentials"]


def test_ones_own_certificate_signs_and_one_that_can_not_is_refused(monkeypatch, plain, tmp_path):
    own = tmp_path / "own"
    own.mkdir()
    monkeypatch.setenv(VARIABLE, str(own))
    with pytest.raises(UserError, match=f"holds no {CERTIFICATES}"):
        credentials()
    source = Path(os.environ["XDG_CONFIG_HOME"]) / "paha/credentials"
    monkeypatch.delenv(VARIABLE)
    credentials()
    shutil.copytree(source, own, dirs_exist_ok=True)
    monkeypatch.setenv(VARIABLE, str(own))
    mark_video(plain, tmp_path / "own.mp4", MARK)
    assert inspect_video(tmp_path / "own.mp4").state == "valid"
    (own / CERTIFICATES).write_text("not a certificate")
    with pytest.raises(UserError, match="can't be signed"):
        mark_video(plain, tmp_path / "bad.mp4", MARK)
    assert not (tmp_path / "bad.mp4").exists()


def test_a_stream_of_bytes_that_is_no_json_is_no_comment(plain, tmp_path):
    mark_video(plain, tmp_path / "a.mp4", MARK)
    data = (tmp_path / "a.mp4").read_bytes()
    broken = data.replace(json.dumps("model").encode(), b'"modul"')
    assert broken != data
    (tmp_path / "b.mp4").write_bytes(broken)
    found = inspect_video(tmp_path / "b.mp4")
    assert found.problems
