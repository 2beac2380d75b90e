"""The data set card and the two forms in which clips leave."""

from __future__ import annotations

import json

import numpy as np
import pytest
import webdataset
import yaml
from typer.testing import CliRunner

from paha_core.cli import app
from paha_core.config import StudioConfig
from paha_core.corpora.card import (
    card,
    constant_offsets,
    histogram,
    kind,
    source_offset,
    write_card,
)
from paha_core.corpora.cnas import ingest_cnas
from paha_core.corpora.export import export_corpus
from paha_core.corpora.filters.sync_estimate import best_shift
from paha_core.corpora.record import licence_of
from paha_core.engine.manifest_stage import read_manifest
from paha_core.errors import UserError
from paha_core.store import Store


@pytest.fixture(scope="module")
def config(config):
    cnas = config.cnas.model_copy(update={"max_jitter": 0.02})
    return config.model_copy(update={"cnas": cnas})


@pytest.fixture(scope="module")
def filled(config, tmp_path_factory, studio):
    """A store with CNAS clips of two speakers, train and test, and a file that is no video."""
    folder = tmp_path_factory.mktemp("programmes")
    store = Store(str(tmp_path_factory.mktemp("store")))
    # Two different recordings each: of two equal ones neither would be held out.
    for speaker in ("lin", "wei"):
        (folder / speaker).mkdir(parents=True)
        for name, of in (("a.mp4", "lin"), ("b.mp4", "wei")):
            video = (studio / f"cnas/{of}/{of}_000.mp4").read_bytes()
            (folder / speaker / name).write_bytes(video)
    (folder / "lin" / "broken.mp4").write_bytes(b"no video")
    ingest_cnas(store, config, "cnas", folder, workers=0)
    return store


def files(folder):
    return {p.relative_to(folder).as_posix(): p for p in folder.rglob("*") if p.is_file()}


def test_the_card_counts_what_the_manifest_holds(filled, config):
    rows = read_manifest(filled, "clips", "cnas")
    kept = [row for row in rows if row["status"] == "kept"]
    text = filled.read_bytes(write_card(filled, "cnas")).decode()
    front = yaml.safe_load(text.split("---")[1])
    assert (front["language"], front["license"]) == (["zh"], "other")
    assert f"{len(kept)} clips of {len(rows)} candidates" in text
    assert "; 0 source videos in both" in text
    assert "| lin |" in text
    assert "not a readable" in text
    assert "### mean_db (kept: at least -50)" in text
    assert "### jitter (kept: at most 0.02)" in text
    assert "128 x 128 pixels at 25 fps" in text
    assert "licence: unknown" in text
    assert front["license_name"] == config.cnas.licence


def test_a_licence_comes_from_the_clips_and_is_never_guessed(filled, config, tmp_path):
    drawn = config.model_copy(
        update={
            "studio": StudioConfig(),
            "cnas": config.cnas.model_copy(update={"programmes": None}),
        }
    )
    assert licence_of(drawn, "cnas").startswith("apache-2.0")
    assert licence_of(config, "cnas") == config.cnas.licence
    rows = read_manifest(filled, "clips", "cnas")
    mixed = [row | {"licence": licence_of(drawn, "cnas")} for row in rows[:3]] + rows[3:]
    both = f"licence: {licence_of(drawn, 'cnas')}; {config.cnas.licence}"
    assert both in card(mixed, config.cnas, "cnas")
    with pytest.raises(UserError, match="no clips of pats"):
        write_card(filled, "pats")


def test_a_reason_loses_its_numbers_and_keeps_its_names():
    assert kind("silence: the mean level is -63 dB") == kind("silence: the mean level is -5.2 dB")
    assert kind("no crop is known for speaker 'ada 2'") == "no crop is known for speaker 'ada 2'"


def test_a_histogram_counts_every_score():
    lines = histogram([0.0, 0.05, 0.5, 1.0])
    assert [int(line.split()[-1]) for line in lines] == [2, 0, 0, 0, 0, 1, 0, 0, 0, 1]
    assert [line.split()[-1] for line in histogram([1.0] * 7)] == ["7"]


def test_shards_are_read_back_by_webdataset(filled, config, tmp_path):
    out = tmp_path / "shards"
    clips, written = export_corpus(filled, "cnas", Store(str(out)), "webdataset")
    names = files(out).keys()
    assert names == {"train-000000.tar", "test-000000.tar", "README.md", "export.json"}
    assert written == 2
    rows = {r["clip_id"]: r for r in read_manifest(filled, "clips", "cnas") if r["path"]}
    read = 0
    for split in ("train", "test"):
        tar = str(out / f"{split}-000000.tar")
        for sample in webdataset.WebDataset(tar, shardshuffle=False):
            facts = json.loads(sample["json"])
            row = rows[facts["clip_id"]]
            assert (facts["split"], facts["frames"]) == (split, 50)
            assert sample["mp4"] == filled.read_bytes(row["path"])
            assert sample["wav"] == filled.read_bytes(row["audio_path"])
            read += 1
    assert read == clips == len(rows)


def test_the_same_clips_give_the_same_bytes_written_once(filled, config, tmp_path):
    one, two = tmp_path / "one", tmp_path / "two"
    for out in (one, two):
        export_corpus(filled, "cnas", Store(str(out)), "webdataset")
    assert all(path.read_bytes() == (two / rel).read_bytes() for rel, path in files(one).items())
    assert export_corpus(filled, "cnas", Store(str(one)), "webdataset")[1] == 0
    (one / "train-000000.tar").unlink()
    assert export_corpus(filled, "cnas", Store(str(one)), "webdataset")[1] == 1


def test_a_folder_for_datasets_names_its_files(filled, config, tmp_path):
    out = tmp_path / "hf"
    clips, _ = export_corpus(filled, "cnas", Store(str(out)), "hf")
    listed = 0
    for split in ("train", "test"):
        for line in (out / f"data/{split}/metadata.jsonl").read_text().splitlines():
            row = json.loads(line)
            assert (out / f"data/{split}" / row["file_name"]).stat().st_size > 0
            assert (out / row["audio"]).read_bytes()[:4] == b"RIFF"
            listed += 1
    assert listed == clips
    front = yaml.safe_load((out / "README.md").read_text().split("---")[1])
    places = front["configs"][0]["data_files"]
    assert {"split": "train", "path": "data/train/*"} in places


def test_clips_that_are_gone_leave_the_export(filled, config, tmp_path):
    out = Store(str(tmp_path / "hf"))
    export_corpus(filled, "cnas", out, "hf")
    out.write_json("export.json", out.read_json("export.json") | {"data/train/old.mp4": "x"})
    out.write_bytes("data/train/old.mp4", b"old")
    export_corpus(filled, "cnas", out, "hf")
    assert not out.exists("data/train/old.mp4")
    assert "data/train/old.mp4" not in out.read_json("export.json")


def test_the_commands_take_a_store_and_say_what_to_do_without_clips(filled, tmp_path, monkeypatch):
    for name in ("PAHA_PRESET", "PAHA_STORE"):
        monkeypatch.delenv(name, raising=False)

    def corpus(*arguments):
        return CliRunner().invoke(app, ["corpus", *map(str, arguments)])

    shown = corpus("card", "cnas", "--store", filled.url)
    assert (shown.exit_code, "licence: unknown" in shown.stdout) == (0, True)
    export = ("export", "cnas", "--out", tmp_path / "out")
    assert corpus(*export, "--store", filled.url).exit_code == 0
    for given, words in (
        (("--preset", "smoke", "--store", tmp_path / "store"), "no clips of cnas"),
        ((), "name the store of the clips"),
    ):
        answer = corpus(*export, *given)
        assert answer.exit_code == 1
        assert words in answer.stderr


def offset_row(source: str, offset: float, shift: float | None = 0.0, fits=None) -> dict:
    return {
        "speaker": "lin",
        "source_id": source,
        "scores": json.dumps({"sync_offset": offset}),
        "sound_shift": shift,
        "sync_fits": None if fits is None else json.dumps(fits.tolist()),
        **{"start": 0.0, "end": 5.0},
    }


def test_a_sources_constant_offset_is_told_of_rejected_and_corrected_clips():
    late = [offset_row("rejected", 7, None)] * 3 + [offset_row("corrected", 0, 0.16)] * 3
    rows = [*late, *(offset_row("moving", offset) for offset in (-4, 0, 9)), offset_row("few", 5)]
    table = constant_offsets(rows).splitlines()
    assert "| lin/corrected | 3 | +4 | 100% |" in table
    assert "| lin/rejected | 3 | +7 | 100% |" in table
    assert not any("moving" in line or "few" in line for line in table)


def test_clips_that_are_unsure_alone_show_their_sources_offset_together():
    rng = np.random.default_rng(0)
    truth = 0.45 * (np.arange(-15, 16) == 4)
    clips = [truth + rng.normal(0, 0.2, 31) for _ in range(12)]
    alone = [best_shift(fits, 125) for fits in clips]
    assert not all(sync.offset == 4 for sync in alone)
    rows = [offset_row("late", s.offset, fits=f) for s, f in zip(alone, clips, strict=True)]
    assert source_offset(rows)[0] == 4
    # two frames of it were corrected: the source's offset is the same
    rows = [
        offset_row("late", s.offset - 2, 0.08, np.roll(f, -2))
        for s, f in zip(alone, clips, strict=True)
    ]
    assert source_offset(rows)[0] == 4
    noise = [rng.normal(0, 0.2, 31) for _ in range(12)]
    assert source_offset([offset_row("none", 3, fits=fits) for fits in noise])[0] == 0
