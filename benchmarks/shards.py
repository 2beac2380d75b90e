"""Shards: reading against a plain tar, the training loop's wait, bytes, and PAR's stored type.

    python benchmarks/shards.py

Clips are as large as the paper's: latents 4x64x64, wav2vec2's 12 layers of 768, 5 seconds; their
content is noise, because nothing is compressed and the time does not depend on it. Medians of
rounds that take turns; files are in the page cache for all alike. Targets: 0.8 of plain sequential
reading of the same bytes, less than 2 % of a demo training step spent waiting for data.
"""

from __future__ import annotations

import argparse
import statistics
import tarfile
import tempfile
import time
import zlib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from paha_core.config import ParConfig, load_preset
from paha_core.corpora.studio import programme
from paha_core.engine.prefetch import ahead, in_background
from paha_core.engine.workers import cores
from paha_core.media.audio import write_wav
from paha_core.media.encode import write_video
from paha_core.models.audio_encoder import open_audio_encoder
from paha_core.models.build import Widths, new_univdm
from paha_core.models.codec import Codec, new_autoencoder
from paha_core.models.reference_encoder import open_reference_encoder
from paha_core.par import par_weights, region_masks
from paha_core.pose.face import FaceBoxes
from paha_core.shards.encode import ClipJob, Encoders, LoadedClip, encode_clip, load_clip
from paha_core.shards.prefetch import Prefetched
from paha_core.shards.reader import ShardReader
from paha_core.shards.sample import ClipSample, to_tar
from paha_core.shards.windows import WindowBatches
from paha_core.shards.writer import Packed, pack, write_index, write_packed, write_shards
from paha_core.store import Store, sha256_file
from paha_core.training.tasks.univdm import (
    ExampleBatches,
    Examples,
    ExampleSource,
    UniVDMTask,
    par_loss,
)

FRAMES, SECONDS, ROUNDS = 125, 5, 5


def noise_clip(
    number: int, channels: int, grid: int, audio: tuple[int, int], embedding: int
) -> ClipSample:
    random = np.random.default_rng(number)

    def half(*shape: int) -> np.ndarray:
        return random.standard_normal(shape, np.float32).astype(np.float16)

    boxes = np.tile(np.array([[0.3, 0.1, 0.6, 0.5]], np.float32), (FRAMES, 1))
    names = {"codec": "noise", "audio_encoder": "noise", "reference_encoder": "noise"}
    return ClipSample(
        key=f"pats__noise__{number:05d}",
        latents=half(FRAMES, channels, grid, grid),
        par=np.abs(half(FRAMES, grid, grid)) + np.float16(1),
        regions=random.integers(0, 8, (FRAMES, grid, grid), dtype=np.uint8),
        audio=half(FRAMES, *audio),
        faces=boxes,
        face_found=np.ones(FRAMES, bool),
        reference=half(8, embedding),
        reference_index=np.linspace(0, FRAMES - 1, 8).round().astype(np.int32),
        wave=random.integers(-9999, 9999, FRAMES * 640).astype(np.int16),
        meta={
            **names,
            "clip_id": f"pats/noise/{number:05d}",
            **{"dataset": "pats", "speaker": "noise", "split": "train"},
            **{"fps": 25, "sample_rate": 16000, "frames": FRAMES},
        },
    )


def publish(store: Store, count: int, *form: Any) -> None:
    clips = (noise_clip(n, *form) for n in range(count))
    rows = write_shards(store, "shards/pats/train", clips, clips_per_shard=16)
    write_index(store, "training_shards", "pats", rows)


def table(title: str, heads: tuple[str, ...], rows: Sequence[tuple[str, ...]]) -> None:
    print(f"\n{title}\n")
    for row in (heads, ("---",) * len(heads), *rows):
        print("| " + " | ".join(row) + " |")


# --- reading --------------------------------------------------------------------------------------


def plain_tar(store: Store) -> int:
    """Every byte of every shard in order, by the standard library."""
    total = 0
    for shard in store.glob("shards/pats/*.tar"):
        with tarfile.open(store.full(shard), "r:") as tar:
            for member in tar:
                file = tar.extractfile(member)
                assert file is not None
                total += len(file.read())
    return total


def reading(store: Store, count: int) -> None:
    publish(store, count, 4, 64, (12, 768), 1280)
    order = np.random.default_rng(0).permutation(count)
    first, later = (ShardReader(store, ["pats"], cache_bytes=0) for _ in range(2))

    def shuffled(reader: ShardReader) -> None:
        for i in order:
            reader.read(int(i))

    def first_epoch() -> None:
        first._verified.clear()  # as if nothing had been read yet
        shuffled(first)

    works = {
        "plain tar, in order": lambda: plain_tar(store),
        "shuffled, first epoch (checks every byte)": first_epoch,
        "shuffled, later epochs": lambda: shuffled(later),
    }
    times: dict[str, list[float]] = {name: [] for name in works}
    for turn in range(ROUNDS + 1):
        for name, work in works.items():
            started = time.perf_counter()
            work()
            if turn:
                times[name].append(time.perf_counter() - started)
    size = sum(row["bytes"] for row in later.rows)
    plain = statistics.median(times["plain tar, in order"])
    rows = []
    for name, took in times.items():
        middle = statistics.median(took)
        speed = f"{count / middle:.0f}", f"{size / middle / 1e6:.0f}", f"{plain / middle:.2f}"
        rows.append((name, *speed))
    heads = ("reader", "clips/s", "MB/s", "of plain tar")
    table(f"Reading {count} clips of {size / count / 1e6:.1f} MB", heads, rows)


# --- waiting --------------------------------------------------------------------------------------


class Timed:
    """Batches, and how long was waited for each."""

    def __init__(self, batches: ExampleSource) -> None:
        self.batches, self.waits = batches, list[float]()

    def batch_at(self, number: int) -> Examples:
        started = time.perf_counter()
        batch = self.batches.batch_at(number)
        self.waits.append(time.perf_counter() - started)
        return batch


def waiting(store: Store, steps: int) -> None:
    """The demo's generator and its batches, with and without prefetching."""
    preset = load_preset("demo")
    codec, train = preset.codec, preset.univdm.train
    audio, reference = open_audio_encoder(preset.audio), open_reference_encoder(preset.reference)
    form = (audio.layers, audio.width), reference.width
    publish(store, 24, codec.latent_channels, codec.latent_size, *form)

    rows, (batch, _) = [], train.shares()
    for how in ("as asked for", "prefetched"):
        reader = ShardReader(store, ["pats"], cache_bytes=0)
        windows = WindowBatches(reader, batch, train.frames, preset.audio.margin, 0)
        plain = ExampleBatches(windows, preset.univdm)
        with Prefetched(plain) as ahead:
            batches = Timed(ahead if how == "prefetched" else plain)
            widths = Widths(codec.latent_channels, audio.layers, audio.width, reference.width)
            model = new_univdm(preset, widths)
            task = UniVDMTask(model, preset.univdm, batches, [])
            optimizer = torch.optim.AdamW(model.parameters(), lr=1e-4, fused=True)
            took = []
            for step in range(steps):
                started = time.perf_counter()
                loss, _ = task.loss(model, step)
                loss.backward()
                optimizer.step()
                optimizer.zero_grad(set_to_none=True)
                took.append(time.perf_counter() - started)
        wait, step_time = (statistics.median(v[3:]) for v in (batches.waits, took))
        share = sum(batches.waits[3:]) / sum(took[3:])
        rows.append((how, f"{1000 * step_time:.0f}", f"{1000 * wait:.2f}", f"{share:.2%}"))
    heads = ("batches", "step, ms", "wait, ms", "share of the time")
    what = f"demo network, {batch} x {train.frames} frames, cache off"
    table(f"Waiting for data: {what}", heads, rows)


# --- encoding -------------------------------------------------------------------------------------


def encoding(store: Store, frames: np.ndarray, sound: np.ndarray, clips: int, workers: int) -> None:
    """Clips into packed samples with the demo's codec: decoded ahead by one thread, as once, and
    by several, with encoding and writing apart, as `training_shards` does. The ways take turns."""
    preset = load_preset("demo")
    grid, count = preset.codec.latent_size, len(frames)
    codec = Codec(new_autoencoder(preset.codec), "untrained", "")
    encoders = Encoders(
        codec,
        open_audio_encoder(preset.audio),
        open_reference_encoder(preset.reference),
        preset.codec.size,
        preset.shards.reference_frames,
    )
    with store.writing("clip.mp4") as path:
        write_video(path, frames, crf=12)
        digest = sha256_file(path)
    with store.writing("clip.wav") as path:
        write_wav(path, sound[: count * 22050 // 25].astype(np.float32) / 32768, 22050)
    with store.writing("par.npz") as path, path.open("wb") as file:
        ones = np.ones((count, grid, grid), np.float16)
        np.savez(file, weights=ones, regions=ones.astype(np.uint8))
    boxes = np.tile(np.array([[16, 8, 48, 40]], np.float32), (count, 1))
    with store.writing("faces.parquet") as path:
        FaceBoxes(boxes, np.ones(count, bool), (512, 512), "drawn").save(path)
    row = {"path": "clip.mp4", "audio_path": "clip.wav", "frames": count, "fps": 25.0}
    row |= {"dataset": "pats", "speaker": "lin", "split": "train", "sha256": digest}
    jobs = [
        ClipJob(
            row | {"clip_id": f"pats/lin/{n}"}, {"path": "par.npz"}, {"path": "faces.parquet"}, ""
        )
        for n in range(clips)
    ]

    def load(job: ClipJob) -> LoadedClip:
        return load_clip(store, job, preset.codec.size)

    def packed(depth: int, threads: int) -> Iterator[Packed]:
        return (pack(encode_clip(clip, encoders)) for clip in ahead(load, jobs, depth, threads))

    ways = {
        "one thread decodes": lambda: packed(1, 1),
        f"{workers} decode, one encodes, one writes": lambda: in_background(
            packed(workers + 1, workers)
        ),
    }
    times: dict[str, list[float]] = {name: [] for name in ways}
    for turn in range(ROUNDS + 1):
        for name, way in ways.items():
            started = time.perf_counter()
            write_lists = write_packed(store, f"shards/{turn}", way(), clips)
            assert sum(map(len, write_lists)) == clips
            if turn:
                times[name].append(time.perf_counter() - started)
    first = statistics.median(times["one thread decodes"])
    rows = [
        (name, f"{clips * count / statistics.median(t):.0f}", f"{first / statistics.median(t):.2f}")
        for name, t in times.items()
    ]
    table(f"Encoding {clips} clips of {count} frames", ("how", "frames/s", "times as fast"), rows)


# --- bytes ----------------------------------------------------------------------------------------


def studio_scene() -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Frames [T, 512, 512, 3], PAR weights and regions [T, 64, 64], sound of a drawn presenter."""
    drawn = programme.prepare("lin", 0, seconds=SECONDS, height=512, seed=3)
    left, top, side = drawn.crop
    window = (slice(top, top + side), slice(left, left + side))
    pictures = zip(programme.draw_frames(drawn), range(FRAMES))
    frames = np.stack([frame[window] for frame, _ in pictures])
    truth = programme.ground_truth(drawn)
    corner = np.array([left, top], np.float32)
    points: np.ndarray = truth["keypoints"][: len(frames)] - corner
    scores = np.where(truth["visible"][: len(frames)], 0.95, 0).astype(np.float32)
    scene = (points, scores, (512, 512), ParConfig(), 64)
    return frames, par_weights(*scene), region_masks(*scene), programme.sound(drawn)[:, 0]


def bytes_per_second(folder: Path, frames: np.ndarray, sound: np.ndarray) -> None:
    seconds = len(frames) / 25
    write_video(folder / "clip.mp4", frames, crf=12)
    write_wav(folder / "clip.wav", sound.astype(np.float32) / 32768, 22050)
    sample = noise_clip(0, 4, 64, (12, 768), 1280)
    arrays = [getattr(sample, name) for name in ("latents", "par", "regions", "audio")]
    sizes = {
        "clip: mp4 (crf 12) and wav": sum(
            (folder / f"clip.{kind}").stat().st_size for kind in ("mp4", "wav")
        )
        / seconds,
        "shard: latents, PAR, regions, audio features, sound": len(to_tar(sample)) / SECONDS,
        "the same arrays as float32": sum(4 * array.size for array in arrays) / SECONDS,
        "pixels as float32": 4 * 3 * 512 * 512 * 25.0,
    }
    base = sizes["shard: latents, PAR, regions, audio features, sound"]
    rows = [(name, f"{size / 1e6:.2f}", f"{size / base:.2f}") for name, size in sizes.items()]
    table("Bytes of a second of 512x512 video", ("form", "MB/s", "of the shard"), rows)


def par_types(weights: np.ndarray) -> None:
    """The bytes that a smaller type would save, and its effect on the loss."""
    levels = np.log(weights.max()) / 255

    def log_codes(values: np.ndarray) -> np.ndarray:
        return np.round(np.log(values) / levels).astype(np.uint8)

    decoded = np.exp(np.arange(256) * levels).astype(np.float32)
    forms = {
        "float32": (weights, lambda a: a),
        "float16": (weights.astype(np.float16), lambda a: a.astype(np.float32)),
        "uint8, logarithmic": (log_codes(weights), lambda a: decoded[a]),
    }
    squared = torch.rand(weights.shape, generator=torch.Generator().manual_seed(0))[None]
    exact = float(par_loss(squared, torch.from_numpy(weights)[None]))
    sample = len(to_tar(noise_clip(0, 4, 64, (12, 768), 1280))) / FRAMES
    rows = []
    for name, (stored, read) in forms.items():
        took = []
        for _ in range(ROUNDS):
            started = time.perf_counter()
            values = read(stored)
            took.append(time.perf_counter() - started)
        off = np.abs(values / weights - 1)
        loss = float(par_loss(squared, torch.from_numpy(np.ascontiguousarray(values))[None]))
        size = stored.nbytes / len(weights)
        packed = len(zlib.compress(stored.tobytes(), 1)) / len(weights)
        rows.append(
            (
                name,
                f"{size:.0f}",
                f"{size / sample:.1%}",
                f"{packed:.0f}",
                f"{off.max():.3%}",
                f"{abs(loss / exact - 1):.1e}",
                f"{1e6 * statistics.median(took) / len(weights):.0f}",
            )
        )
    heads = ("type", "bytes/frame", "of a sample", "deflated", "largest error", "loss off by")
    table("PAR's stored type", (*heads, "us/frame to float32"), rows)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--clips", type=int, default=32)
    parser.add_argument("--steps", type=int, default=30)
    parser.add_argument("--encoded", type=int, default=6, help="clips to encode")
    parser.add_argument("--workers", type=int, default=cores(), help="threads that decode them")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        reading(Store(str(folder / "read")), args.clips)
        waiting(Store(str(folder / "train")), args.steps)
        frames, weights, _, sound = studio_scene()
        encoding(Store(str(folder / "encode")), frames, sound, args.encoded, args.workers)
        bytes_per_second(folder, frames, sound)
        par_types(weights)


if __name__ == "__main__":
    main()
