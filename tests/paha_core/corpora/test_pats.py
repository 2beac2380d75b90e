"""PATS: the forms of its csv, splits, and one row for every row."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import pytest

from paha_core.config import PatsConfig
from paha_core.corpora.pats import (
    CsvError,
    Interval,
    crop_of,
    find_sources,
    ingest_pats,
    parse_seconds,
    read_intervals,
    split_intervals,
)
from paha_core.media.ffmpeg import file_url, run
from paha_core.stages import Rejection, read_manifest
from paha_core.store import Store

HEAD = ["", "dataset", "delta_time", "end_time", "interval_id", "speaker", "start_time", "video_fn"]


def write_csv(path: Path, rows: list[dict[str, str]]) -> Path:
    with path.open("w", newline="") as file:
        writer = csv.DictWriter(file, HEAD)
        writer.writeheader()
        writer.writerows(rows)
    return path


def row(id: str, start: str = "0:00:01", end: str = "0:00:03", **other: str) -> dict[str, str]:
    plain = {"dataset": "train", "speaker": "ada", "video_fn": "ada_000.mp4"}
    return plain | {"interval_id": id, "start_time": start, "end_time": end} | other


@pytest.fixture
def videos(studio, tmp_path) -> Path:
    folder = tmp_path / "videos"
    folder.mkdir()
    for name in ("ada_000", "ben_000"):
        (folder / f"{name}.mp4").write_bytes((studio / f"pats/videos/{name}.mp4").read_bytes())
    return folder


def test_every_row_has_its_verdict(store, config, videos, tmp_path, counter):
    secret = tmp_path / "secret.mp4"
    secret.write_bytes((videos / "ada_000.mp4").read_bytes())
    whole = (videos / "ben_000.mp4").read_bytes()
    (videos / "cut.mp4").write_bytes(whole[: len(whole) // 2])
    (videos / "empty.mp4").touch()
    (videos / "list.mp4").write_text(f"#EXTM3U\n#EXTINF:3,\n{secret}\n#EXT-X-ENDLIST\n")
    (videos / "concat.mp4").write_text(f"ffconcat version 1.0\nfile '{secret}'\n")
    run(["-i", file_url(secret), "-vn", "-f", "mp3", file_url(videos / "song.mp4")])
    run(["-i", file_url(secret), "-an", "-c", "copy", file_url(videos / "mute.mp4")])
    counter(videos / "faceless # 1.mp4")
    cases = [
        (row("1"), ""),
        (row("cmu0000000002", "1900-01-01 00:00:01.500", "1900-01-01 0:00:03.5"), ""),
        (row("3", "0.5", "2.5", video_fn="ada_000.webm"), ""),
        (row("1"), "twice"),
        (row("1", "0:00:02", "0:00:04"), ""),
        (row("4", end="0:00:01"), "ends where it starts"),
        (row("5", end="0:01:00"), "longer than 15 s"),
        (row("6", end="0:00:01.2"), "shorter than 1 s"),
        (row("7", end="soon"), "can't be read: 'soon'"),
        (row("8", "0:01:00", "0:01:02"), "but its source at"),
        (row("9", video_fn="../secret.mp4"), "not a plain name"),
        (row("10", video_fn=str(secret)), "not a plain name"),
        (row("../11"), "not a plain name"),
        (row("12", speaker="../ada"), "not a plain name"),
        (row("13", speaker="zoe"), "no crop is known for speaker 'zoe'"),
        (row("14", video_fn="gone.mp4"), "source is not in the folder"),
        (row("15", video_fn="cut.mp4"), "truncated|cut off"),
        (row("16", video_fn="empty.mp4"), "empty"),
        (row("17", video_fn="list.mp4"), "not a readable"),
        (row("18", video_fn="concat.mp4"), "not a readable"),
        (row("19", video_fn="song.mp4"), "only audio"),
        (row("20", video_fn="mute.mp4"), "no audio"),
        (row("21", video_fn="faceless # 1.mp4", start="0:00:00", end="0:00:02"), "no face"),
    ]
    file = write_csv(tmp_path / "i.csv", [case for case, _ in cases])
    result = ingest_pats(store, config, file, videos, workers=0)

    rows = result.table.to_pylist()
    assert len(rows) == len(cases) == result.kept + result.rejected
    for made, (case, words) in zip(rows, cases, strict=True):
        assert made["status"] == ("rejected" if words else "kept"), (case, made["reason"])
        assert any(w in made["reason"] for w in words.split("|")), (case, made["reason"])
    kept = [r for r in rows if r["status"] == "kept"]
    assert [r["clip_id"] for r in kept] == [
        f"pats/ada/{n}" for n in ("1", "cmu0000000002", "3", "1_3")
    ]
    assert {(r["frames"], r["size"], r["source_fps"]) for r in kept} == {(50, 128, 30.0)}
    files = store.glob("clips/**/*.*")
    assert files == sorted(f"clips/{r['clip_id']}{s}" for r in kept for s in (".mp4", ".wav"))
    assert not any(tmp_path.glob("*.wav"))

    again = ingest_pats(store, config, file, videos, workers=0)
    assert (again.computed, again.reused) == (0, len(cases))


def test_only_what_changed_is_done_again(store, config, videos, tmp_path):
    rows = [row("1"), row("2", video_fn="ben_000.mp4", speaker="ben"), row("3", video_fn="new.mp4")]
    file = write_csv(tmp_path / "i.csv", rows)
    assert ingest_pats(store, config, file, videos, workers=0).kept == 2
    (videos / "new.mp4").write_bytes((videos / "ada_000.mp4").read_bytes())
    result = ingest_pats(store, config, file, videos, workers=0)
    assert (result.computed, result.kept) == (1, 3)
    (videos / "ben_000.mp4").write_bytes(b"gone bad")
    result = ingest_pats(store, config, file, videos, workers=0)
    assert (result.computed, result.kept) == (1, 2)


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("0:06:56", 416),
        ("00:06:56.25", 416.25),
        ("06:56", 416),
        ("1:00:00", 3600),
        ("2017-08-07 0:06:56.5", 416.5),
        ("8/7/2017 0:06:56", 416),
        ("0 days 00:06:56.500000", 416.5),
        ("416.5", 416.5),
        ("76", 76),
    ],
)
def test_times(text, seconds):
    assert parse_seconds(text) == pytest.approx(seconds)


@pytest.mark.parametrize("text", ["", "nan", "-1 days 0:06:56", "1:2:3:4", "-3", "x 0:06:56"])
def test_times_that_are_none(text):
    with pytest.raises(Rejection, match="can't be read"):
        parse_seconds(text)


def test_a_csv_without_its_columns(tmp_path):
    (tmp_path / "i.csv").write_text("speaker,video_fn,start,end_time,dataset\n")
    with pytest.raises(CsvError, match="interval_id, start_time"):
        read_intervals(tmp_path / "i.csv")


def interval(id: str, video: str, dataset: str = "train") -> Interval:
    return Interval("oliver", video, id, 0.0, 5.0, dataset)


def test_splits(tmp_path):
    plain = [interval("1", "a", "train"), interval("2", "a", "dev"), interval("3", "b", "test")]
    assert split_intervals(plain, PatsConfig()) == ["train", "train", "test"]
    (tmp_path / "s.json").write_text(json.dumps({"train": [1], "test": [67583]}))
    named = [interval("1", "a"), interval("cmu0000067583", "a"), interval("9", "b")]
    settings = PatsConfig(split_file=str(tmp_path / "s.json"))
    assert split_intervals(named, settings) == ["train", "test", ""]
    (tmp_path / "s.json").write_text("[]")
    with pytest.raises(CsvError, match="no split file"):
        split_intervals(named, settings)


def test_split_by_video_leaves_no_video_on_both_sides():
    intervals = [
        interval(f"{v}{n}", f"video{v}", "test" if n == 0 else "train")
        for v in range(10)
        for n in range(5)
    ]
    splits = split_intervals(intervals, PatsConfig(split="by_video"))
    sides = {}
    for i, split in zip(intervals, splits, strict=True):
        sides.setdefault(i.video, set()).add(split)
    assert all(len(side) == 1 for side in sides.values())
    assert splits.count("test") == 10  # as many as the paper's form had


def test_crops_of_the_four_speakers():
    assert crop_of("oliver", 1280, 720) == crop_of("oliver", 1280, 720)
    lefts = {s: crop_of(s, 1280, 720).left for s in ("oliver", "seth", "chemistry", "jon")}
    assert lefts == {"oliver": 486, "seth": 506, "chemistry": 40, "jon": 560}
    with pytest.raises(Rejection, match="no square"):
        crop_of("oliver", 720, 1280)


def test_sources_are_found_by_name_then_stem(tmp_path):
    (tmp_path / "sub").mkdir()
    for name in ("a b #1.mp4", "sub/c.mkv", "sub/d.mp4"):
        (tmp_path / name).touch()
    found = find_sources(["a b #1.mp4", "c.webm", "d.mp4", "e.mp4", "../x"], tmp_path)
    assert {k: v.name for k, v in found.items()} == {
        "a b #1.mp4": "a b #1.mp4",
        "c.webm": "c.mkv",
        "d.mp4": "d.mp4",
    }


def test_an_object_store_does_as_well(config, videos, tmp_path):
    store = Store(f"memory://{tmp_path.name}")
    file = write_csv(tmp_path / "i.csv", [row("1"), row("2", video_fn="gone.mp4")])
    assert ingest_pats(store, config, file, videos, workers=0).kept == 1
    assert store.glob("clips/pats/ada/*") == ["clips/pats/ada/1.mp4", "clips/pats/ada/1.wav"]
    assert ingest_pats(store, config, file, videos, workers=0).computed == 0
    sources = read_manifest(store, "sources", "pats")
    assert [(s["name"], s["status"]) for s in sources] == [("ada_000.mp4", "kept")]
