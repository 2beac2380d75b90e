"""Seconds of source ingested per second, against S2G's way with the same files in the same run.

    python benchmarks/ingest.py
    python benchmarks/ingest.py --counts 10 100 1000 --rounds 1

The footage: studio programmes of 1280x720 at 30 fps, repeated to `--minutes` each, and intervals of
10 s (the mean of PATS) spread over them. Three ways to 512x512 clips at 25 fps with their wav:

- paha: `ingest_pats`, all of it: hashes, a look at each source, cutting, two filters, manifests;
- s2g: `ffmpeg -i source -ss -to` for each interval, as its scripts have it, then a pass that crops;
- seek: the same with `-ss` before `-i`, so that ffmpeg need not decode all that comes before.

The two others check nothing and keep no manifest; both write the same kind of clip (x264 veryfast,
crf 12), in as many processes as `paha` has. Medians of rounds that take turns. Target: 2 times s2g
and seek. Then how the time of small clips grows with their number, and what of it a second run
over finished work takes (reading, comparing and writing manifests): linear, under 2 %.
"""

from __future__ import annotations

import argparse
import csv
import logging
import statistics
import tempfile
import time
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from paha_core.config import ClipConfig, CorporaConfig, PatsConfig
from paha_core.corpora.pats import crop_left, full_height, ingest_pats
from paha_core.corpora.studio import render_corpus
from paha_core.engine.workers import cores
from paha_core.media.ffmpeg import file_url, run
from paha_core.media.probe import probe
from paha_core.store import Store

SECONDS = 10.0  # of an interval
SPEAKERS = ("ada", "ben")
Interval = tuple[str, Path, float]  # speaker, source, start


def footage(folder: Path, height: int, minutes: float) -> list[Path]:
    """One long programme of each English presenter."""
    render_corpus(folder / "studio", programmes=1, seconds=12, height=height, seed=0, workers=1)
    made = []
    for speaker in SPEAKERS:
        short = folder / f"studio/pats/videos/{speaker}_000.mp4"
        long = folder / f"videos/{speaker}_000.mp4"
        long.parent.mkdir(exist_ok=True)
        times = round(minutes * 60 / probe(short).duration)
        loop = ["-stream_loop", str(times), "-i", file_url(short)]
        run([*loop, "-c", "copy", file_url(long)])
        made.append(long)
    return made


def spread(sources: list[Path], count: int, seconds: float) -> list[Interval]:
    """`count` intervals, evenly over all sources."""
    listed = []
    for n in range(count):
        source = sources[n % len(sources)]
        room = probe(source).duration - seconds - 1
        start = round(room * (n // len(sources)) / max(1, count // len(sources)), 2)
        listed.append((SPEAKERS[n % len(sources)], source, start))
    return listed


def write_csv(path: Path, intervals: Iterable[Interval], seconds: float) -> Path:
    with path.open("w", newline="") as file:
        writer = csv.writer(file)
        names = ("speaker", "video_fn", "interval_id", "start_time", "end_time", "dataset")
        writer.writerow(names)
        for n, (speaker, source, start) in enumerate(intervals):
            writer.writerow((speaker, source.name, n, start, start + seconds, "train"))
    return path


def paha(
    folder: Path, listed: Path, size: int, workers: int, shortest: float = 4.0
) -> Callable[[], int]:
    config = CorporaConfig(
        clip=ClipConfig(size=size),
        pats=PatsConfig(csv="-", videos="-", min_seconds=shortest, min_face_share=0),
    )

    def once() -> int:
        store = Store(str(folder))
        return ingest_pats(
            store, config, "pats", listed, listed.parent / "videos", workers=workers
        ).table.num_rows

    return once


def two_passes(
    folder: Path, intervals: list[Interval], size: int, workers: int, *, seek: bool
) -> Callable[[], int]:
    """S2G's trim and crop."""
    folder.mkdir()

    def clip(n: int) -> None:
        speaker, source, start = intervals[n]
        span = ["-ss", f"{start:g}", "-to", f"{start + SECONDS:g}"]
        opened = ["-i", file_url(source)]
        trimmed = folder / f"{n}.trim.mp4"
        run([*(span + opened if seek else opened + span), "-r", "25", file_url(trimmed)])
        info = probe(source)
        crop = full_height(crop_left(PatsConfig(), speaker), info.width, info.height)
        square = f"crop={crop.side}:{crop.side}:{crop.left}:0,scale={size}:{size}:flags=area"
        made = ["-c:v", "libx264", "-preset", "veryfast", "-crf", "12", "-an"]
        run(["-i", file_url(trimmed), "-vf", square, *made, file_url(folder / f"{n}.mp4")])
        sound = ["-vn", "-c:a", "pcm_s16le", file_url(folder / f"{n}.wav")]
        run(["-i", file_url(trimmed), *sound])

    def once() -> int:
        with ThreadPoolExecutor(workers) as pool:
            return len(list(pool.map(clip, range(len(intervals)))))

    return once


def timed(work: Callable[[], int], count: int) -> float:
    started = time.perf_counter()
    made = work()
    assert made == count, f"{made} clips of {count}"
    return time.perf_counter() - started


def compare(folder: Path, minutes: float, count: int, rounds: int, workers: int) -> None:
    sources = footage(folder, 720, minutes)
    intervals = spread(sources, count, SECONDS)
    listed = write_csv(folder / "intervals.csv", intervals, SECONDS)
    taken: dict[str, list[float]] = {"paha": [], "s2g": [], "seek": []}
    for n in range(rounds):
        ways = {
            "paha": paha(folder / f"paha{n}", listed, 512, workers),
            "s2g": two_passes(folder / f"s2g{n}", intervals, 512, workers, seek=False),
            "seek": two_passes(folder / f"seek{n}", intervals, 512, workers, seek=True),
        }
        for name in list(ways)[n % 3 :] + list(ways)[: n % 3]:
            taken[name].append(timed(ways[name], count))
    medians = {name: statistics.median(seconds) for name, seconds in taken.items()}
    print(f"{count} intervals of {SECONDS:g} s, {workers} processes, {rounds} rounds")
    for name, seconds in medians.items():
        rate, times = count * SECONDS / seconds, seconds / medians["paha"]
        print(f"{name:>6}: {seconds:7.1f} s, {rate:6.2f} s of source/s, paha is {times:.2f} times")


def scale(folder: Path, counts: list[int], workers: int) -> None:
    sources = footage(folder, 128, 2)
    print("clips of 2 s at 64x64")
    for count in counts:
        listed = write_csv(folder / f"{count}.csv", spread(sources, count, 2.0), 2.0)
        work = paha(folder / f"out{count}", listed, 64, workers, shortest=2.0)
        first, second = timed(work, count), timed(work, count)
        share = second / first
        print(
            f"{count:>6}: {first:7.1f} s, {1000 * first / count:6.1f} ms a clip, "
            f"again {second:.2f} s ({share:.1%})"
        )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--minutes", type=float, default=2, help="length of each programme")
    parser.add_argument("--intervals", type=int, default=12)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--workers", type=int, default=cores())
    parser.add_argument("--counts", type=int, nargs="*", default=[10, 100, 1000])
    args = parser.parse_args()
    logging.basicConfig(level=logging.WARNING)
    with tempfile.TemporaryDirectory(prefix="paha-") as folder:
        if args.rounds:
            work = Path(folder, "compare")
            work.mkdir()
            compare(work, args.minutes, args.intervals, args.rounds, args.workers)
        if args.counts:
            work = Path(folder, "scale")
            work.mkdir()
            scale(work, args.counts, args.workers)


if __name__ == "__main__":
    main()
