"""`paha corpus fetch`: what the user must bring, and what the command does then."""

import http.server
import threading
from functools import partial

import pytest
import yaml
from typer.testing import CliRunner

from paha_core.cli import app
from paha_core.config import load_preset


@pytest.fixture
def paha():
    runner = CliRunner()
    return lambda *arguments: runner.invoke(app, ["corpus", "fetch", *map(str, arguments)])


def test_without_a_list_it_says_what_to_bring_and_from_where(paha, tmp_path):
    told = paha("pats", "--out", tmp_path / "f")
    assert told.exit_code == 0
    assert "https://chahuja.com/pats/download.html" in told.output
    assert "--split-file" in told.output
    told = paha("talkvid")
    assert "CC BY-NC 4.0" in told.output
    assert "huggingface.co/datasets/FreedomIntelligence/TalkVid" in told.output
    assert "no column map 'nobody'" in paha("nobody").output
    assert not list(tmp_path.iterdir())


@pytest.fixture
def site(counter, tmp_path):
    """A video on loopback."""
    folder = tmp_path / "site"
    folder.mkdir()
    counter(folder / "talk_001.mp4")
    handler = partial(http.server.SimpleHTTPRequestHandler, directory=str(folder))
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()


def test_with_the_list_it_downloads_and_writes_a_preset(paha, site, tmp_path):
    head = "dataset,delta_time,end_time,interval_id,speaker,start_time,video_fn,video_link\n"
    row = "train,2,0:00:03,{},{},0:00:01,talk_{}.mp4,{}/talk_001.mp4\n"
    path = tmp_path / "intervals.csv"
    path.write_text(
        head + row.format("1", "oliver", "001", site) + row.format("2", "ada", "x", site)
    )
    given = ("pats", "--list", path, "--out", tmp_path / "f", "--base", "demo")
    assert "the list has no jon" in paha(*given, "--speakers", "oliver,jon").output
    asked = paha(*given, "--speakers", "oliver")  # no answer: not agreed to
    assert "1 videos" in asked.output
    assert not (tmp_path / "f").exists()
    done = paha(*given, "--speakers", "oliver", "--yes")
    assert done.exit_code == 0, done.output
    assert [p.name for p in (tmp_path / "f/videos").glob("*.mp4")] == ["talk_001.mp4"]
    written = tmp_path / "f/preset.yaml"
    entry = yaml.safe_load(written.read_text())["corpora"]["pats"]
    assert entry == {"csv": str(path), "videos": str(tmp_path / "f/videos")}
    assert load_preset(written).corpora.entry("pats").csv == str(path)
    again = paha(*given, "--speakers", "oliver", "--yes")
    assert "already there" in again.output
