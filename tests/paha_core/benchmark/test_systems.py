"""Other systems' videos as rows."""

import re
import shutil
from pathlib import Path

import numpy as np
import pytest
import yaml
from typer.testing import CliRunner

from paha_core.benchmark.measuring.evaluate import evaluate
from paha_core.benchmark.measuring.systems import (
    at_25_fps,
    external_systems,
    ingest_system,
    remove_system,
    system_names,
)
from paha_core.benchmark.measuring.videos import collect_videos
from paha_core.benchmark.report.page import build_report, result_table
from paha_core.benchmark.run import all_systems, run_benchmark
from paha_core.cli import app
from paha_core.config import Preset
from paha_core.errors import StageError
from paha_core.media.audio import write_wav
from paha_core.media.encode import write_video
from paha_core.media.probe import probe
from paha_core.store import Store
from synthetic import FRAMES, SIZE, draw, hands, mouth_curve, speech


@pytest.fixture(scope="module")
def store(run_store: Store, tmp_path_factory: pytest.TempPathFactory) -> Store:
    return Store(str(shutil.copytree(run_store.root, tmp_path_factory.mktemp("systems") / "store")))


@pytest.fixture(scope="module")
def outputs(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """Two held-out clips, a training clip, a stranger at 30 fps, and a video without a voice."""
    folder = tmp_path_factory.mktemp("outputs")
    videos, audio = folder / "out", folder / "voices"
    videos.mkdir(), audio.mkdir()
    for name, seed, fps in (
        ("pats__oliver__003", 3, 25),
        ("cnas__anchor1__003", 13, 25),
        ("pats__oliver__000", 0, 25),
        ("stranger", 30, 30),
        ("silent", 31, 25),
    ):
        count = round(FRAMES * fps / 25)
        seconds = (np.arange(count) + 0.5) / fps
        mouth = np.interp(seconds, (np.arange(75) + 0.5) / 25, mouth_curve(seed))
        frames = draw(mouth, hands(seed, count), SIZE, 0)
        write_video(videos / f"{name}.mp4", frames, fps=fps)
        if name != "silent":
            write_wav(audio / f"{name}.wav", speech(mouth_curve(seed), seed), 16_000)
    (videos / "notes.txt").write_text("not a video")
    return videos, audio


def test_a_system_gets_rows_of_its_own(
    outputs: tuple[Path, Path], store: Store, run_preset: Preset
) -> None:
    rows = {row["clip_id"]: row for row in ingest_system(store, run_preset, "S2G", *outputs)}
    assert rows["external/S2G/silent"]["reason"] == "no audio of that name in voices"
    trained_on = rows["pats/oliver/000"]
    assert (trained_on["split"], trained_on["status"]) == ("train", "rejected")
    assert "training clip" in trained_on["reason"]
    kept = rows["pats/oliver/003"]
    as_it_was = (outputs[0] / "pats__oliver__003.mp4").read_bytes()
    assert store.read_bytes(kept["path"]) == as_it_was  # not encoded a second time
    assert len(kept["audio_sha256"]) == 64
    assert rows["external/S2G/stranger"]["source_fps"] == pytest.approx(30)
    assert {row["status"] for row in rows.values()} == {"kept", "rejected"}
    for row in rows.values():
        if row["status"] == "kept":
            with store.reading(row["path"]) as path:
                assert probe(path).fps == pytest.approx(25)
                assert probe(path).frames == row["frames"] == FRAMES

    found = external_systems(store, collect_videos(store, run_preset)["real"])["S2G"]
    references = {video.clip_id: video.reference for video in found}
    assert references["pats/oliver/003"] == "references/pats__oliver__003.png"
    assert references["external/S2G/stranger"] == ""

    cells = {(r.system, r.dataset, r.metric): r for r in run_benchmark(store, run_preset)}
    assert cells["S2G", "all", "lip_correlation_truth"].value > 0.8
    assert cells["S2G", "all", "lip_correlation"].n == 2  # the stranger has no real video
    known, own = cells["S2G", "all", "face_share"], cells["S2G", "external", "face_share"]
    assert (known.n, known.clips, known.frames) == (2, 2, 2 * FRAMES)
    assert (own.n, own.clips, own.frames) == (1, 1, FRAMES)  # the stranger is in no common row
    assert ("real", "external", "face_share") not in cells
    assert cells["S2G", "external", "bas"].value is not None
    for metric in ("fgd", "fvd[studio-r3d]"):  # one clip; of more: another corpus
        assert cells["S2G", "external", metric].value is None
    assert "no timing" in cells["S2G", "all", "tc"].reason
    assert cells["S2G", "pats", "face_share"].n == 1


def test_another_system_from_the_shell(
    outputs: tuple[Path, Path], store: Store, run_preset: Preset, tmp_path: Path
) -> None:
    preset = tmp_path / "preset.yaml"
    preset.write_text(yaml.safe_dump(run_preset.model_dump(mode="json")))
    where = ["--preset", str(preset), "--store", store.url]
    videos = ["--videos", str(outputs[0]), "--audio", str(outputs[1])]
    done = CliRunner().invoke(app, ["evaluate", *where, *videos, "--name", "S2G"])
    assert done.exit_code == 0, done.output
    assert "S2G: 3 of 5 videos, 2 of them of held-out clips; 192 of their 192 frames" in done.output
    assert "generation.max_frames: 64 a video" in done.output
    assert "Other systems' own clips" in done.output
    assert "silent: no audio of that name" in done.output
    assert re.search(r"Lip correlation .*│", done.output)
    assert "Sync-C: needs SyncNet weights" in done.output
    assert re.search("no other networks|no worse than", done.output)
    page = store.read_bytes(build_report(store, run_preset)).decode()
    assert page.count('class="screen s-other0"') == 2  # beside ours, for the clips it shows
    nameless = CliRunner().invoke(app, ["evaluate", *where, *videos])
    assert (nameless.exit_code, "needs --audio and --name" in nameless.output) == (1, True)


def test_others_own_clips_stand_apart_and_nobody_wins_there(
    outputs: tuple[Path, Path], store: Store, run_preset: Preset
) -> None:
    ingest_system(store, run_preset, "S2G", *outputs)
    rows = run_benchmark(store, run_preset)
    own = result_table(rows, "external")
    assert [title for _, title, _ in own.systems] == ["S2G"]
    assert own.systems[0][2] == f"1 clip, {FRAMES} frames"
    assert not any(cell.best for _, lines in own.groups for x in lines for cell in x.cells)
    assert not any(line.paper for _, lines in own.groups for line in lines)
    page = store.read_bytes(build_report(store, run_preset)).decode()
    assert "Other systems' own clips" in page
    evaluation = evaluate(store, run_preset, all_systems(store, run_preset))
    reason = evaluation.statistic("fgd", "external")
    assert reason.reason.startswith("another corpus")


def test_a_system_that_cant_be_used_leaves_no_row_and_one_can_be_removed(
    outputs: tuple[Path, Path], store: Store, run_preset: Preset, tmp_path: Path
) -> None:
    ingest_system(store, run_preset, "S2G", *outputs)
    with pytest.raises(StageError, match="none of the 5 videos of S2G can be used: no audio"):
        ingest_system(store, run_preset, "S2G", outputs[0], tmp_path)
    assert "S2G" in system_names(store)  # what was there before stays
    with pytest.raises(StageError, match="can be used"):
        ingest_system(store, run_preset, "SDT", outputs[0], tmp_path)
    assert "SDT" not in system_names(store)
    remove_system(store, "S2G")
    assert "S2G" not in all_systems(store, run_preset)
    assert store.glob("systems/S2G/*") == []
    with pytest.raises(StageError, match="no system 'S2G' was taken over"):
        remove_system(store, "S2G")


def test_a_name_or_folder_that_cant_be(run_preset: Preset, tmp_path: Path) -> None:
    store = Store(str(tmp_path / "store"))
    for name in ("real", "../x", "sequential", ""):
        with pytest.raises(StageError, match="can't name a system"):
            ingest_system(store, run_preset, name, tmp_path, tmp_path)
    with pytest.raises(StageError, match="no folder"):
        ingest_system(store, run_preset, "S2G", tmp_path / "none", tmp_path)
    with pytest.raises(StageError, match="no videos in"):
        ingest_system(store, run_preset, "S2G", tmp_path, tmp_path)


def test_other_rates_show_the_frame_of_the_moment() -> None:
    frames = np.arange(30).reshape(30, 1, 1, 1)
    at_25 = at_25_fps(frames, 30)
    assert len(at_25) == 25
    assert at_25[0, 0, 0, 0] == 0
    assert at_25[-1, 0, 0, 0] == 29
    assert len(at_25_fps(frames, 15)) == 50
    assert at_25_fps(frames, 25.0) is frames
