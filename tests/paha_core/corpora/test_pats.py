"""PATS: the forms of its csv, splits, and one row for every row."""

from __future__ import annotations

import csv
import json
import os
import shutil
from pathlib import Path

import fsspec
import pytest

from paha_core.config import PatsConfig
from paha_core.corpora.pats import crop_left, full_height, ingest_pats
from paha_core.corpora.pats_summary import split_ids_path, summary_path
from paha_core.engine.manifest_stage import Rejection, read_manifest
from paha_core.errors import UserError
from paha_core.media.ffmpeg import file_url, run
from paha_core.store import Store, sha256_file

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
        (row("cmu0000000001"), "twice"),
        (row("1", "0:00:02", "0:00:04"), ""),
        (row("4", end="0:00:01"), "ends where it starts"),
        (row("5", end="0:01:00"), "but its source at"),
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
    result = ingest_pats(store, config, "pats", file, videos, workers=0)

    rows = result.table.to_pylist()
    assert len(rows) == len(cases) == result.kept + result.rejected
    for made, (case, words) in zip(rows, cases, strict=True):
        assert made["status"] == ("rejected" if words else "kept"), (case, made["reason"])
        assert any(w in made["reason"] for w in words.split("|")), (case, made["reason"])
    kept = [r for r in rows if r["status"] == "kept"]
    assert [r["clip_id"] for r in kept] == [
        f"pats/ada/{n}" for n in ("1", "cmu0000000002", "3", "1_3")
    ]
    assert [r["frames"] for r in kept] == [50, 50, 50, 50]
    assert {(r["size"], r["source_fps"]) for r in kept} == {(128, 30.0)}
    assert [r["interval_seconds"] for r in kept] == [2, 2, 2, 2]
    assert all(r["audio_sha256"] == sha256_file(store.full(r["audio_path"])) for r in kept)
    files = store.glob("clips/**/*.*")
    assert files == sorted(f"clips/{r['clip_id']}{s}" for r in kept for s in (".mp4", ".wav"))
    assert not any(tmp_path.glob("*.wav"))

    again = ingest_pats(store, config, "pats", file, videos, workers=0)
    assert (again.computed, again.reused) == (0, len(cases))


def test_only_what_changed_is_done_again(store, config, videos, tmp_path):
    rows = [row("1"), row("2", video_fn="ben_000.mp4", speaker="ben"), row("3", video_fn="new.mp4")]
    file = write_csv(tmp_path / "i.csv", rows)
    assert ingest_pats(store, config, "pats", file, videos, workers=0).kept == 2
    (videos / "new.mp4").write_bytes((videos / "ada_000.mp4").read_bytes())
    result = ingest_pats(store, config, "pats", file, videos, workers=0)
    assert (result.computed, result.kept) == (1, 3)
    (videos / "ben_000.mp4").write_bytes(b"gone bad")
    result = ingest_pats(store, config, "pats", file, videos, workers=0)
    assert (result.computed, result.kept) == (1, 2)


def test_crops_of_the_four_speakers_and_of_others():
    settings = PatsConfig(crop_left={"zoe": 0.5})
    named = ("oliver", "seth", "chemistry", "jon", "zoe")
    edges = [full_height(crop_left(settings, name), 1280, 720).left for name in named]
    assert edges == [486, 506, 40, 560, 560]
    with pytest.raises(Rejection, match="no square"):
        full_height(0.38, 720, 1280)


def test_an_object_store_does_as_well(config, videos, tmp_path):
    store = Store(f"memory://{tmp_path.name}")
    file = write_csv(tmp_path / "i.csv", [row("1"), row("2", video_fn="gone.mp4")])
    assert ingest_pats(store, config, "pats", file, videos, workers=0).kept == 1
    assert store.glob("clips/pats/ada/*") == ["clips/pats/ada/1.mp4", "clips/pats/ada/1.wav"]
    assert ingest_pats(store, config, "pats", file, videos, workers=0).computed == 0
    sources = read_manifest(store, "sources", "pats")
    assert [(s["name"], s["status"]) for s in sources] == [("ada_000.mp4", "kept")]


def test_sources_in_an_object_store(store, config, videos, tmp_path, monkeypatch):
    monkeypatch.setenv("PAHA_CACHE", str(tmp_path / "cache"))
    fs = fsspec.filesystem("memory")
    bucket = f"/{tmp_path.name}-videos"
    fs.pipe(f"{bucket}/deep/ada_000.mp4", (videos / "ada_000.mp4").read_bytes())
    fs.pipe(f"{bucket}/bad.mp4", b"hello" * 100)
    rows = [row("1"), row("2", "0:00:02", "0:00:04"), row("3", video_fn="bad.mp4")]
    file = write_csv(tmp_path / "i.csv", rows)
    result = ingest_pats(store, config, "pats", file, f"memory:/{bucket}", workers=0)
    assert [r["status"] for r in result.table.to_pylist()] == ["kept", "kept", "rejected"]
    assert "not a readable" in result.table.to_pylist()[2]["reason"]
    shutil.rmtree(tmp_path / "cache")
    again = ingest_pats(store, config, "pats", file, f"memory:/{bucket}", workers=0)
    assert (again.computed, (tmp_path / "cache").exists()) == (0, False)
    local = ingest_pats(Store(str(tmp_path / "b")), config, "pats", file, videos, workers=0)
    shas = [r["sha256"] for r in local.table.to_pylist()]
    assert [r["sha256"] for r in result.table.to_pylist()][:2] == shas[:2]


def test_what_became_of_the_wanted_ids(store, config, videos, tmp_path):
    rows = [
        row("cmu0000000001"),
        row("2", end="0:00:02"),  # two pieces
        row("2", "0:00:02", "0:00:04"),
        row("3", video_fn="gone.mp4"),
        row("4"),
        row("5", video_fn="ben_000.mp4", speaker="ben"),
    ]
    split = tmp_path / "split.json"
    split.write_text(json.dumps({"train": [1, 3, 5], "test": [2, 9]}))
    settings = config.pats.model_copy(update={"split_file": str(split)})
    config = config.model_copy(update={"pats": settings})
    file = write_csv(tmp_path / "i.csv", rows)
    result = ingest_pats(store, config, "pats", file, videos, workers=0)
    ids = {r["interval_id"]: (r["split"], r["status"], r["reason"], r["clip_id"])
           for r in store.read_table(split_ids_path("pats")).to_pylist()}  # fmt: skip
    assert ids == {
        "1": ("train", "kept", "", "pats/ada/cmu0000000001"),
        "2": ("test", "kept", "", "pats/ada/2"),
        "3": ("train", "rejected", "its source is not in the folder of videos", "pats/ada/3"),
        "5": ("train", "kept", "", "pats/ben/5"),
        "9": ("test", "not listed", "the csv has no such interval", ""),
    }
    assert result.reasons["not among the ids of the split file"] == 1
    assert result.figures == store.read_json(summary_path("pats"))
    assert result.figures == {
        "csv rows": 6,
        "rows joined to the interval they are a piece of": 1,
        "train clips": 2,
        "test clips": 1,
        "train clips that the csv calls dev": 0,
        "clips cut at the longest length": 0,
        "test videos": 1,
        "test videos that are also in train": 1,
        "test videos of the list": 1,  # 9 is in the split file, not in the csv
        "test videos of the list that are also in train": 1,
        "wanted ids": 5,
        "wanted ids kept": 3,
        "wanted ids rejected": 1,
        "wanted ids that the csv lacks": 1,
    }

    alone = config.model_copy(update={"pats": settings.model_copy(update={"split": "by_video"})})
    by_video = ingest_pats(store, alone, "pats", file, videos, workers=0)
    assert by_video.figures["test videos that are also in train"] == 0


def test_too_long_is_cut_or_rejected(store, config, videos, tmp_path):
    settings = config.pats.model_copy(update={"max_seconds": 2.0})
    file = write_csv(tmp_path / "i.csv", [row("1", end="0:00:05")])
    cut = ingest_pats(
        store, config.model_copy(update={"pats": settings}), "pats", file, videos, workers=0
    )
    assert cut.table.to_pylist()[0]["frames"] == 50
    assert cut.figures["clips cut at the longest length"] == 1
    settings = settings.model_copy(update={"too_long": "reject"})
    no = ingest_pats(
        store, config.model_copy(update={"pats": settings}), "pats", file, videos, workers=0
    )
    assert no.reasons == {"longer than 2 s": 1}


def test_a_rejected_source_is_inspected_again_on_request(store, config, videos, tmp_path):
    config = config.model_copy(update={"clip": config.clip.model_copy(update={"crf": 20})})
    file = write_csv(tmp_path / "i.csv", [row("1"), row("2", video_fn="no.mp4")])
    (videos / "no.mp4").write_bytes(b"no")
    ingest_pats(store, config, "pats", file, videos, workers=0)
    assert ingest_pats(store, config, "pats", file, videos, workers=0).computed == 0
    again = ingest_pats(store, config, "pats", file, videos, workers=0, retry_rejected=True)
    assert again.computed == 1


def test_another_csv_adds_its_clips_and_a_source_may_go(store, config, videos, tmp_path):
    first = write_csv(tmp_path / "a.csv", [row("1"), row("2", "0:00:02", "0:00:04")])
    second = write_csv(tmp_path / "b.csv", [row("3", "0:00:03", "0:00:05")])
    ingest_pats(store, config, "pats", first, videos, workers=0)
    assert ingest_pats(store, config, "pats", second, videos, workers=0).table.num_rows == 1
    ids = [f"pats/ada/{n}" for n in (1, 2, 3)]
    assert [r["clip_id"] for r in read_manifest(store, "clips", "pats")] == ids
    assert ingest_pats(store, config, "pats", first, videos, workers=0).computed == 0

    (videos / "ada_000.mp4").rename(tmp_path / "away.mp4")
    again = ingest_pats(store, config, "pats", first, videos, workers=0)
    assert (again.computed, again.kept) == (0, 2)  # what was cut stands
    Path(store.full("clips/pats/ada/1.wav")).unlink()
    again = ingest_pats(store, config, "pats", first, videos, workers=0)
    assert again.reasons == {"its source is not in the folder of videos": 1}
    (tmp_path / "away.mp4").rename(videos / "ada_000.mp4")
    assert ingest_pats(store, config, "pats", first, videos, workers=0).computed == 1

    assert ingest_pats(store, config, "pats", first, videos, workers=0, prune=True).computed == 0
    assert [r["clip_id"] for r in read_manifest(store, "clips", "pats")] == ids[:2]
    assert not store.glob("clips/pats/ada/3.*")


def test_a_clip_that_is_rejected_later_leaves_no_file(store, config, videos, tmp_path):
    file = write_csv(tmp_path / "i.csv", [row("1")])
    ingest_pats(store, config, "pats", file, videos, workers=0)
    loud = config.pats.model_copy(update={"min_seconds": 3.0})
    stricter = config.model_copy(update={"pats": loud})
    assert ingest_pats(store, stricter, "pats", file, videos, workers=0).rejected == 1
    assert not store.glob("clips/pats/ada/*")


def test_a_csv_and_a_split_file_in_an_object_store(store, config, videos, tmp_path):
    fs = fsspec.filesystem("memory")
    fs.pipe(f"/{tmp_path.name}/s.json", json.dumps({"train": [1], "test": []}).encode())
    local = write_csv(tmp_path / "i.csv", [row("1")])
    fs.pipe(f"/{tmp_path.name}/i.csv", local.read_bytes())
    split = {"split_file": f"memory://{tmp_path.name}/s.json"}
    config = config.model_copy(update={"pats": config.pats.model_copy(update=split)})
    csv = f"memory://{tmp_path.name}/i.csv"
    assert ingest_pats(store, config, "pats", csv, videos, workers=0).kept == 1
    with pytest.raises(UserError, match="is a folder"):
        ingest_pats(store, config, "pats", tmp_path, videos, workers=0)


def test_what_a_killed_run_left_is_swept(store, config, videos, tmp_path):
    old, new = (store.full(f"clips/pats/ada/{n}.mp4.0123abcd.tmp.mp4") for n in "xy")
    for path in (old, new):
        Path(path).parent.mkdir(parents=True, exist_ok=True)
        Path(path).touch()
    os.utime(old, (0, 0))
    ingest_pats(store, config, "pats", write_csv(tmp_path / "i.csv", [row("1")]), videos, workers=0)
    assert [Path(path).exists() for path in (old, new)] == [False, True]
