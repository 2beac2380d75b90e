"""CNAS: exact clips, held out by programme, and a verdict on every programme."""

from __future__ import annotations

from pathlib import Path

import pytest

from paha_core.corpora.clips import Crop
from paha_core.corpora.cnas import anchor_crop, choose_test, ingest_cnas
from paha_core.media.ffmpeg import file_url, run
from paha_core.media.video import probe


@pytest.fixture
def programmes(studio, tmp_path) -> Path:
    folder = tmp_path / "programmes"
    for speaker in ("lin", "wei"):
        (folder / speaker).mkdir(parents=True)
        video = studio / f"cnas/{speaker}/{speaker}_000.mp4"
        (folder / speaker / video.name).write_bytes(video.read_bytes())
    return folder


def test_programmes_become_exact_clips_and_unusable_ones_a_row(store, config, programmes, counter):
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
    result = ingest_cnas(store, config, programmes, workers=0)

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
        assert (bad["status"], bad["interval"]) == ("rejected", "programme")
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
    assert ingest_cnas(store, config, programmes, workers=0).computed == 0


def test_a_new_programme_is_all_that_is_computed(store, config, programmes):
    first = ingest_cnas(store, config, programmes, workers=0)
    before = {r["clip_id"]: r["split"] for r in first.table.to_pylist()}
    assert set(before.values()) == {"train"}  # one programme a speaker: nothing to hold out
    wei = programmes / "wei"
    (wei / "second.mp4").write_bytes((wei / "wei_000.mp4").read_bytes())
    second = ingest_cnas(store, config, programmes, workers=0)
    rows = second.table.to_pylist()
    new = [r for r in rows if "second" in r["clip_id"]]
    assert {r["split"] for r in rows if r["speaker"] == "wei"} == {"train", "test"}
    moved = sum(before.get(r["clip_id"], r["split"]) != r["split"] for r in rows)
    assert second.computed == len(new) + moved


def test_held_out_programmes():
    names = [("a", f"p{n}") for n in range(20)] + [("b", "x"), ("b", "y"), ("c", "only")]
    test = choose_test(names, 0.1)
    assert sum(s == "a" for s, _ in test) == 2
    assert sum(s == "b" for s, _ in test) == 1
    assert not any(s == "c" for s, _ in test)
    assert len(choose_test([*names, ("a", "p20")], 0.1) ^ test) <= 2  # one changes places at most
    assert choose_test(names, 0) == set()


def test_regions():
    assert anchor_crop(1920, 1080, (512, 896)) == Crop(420, 0, 1080)
    assert anchor_crop(1080, 1920, (512, 896)) == Crop(0, 420, 1080)
    assert anchor_crop(700, 700, (512, 896)) == Crop(0, 0, 700)
    assert anchor_crop(1920, 1080, (896, 512)).side == round(512 * 1080 / 896)
