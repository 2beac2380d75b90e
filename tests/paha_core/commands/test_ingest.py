"""`paha ingest`: the three commands as a shell sees them."""

from __future__ import annotations

import json
import shutil

import pytest
from typer.testing import CliRunner

from paha_core.cli import app
from paha_core.engine.manifest_stage import read_manifest
from paha_core.store import Store


@pytest.fixture
def paha():
    runner = CliRunner()
    return lambda *arguments: runner.invoke(app, ["ingest", *map(str, arguments)])


def test_help_teaches(paha):
    for command, words in (("pats", "--split-file"), ("cnas", "li_mei"), ("download", "yt-dlp")):
        assert words in paha(command, "--help").output


def test_pats_and_cnas(paha, studio, tmp_path):
    split = tmp_path / "split.json"
    split.write_text(json.dumps({"train": [1], "test": [2]}))
    out = tmp_path / "out"
    listed = (studio / "pats/intervals.csv").read_text()
    (tmp_path / "i.csv").write_text(listed + listed.splitlines()[-1] + "\n")
    given = ("pats", "--csv", tmp_path / "i.csv", "--videos", studio / "pats/videos", "--out", out)
    done = paha(*given, "--size", 64, "--workers", 1)
    assert done.exit_code == 0, done.output
    rows = read_manifest(Store(str(out)), "clips", "pats")
    assert [r["status"] for r in rows] == ["kept", "kept", "rejected"]
    assert "the csv has this interval twice" in done.output
    assert "3 computed, 0 reused" in done.output
    again = paha(*given, "--size", 64, "--workers", 1, "--retry-rejected")
    assert "1 computed, 2 reused" in again.output

    shutil.copytree(studio / "cnas/lin", tmp_path / "anchors/lin")
    anchors = ("cnas", "--programmes", tmp_path / "anchors", "--out", out, "--size", 64)
    done = paha(*anchors, "--workers", 1)
    assert done.exit_code == 0, done.output
    assert read_manifest(Store(str(out)), "clips", "cnas")


def test_what_can_not_start_is_one_sentence(paha, tmp_path):
    (tmp_path / "i.csv").write_text("speaker,video_fn\n")
    for arguments, words in (
        (("--csv", tmp_path / "i.csv", "--videos", tmp_path), "no column interval_id"),
        (("--csv", tmp_path / "i.csv", "--videos", tmp_path / "none"), "no folder of source"),
        (("--csv", tmp_path / "none.csv", "--videos", tmp_path), "none.csv"),
        (("--csv", tmp_path, "--videos", tmp_path), "is a folder, not a file"),
        (("--csv", tmp_path / "i.csv", "--videos", tmp_path, "--size", 95), "multiple of 2"),
    ):
        done = paha("pats", *arguments, "--out", tmp_path / "out")
        assert done.exit_code == 1
        assert words in done.output
        assert "Traceback" not in done.output


def test_names_that_look_like_markup_are_shown_as_they_are(paha, tmp_path):
    csv = tmp_path / "i.csv"
    head = "speaker,video_fn,interval_id,start_time,end_time,dataset\n"
    csv.write_text(head + "[/red],a.mp4,1,0,5,train\n")
    done = paha("pats", "--csv", csv, "--videos", tmp_path, "--out", tmp_path / "out")
    assert done.exit_code == 0, done.output
    assert "'[/red]'" in done.output


def test_a_download_that_misses_a_video_reports_it(paha, tmp_path):
    pytest.importorskip("yt_dlp")
    head = "speaker,video_fn,interval_id,start_time,end_time,video_link\n"
    (tmp_path / "i.csv").write_text(head + "ada,a.mp4,1,0,5,ftp://example.invalid/a.mp4\n")
    done = paha("download", "--csv", tmp_path / "i.csv", "--videos", tmp_path / "videos")
    assert done.exit_code == 3
    assert "refused" in done.output
    assert (tmp_path / "videos/downloads.parquet").is_file()
