"""CNAS: exact clips, held out by source, and a verdict on every source."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import fsspec
import numpy as np
import pyarrow as pa
import pytest

from paha_core.corpora.cnas import choose_test, hold_out, ingest_cnas
from paha_core.corpora.long_sources import clip_starts, list_long_sources
from paha_core.corpora.regions import Crop, around, centre_crop
from paha_core.engine.manifest_stage import read_manifest
from paha_core.errors import UserError
from paha_core.media.ffmpeg import file_url, run
from paha_core.media.probe import probe
from paha_core.store import Store


@pytest.fixture
def programmes(studio, tmp_path) -> Path:
    folder = tmp_path / "programmes"
    for speaker in ("lin", "wei"):
        (folder / speaker).mkdir(parents=True)
        video = studio / f"cnas/{speaker}/{speaker}_000.mp4"
        (folder / speaker / video.name).write_bytes(video.read_bytes())
    return folder


def test_sources_become_exact_clips_and_unusable_ones_a_row(store, config, programmes, counter):
    lin = programmes / "lin"
    whole = (lin / "lin_000.mp4").read_bytes()
    (lin / "cut.mp4").write_bytes(whole[: len(whole) // 2])
    (lin / "empty.mp4").touch()
    (lin / "list.mp4").write_text("ffconcat version 1.0\nfile lin_000.mp4\n")
    source = ["-i", file_url(lin / "lin_000.mp4")]
    run([*source, "-an", "-c", "copy", file_url(lin / "mute.mp4")])
    run([*source, "-c", "copy", "-t", "1", file_url(lin / "short.mp4")])
    run([*source, "-c:v", "copy", "-af", "volume=0", file_url(lin / "silent.mp4")])
    counter(lin / "faceless.mp4")
    result = ingest_cnas(store, config, "cnas", programmes, workers=0)

    rows = {r["clip_id"]: r for r in result.table.to_pylist()}
    reasons = {
        "cut": ("truncated", "cut off"),
        "empty": ("empty",),
        "list": ("not a readable",),
        "mute": ("no audio",),
        "short": ("too short",),
        "faceless": ("no face",),
    }
    for name, words in reasons.items():
        bad = rows.pop(f"cnas/lin/{name}")
        assert (bad["status"], bad["interval"]) == ("rejected", "source")
        assert any(w in bad["reason"] for w in words), bad["reason"]
    silent = [rows.pop(k) for k in sorted(rows) if "silent" in k]
    assert silent
    assert all("silence" in r["reason"] for r in silent)

    count = int(probe(lin / "lin_000.mp4").duration * 25) // 50
    assert [k for k in sorted(rows) if "/lin/" in k] == [
        f"cnas/lin/lin_000_{n:04d}" for n in range(count)
    ]
    assert all(r["status"] == "kept" for r in rows.values())
    assert {(r["frames"], r["size"], r["audio_seconds"]) for r in rows.values()} == {(50, 128, 2.0)}
    assert result.kept + result.rejected == result.table.num_rows
    assert ingest_cnas(store, config, "cnas", programmes, workers=0).computed == 0


def test_a_new_source_is_all_that_is_computed(store, config, programmes):
    first = ingest_cnas(store, config, "cnas", programmes, workers=0)
    # one source a speaker: nothing to hold out
    assert {r["split"] for r in first.table.to_pylist()} == {"train"}
    wei = programmes / "wei"
    (wei / "second.mp4").write_bytes((programmes / "lin" / "lin_000.mp4").read_bytes())
    second = ingest_cnas(store, config, "cnas", programmes, workers=0)
    rows = second.table.to_pylist()
    new = [r for r in rows if "second" in r["clip_id"]]
    assert {r["split"] for r in rows if r["speaker"] == "wei"} == {"train", "test"}
    assert second.computed == len(new)  # a clip that changes sides is no other clip


def test_whole_sources_are_held_out_by_their_clips():
    even = {f"p{n}": 10 for n in range(20)}
    test = choose_test(even, 0.1)
    assert len(test) == 2
    assert len(choose_test(even | {"p20": 10}, 0.1) ^ test) <= 2  # one changes places at most
    uneven = {"long": 360, "middle": 60, "short": 9} | {f"p{n}": 100 for n in range(9)}
    clips = sum(uneven[name] for name in choose_test(uneven, 0.1))
    assert abs(clips - 0.1 * sum(uneven.values())) < 60
    assert choose_test({"x": 3, "y": 30}, 0.1) == {"x"}
    assert choose_test({"only": 5}, 0.1) == set()
    assert choose_test(even, 0) == set()


def test_a_source_without_a_kept_clip_is_not_held_out():
    rows = [
        {"clip_id": clip_id, "speaker": "a", "source_id": clip_id[:-1], "status": status}
        for clip_id, status in [("a0", "kept"), ("a1", "kept"), ("b0", "kept"), ("c0", "rejected")]
    ]
    sides = hold_out(pa.Table.from_pylist(rows), 0.3)["split"].to_pylist()
    assert sides == ["train", "train", "test", "train"]


def test_every_file_has_a_row_wherever_it_lies(store, config, programmes, tmp_path):
    video = (programmes / "lin/lin_000.mp4").read_bytes()
    (programmes / "flat.mp4").write_bytes(video)
    (programmes / "lin/2024").mkdir()
    (programmes / "lin/2024/deep.mp4").write_bytes(video)
    elsewhere = tmp_path / "disk"
    shutil.move(programmes / "wei", elsewhere)
    (programmes / "wei").symlink_to(elsewhere)
    (programmes / "lin/round").symlink_to(programmes)
    result = ingest_cnas(store, config, "cnas", programmes, workers=0)
    rows = {r["clip_id"]: r for r in result.table.to_pylist()}
    assert "in no speaker's folder" in rows["cnas/unsorted/flat"]["reason"]
    assert "not in it" in rows["cnas/unsorted/deep"]["reason"]
    assert rows["cnas/wei/wei_000_0000"]["status"] == "kept"
    assert len({r["source_id"] for r in rows.values()}) == 4  # the circle is followed once

    (programmes / "flat.mp4").rename(programmes / "lin/flat.mp4")
    ingest_cnas(store, config, "cnas", programmes, workers=0)
    ids = {r["clip_id"] for r in read_manifest(store, "clips", "cnas")}
    assert "cnas/unsorted/flat" not in ids
    assert "cnas/lin/flat_0000" in ids

    of_one = config.model_copy(update={"cnas": config.cnas.model_copy(update={"speaker": "li"})})
    listed = list_long_sources(programmes, of_one.cnas.speaker)
    assert [(p.speaker, p.problem) for p in listed] == [("li", "")] * 4
    (tmp_path / "nothing").mkdir()
    with pytest.raises(UserError, match="no videos in"):
        ingest_cnas(store, config, "cnas", tmp_path / "nothing", workers=0)


def test_rows_of_gone_sources_remain_and_changed_ones_are_replaced(store, config, programmes):
    ingest_cnas(store, config, "cnas", programmes, workers=0)
    wei = {r["clip_id"] for r in read_manifest(store, "clips", "cnas") if r["speaker"] == "wei"}
    shutil.rmtree(programmes / "wei")
    lin = programmes / "lin/lin_000.mp4"
    whole = lin.read_bytes()
    lin.write_bytes(b"no video")
    ingest_cnas(store, config, "cnas", programmes, workers=0)
    ids = {r["clip_id"] for r in read_manifest(store, "clips", "cnas")}
    assert ids == wei | {"cnas/lin/lin_000"}
    assert not store.glob("clips/cnas/lin/*")
    lin.write_bytes(whole)
    ingest_cnas(store, config, "cnas", programmes, workers=0, prune=True)
    ids = {r["clip_id"] for r in read_manifest(store, "clips", "cnas")}
    assert ids == {f"cnas/lin/lin_000_{n:04d}" for n in range(len(ids))}
    assert not store.glob("clips/cnas/wei/*")
    assert not store.glob("manifests/clips/cnas/wei.parquet")


def test_clips_begin_behind_a_switch_of_scene():
    rng = np.random.default_rng(0)
    scenes = rng.integers(0, 256, (3, 32, 32)).astype(np.uint8)
    thumbnails = np.concatenate(
        [np.repeat(s[None], n, axis=0) for s, n in zip(scenes, (130, 60, 260))]
    )
    assert clip_starts(thumbnails, 450, 125, 25.0) == [0, 190, 315]
    assert clip_starts(thumbnails, 450, 125, None) == [0, 125, 250]
    assert clip_starts(thumbnails, 100, 125, 25.0) == []


def test_sources_from_a_url_give_the_clips_of_a_folder(tmp_path, config, programmes):
    local = ingest_cnas(Store(str(tmp_path / "a")), config, "cnas", programmes, workers=0)
    url = f"memory://{tmp_path.name}/programmes"
    fsspec.filesystem("memory").put(f"{programmes}/", f"{url}/", recursive=True)
    remote = ingest_cnas(Store(str(tmp_path / "b")), config, "cnas", url, workers=0)
    named = ("clip_id", "status", "split", "sha256", "audio_sha256", "crop")
    assert local.table.select(named).equals(remote.table.select(named))
    assert local.kept > 0
    with pytest.raises(FileNotFoundError, match="no folder"):
        list_long_sources(f"memory://{tmp_path.name}/none")


def test_the_region_follows_an_anchor_who_sits_aside(store, config, tmp_path, studio):
    lin = studio / "cnas/lin/lin_000.mp4"
    aside = tmp_path / "aside/lin/lin_000.mp4"
    aside.parent.mkdir(parents=True)
    picture = "scale=228:128,pad=456:128:228:0:gray"  # the whole picture in the right half
    run(["-i", file_url(lin), "-vf", picture, "-c:a", "copy", file_url(aside)])
    rows = ingest_cnas(store, config, "cnas", tmp_path / "aside", workers=0).table.to_pylist()
    kept = [row for row in rows if row["status"] == "kept"]
    assert kept
    for row in kept:
        left, top, side = json.loads(row["crop"])
        assert (top, side) == (0, 128)
        assert abs(left + side / 2 - 342) < 20  # the middle of the right half


def test_a_region_moves_no_further_than_the_picture():
    crop, wide = Crop(420, 0, 1080), (1920, 1080)
    assert around([], crop, *wide) == crop
    assert around([(0.47, 0.2, 0.57, 0.4)], crop, *wide) == crop  # near enough to the middle
    assert around([(0.9, 0.2, 1.0, 0.4)], crop, *wide) == Crop(840, 0, 1080)
    assert around([(0.2, 0.2, 0.3, 0.4)] * 2 + [(0.8, 0.2, 0.9, 0.4)], crop, *wide).left == 0
    tall = Crop(0, 420, 1080)
    assert around([(0.4, 0.1, 0.6, 0.2)], tall, 1080, 1920) == Crop(0, 0, 1080)


def test_regions():
    assert centre_crop(1920, 1080, (512, 896)) == Crop(420, 0, 1080)
    assert centre_crop(1080, 1920, (512, 896)) == Crop(0, 420, 1080)
    assert centre_crop(700, 700, (512, 896)) == Crop(0, 0, 700)
    assert centre_crop(1920, 1080, (896, 512)).side == round(512 * 1080 / 896)
