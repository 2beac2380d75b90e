"""What ingestion costs over a corpus of many clips when next to nothing is new.

    python benchmarks/manifest_rows.py runs/rows --rows 10 1000 100000

For each number of rows a store is filled once, by a stand-in for the cut that writes empty files.
Then `paha ingest pats` runs as its user runs it, each time as a process of its own: with nothing to
do, and with one interval more, which is cut from a real (small) video, filtered and published.
Prints CPU seconds, the peak of its memory, and how many files of clips it touched. Goals at
100,000: 20 s with nothing to do, 5 s with one clip more, 2 GiB.
"""

from __future__ import annotations

import argparse
import csv
import os
import resource
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np

from paha_core.config import ClipConfig, CorporaConfig, PatsConfig
from paha_core.corpora import pats
from paha_core.corpora.card import write_card
from paha_core.corpora.clips import ClipTask
from paha_core.engine.manifest_stage import read_manifest
from paha_core.media.ffmpeg import file_url, run
from paha_core.store import Store

SPEAKERS = ("oliver", "seth", "chemistry", "jon")
SECONDS, APART = 4.0, 0.1  # of an interval, and from one to the next
SIZE = 64
PRESET = """name: rows
corpora:
  clip: {{size: {size}}}
  pats: {{csv: {csv}, videos: {videos}, min_face_share: null, max_still_seconds: null}}
"""


def sources(folder: Path, rows: int) -> list[str]:
    """One video a speaker, as long as its intervals need."""
    folder.mkdir(parents=True, exist_ok=True)
    names = [f"{speaker}.mp4" for speaker in SPEAKERS]
    seconds = (rows // len(SPEAKERS) + 2) * APART + SECONDS + 1
    first = folder / names[0]
    if not first.exists():
        picture = f"testsrc=s={SIZE}x{SIZE}:r=5:d={seconds:.2f}"
        sound = ["-f", "lavfi", "-i", f"sine=d={seconds:.2f}"]
        coded = ["-preset", "ultrafast", "-pix_fmt", "yuv420p"]
        run(["-f", "lavfi", "-i", picture, *sound, *coded, file_url(first)])
    for name in names[1:]:
        if not (folder / name).exists():
            os.link(first, folder / name)
    return names


def write_list(path: Path, names: list[str], rows: int) -> None:
    with path.open("w", newline="") as file:
        writer = csv.writer(file)
        header = ("speaker", "video_fn", "interval_id", "start_time", "end_time", "dataset")
        writer.writerow(header)
        for n in range(rows):
            start = round(n // len(names) * APART, 3)
            name = names[n % len(names)]
            writer.writerow((Path(name).stem, name, n, start, round(start + SECONDS, 3), "train"))


def fill(store: Store, listed: Path, videos: Path) -> None:
    """Every row of the list as if it had been cut."""
    random = np.random.default_rng(0)

    def empty_clip(task: ClipTask) -> dict[str, Any]:
        stem = f"clips/{task.span.clip_id}"
        paths = {"path": f"{stem}.mp4", "audio_path": f"{stem}.wav"}
        for rel in paths.values():
            with store.writing(rel) as path:
                path.touch()
        numbers = {"frames": 100, "fps": 25.0, "size": SIZE, "audio_rate": 44100}
        times = {"cut_start": task.span.start, "sound_shift": 0.0, "audio_seconds": SECONDS}
        content = f"{random.bytes(24).hex()}:{random.bytes(22).hex()}"
        hashes = {"sha256": "0", "audio_sha256": "0", "content_hash": content}
        return {**paths, **numbers, **times, **hashes, "scores": '{"mean_db": -20.1}'}

    settings = PatsConfig(csv="-", videos="-", min_face_share=None, max_still_seconds=None)
    config = CorporaConfig(clip=ClipConfig(size=SIZE), pats=settings)
    real, pats.cut_clip = pats.cut_clip, empty_clip
    try:
        pats.ingest_pats(store, config, "pats", listed, videos, workers=0)
    finally:
        pats.cut_clip = real
    write_card(store, "pats")


def measured(command: list[str]) -> tuple[float, float, str]:
    """CPU seconds and GiB of a process and its children, and its output."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    assert done.returncode == 0, done.stdout + done.stderr
    cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return cpu, after.ru_maxrss / 2**20, done.stdout


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--rows", type=int, nargs="*", default=[10, 1000, 100_000])
    given = parser.parse_args()
    print("| rows | run | CPU seconds | peak GiB | computed |\n|---|---|---|---|---|")
    for rows in given.rows:
        folder = given.folder.resolve() / str(rows)
        names = sources(folder / "videos", rows)
        store, listed = Store(str(folder / "store")), folder / "intervals.csv"
        write_list(listed, names, rows)
        preset = folder / "preset.yaml"
        preset.write_text(PRESET.format(size=SIZE, csv=listed, videos=folder / "videos"))
        if not store.exists("manifests/clips/pats"):
            fill(store, listed, folder / "videos")
        command = [sys.executable, "-m", "paha_core.cli", "ingest", "pats", "--preset", str(preset)]
        command += ["--csv", str(listed), "--videos", str(folder / "videos")]
        command += ["--out", store.url, "--workers", "1"]
        stored = len(read_manifest(store, "clips", "pats"))  # with those of earlier runs
        for what, count in (("nothing to do", stored), ("one clip more", stored + 1)):
            write_list(listed, names, count)
            cpu, memory, output = measured(command)
            line = next(line for line in output.splitlines() if "computed" in line)
            print(f"| {rows} | {what} | {cpu:.1f} | {memory:.2f} | {line} |", flush=True)


if __name__ == "__main__":
    main()
