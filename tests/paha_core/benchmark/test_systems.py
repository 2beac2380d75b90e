"""Other systems' videos as rows."""

import re
import shutil
import tracemalloc
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from media_files import ffmpeg
from PIL import Image
from typer.testing import CliRunner

from paha_core.benchmark.measuring.evaluate import evaluate
from paha_core.benchmark.measuring.systems import (
    external_systems,
    ingest_system,
    remove_system,
    system_names,
)
from paha_core.benchmark.measuring.videos import (
    SystemVideo,
    collect_videos,
    load_frames,
    load_picture,
)
from paha_core.benchmark.report.page import build_report, result_table
from paha_core.benchmark.run import all_systems, run_benchmark
from paha_core.cli import app
from paha_core.config import Preset
from paha_core.errors import StageError
from paha_core.media import timeline
from paha_core.media.audio import read_audio, write_wav
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


def test_other_systems_own_clips_are_a_block_without_a_best(
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
    with pytest.raises(StageError, match="no system 'S2G' was imported"):
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


@pytest.fixture
def take_over(run_preset: Preset, tmp_path: Path) -> Callable[..., dict[str, dict]]:
    """Ingests the videos of a folder; returns its rows by stem."""
    (tmp_path / "v").mkdir(), (tmp_path / "a").mkdir(), (tmp_path / "r").mkdir()

    def ingest(**changes: Any) -> dict[str, dict]:
        preset = run_preset.model_copy(
            update={"generation": run_preset.generation.model_copy(update=changes)}
        )
        folders = (tmp_path / name for name in "var")
        rows = ingest_system(Store(str(tmp_path / "store")), preset, "S2G", *folders)
        return {row["clip_id"].rsplit("/", 1)[1]: row for row in rows}

    return ingest


def flashes(fps: float, seconds: float = 3.0) -> tuple[np.ndarray, np.ndarray]:
    """Pictures and sound with a flash and a click at 0.5, 1.1 and 2.3 s."""
    times, at = np.arange(round(seconds * fps)) / fps, (0.5, 1.1, 2.3)
    light = np.any([(times >= t - 1e-6) & (times < t + 0.2) for t in at], axis=0)
    frames = np.where(light, 235, 20).astype(np.uint8)[:, None, None, None]
    wave = np.zeros(round(seconds * 16_000), np.float32)
    for t in at:
        wave[round(t * 16_000) : round(t * 16_000) + 160] = 0.8
    return np.broadcast_to(frames, (len(frames), 64, 64, 3)), wave


def sync_errors(store: Store, row: dict) -> np.ndarray:
    """Seconds between each flash and its click, of a system's video as it is evaluated."""
    video = SystemVideo(
        "S2G", row["clip_id"], row["path"], "", row["frames"], row["audio_path"], ""
    )
    bright = load_frames(store, video).mean(axis=(1, 2, 3)) > 128
    shown = (np.flatnonzero(bright[1:] & ~bright[:-1]) + 1) / 25
    with store.reading(row["audio_path"]) as path:
        loud = np.flatnonzero(np.abs(read_audio(path)) > 0.3) / 16_000
    heard = loud[np.diff(loud, prepend=-1) > 0.1]
    assert len(heard) == len(shown)
    return heard - shown


@pytest.mark.parametrize("fps", [25, 24, 29.97, 50, 60, 12])
def test_picture_and_voice_keep_their_sync_at_any_rate(
    take_over: Callable[..., dict[str, dict]], tmp_path: Path, fps: float
) -> None:
    frames, wave = flashes(fps)
    write_video(tmp_path / "v" / "talk.mp4", frames, fps=fps)
    write_wav(tmp_path / "a" / "talk.wav", wave, 16_000)
    row = take_over(max_frames=75)["talk"]
    assert (row["status"], row["frames"]) == ("kept", 75)
    store = Store(str(tmp_path / "store"))
    late = 0.5 / fps if fps < 25 else 0  # the source itself shows a flash up to a frame late
    assert np.abs(sync_errors(store, row) + late).max() <= 0.0201 + late


def test_a_varying_rate_and_a_late_picture_keep_their_sync(
    take_over: Callable[..., dict[str, dict]], tmp_path: Path
) -> None:
    frames, wave = flashes(60)
    whole, videos = tmp_path / "whole.mp4", tmp_path / "v"
    write_video(whole, frames, fps=60, wave=wave)
    keep = "select='not(between(t,0.7,1.05))*not(between(t,1.4,2.2))+not(mod(n,6))'"
    ffmpeg("-i", whole, "-vf", keep, "-fps_mode", "vfr", "-c:a", "copy", videos / "phone.mp4")
    at_25, sound = flashes(25)
    write_video(tmp_path / "cfr.mp4", at_25, wave=sound)
    for name, source in (("late25.mkv", tmp_path / "cfr.mp4"), ("late60.mkv", whole)):
        late = ["-i", source, "-itsoffset", "0.4", "-i", source, "-map", "1:v", "-map", "0:a"]
        ffmpeg(*late, "-c", "copy", videos / name)
    for path in videos.iterdir():
        ffmpeg("-i", path, "-vn", "-c:a", "pcm_s16le", tmp_path / "a" / f"{path.stem}.WAV")
    rows = take_over(max_frames=60)  # the last flash of a late picture is beyond
    store = Store(str(tmp_path / "store"))
    assert {row["status"] for row in rows.values()} == {"kept"}
    assert np.abs(sync_errors(store, rows["phone"])).max() <= 0.0201
    for name in ("late25", "late60"):  # shown 0.4 s late by every player, judged as such
        video = SystemVideo("S2G", "x", rows[name]["path"], "", 60, rows[name]["audio_path"], "")
        bright = load_frames(store, video).mean(axis=(1, 2, 3)) > 128
        shown = (np.flatnonzero(bright[1:] & ~bright[:-1]) + 1) / 25
        np.testing.assert_allclose(shown, [0.9, 1.5], atol=0.0201)


def test_no_more_frames_are_held_than_are_compared(
    take_over: Callable[..., dict[str, dict]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A minute of video, of which two seconds count: neither all decoded nor held at once."""
    ffmpeg("-f", "lavfi", "-i", "color=gray:s=320x240:r=30", "-t", 60, tmp_path / "v" / "long.mp4")
    write_wav(tmp_path / "a" / "long.wav", flashes(30)[1], 16_000)
    decoded = []
    real = timeline.decode_frames
    monkeypatch.setattr(
        timeline,
        "decode_frames",
        lambda *a, **k: (decoded.append(1) or frame for frame in real(*a, **k)),
    )
    tracemalloc.start()
    row = take_over(max_frames=50)["long"]
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert (row["status"], row["frames"]) == ("kept", 50)
    assert len(decoded) <= 2 * (2.1 * 30 + 2)
    assert peak < 50 * 320 * 240 * 3 / 2


def test_suffixes_match_in_any_case_and_unknown_ones_are_reported(
    take_over: Callable[..., dict[str, dict]], tmp_path: Path, run_preset: Preset
) -> None:
    frames, wave = flashes(25)
    for name in ("upper", "opus", "text", "odd", "café"):
        write_video(tmp_path / "v" / f"{name}.mp4", frames)
    write_wav(tmp_path / "a" / "upper.WAV", wave, 16_000)
    ffmpeg("-i", tmp_path / "a" / "upper.WAV", "-ar", 48000, tmp_path / "a" / "opus.opus")
    write_wav(tmp_path / "a" / "odd.aiff.tmp", wave, 16_000)
    (tmp_path / "a" / "text.txt").write_text("hello")
    write_wav(tmp_path / "a" / "cafe\u0301.wav", wave, 16_000)
    upright = draw(np.zeros(1), hands(0, 1), 128, 0)[0]
    turned = Image.fromarray(np.ascontiguousarray(np.rot90(upright)))
    exif = Image.Exif()
    exif[0x0112] = 6
    turned.save(tmp_path / "r" / "upper.JPG", format="jpeg", exif=exif, quality=95)
    turned.save(tmp_path / "r" / "opus.webp", exif=exif, quality=95)
    (tmp_path / "r" / "café.png").write_bytes(b"no picture")
    rows = take_over()
    store = Store(str(tmp_path / "store"))
    for name in ("upper", "opus"):
        assert rows[name]["status"] == "kept"
        found = load_picture(store, rows[name]["reference"])
        assert np.abs(found.astype(int) - upright).mean() < 6  # not lying on its side
    assert "a/text.txt has none of the endings .wav" in rows["text"]["reason"]
    assert rows["odd"]["reason"] == "no audio of that name in a"
    assert "its reference café.png: not a picture" in rows["café"]["reason"]
