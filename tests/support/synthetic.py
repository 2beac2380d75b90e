"""A small store as a finished run leaves it: drawn clips, manifests, "generated" videos, logs.

The drawn mouth is a dark patch whose height is its openness, so that `PixelDetector` really reads
the videos: what the metrics say about them can be foretold.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from PIL import Image, ImageDraw
from scipy.ndimage import gaussian_filter1d

from paha_core.benchmark.measuring.evaluation import Evaluation
from paha_core.benchmark.measuring.extractors import Extractors
from paha_core.benchmark.measuring.video_metrics import MEASURES, Measured
from paha_core.benchmark.measuring.videos import KeypointSource, SystemVideo
from paha_core.benchmark.tables.claims import compare
from paha_core.benchmark.tables.run import SuiteResult
from paha_core.benchmark.tables.specs import SUITES
from paha_core.config import Preset
from paha_core.engine.manifest_files import manifest_path
from paha_core.engine.manifest_stage import BASE_SCHEMA, clip_key
from paha_core.inference.timing import HELD_OUT
from paha_core.media.audio import write_wav
from paha_core.media.encode import write_video
from paha_core.metrics.row import Missing
from paha_core.pose.keypoints import Keypoints
from paha_core.store import Store, sha256_file

SIZE, FRAMES, SMALL = 128, 64, 64
MODES = ("unguided", "sequential", "differential")
NOISE = {"unguided": 0.7, "sequential": 0.3, "differential": 0.15}
CLIP_FRAMES = 75
PART_TIMES = ("tc_solver", "tc_classifiers", "tc_codec")


def preset() -> Preset:
    return Preset(
        name="synthetic",
        workers=1,
        corpora={"studio": {}, "clip": {"size": SIZE}, "pats": {}, "cnas": {}},
        codec={"size": SMALL, "train": {"steps": 10}},
        audio={"encoder": "log_mel"},
        reference={"encoder": "pooled_pixels"},
        generation={"clips": 4, "max_frames": FRAMES},
        benchmark={"pose_autoencoder_steps": 20, "video_encoder_steps": 6, "bootstrap": 20},
    )


def mouth_curve(seed: int, frames: int = CLIP_FRAMES) -> np.ndarray:
    curve = gaussian_filter1d(np.random.default_rng(seed).normal(size=frames + 20), 1.5)[10:-10]
    return np.clip(0.5 + 0.9 * curve / curve.std() * 0.4, 0, 1)


def hands(seed: int, frames: int = CLIP_FRAMES) -> np.ndarray:
    """Wrists `[T, 2, 2]` as shares of the frame."""
    t = np.arange(frames) / 25
    a, b = np.random.default_rng(seed).uniform(2, 5, 2)
    left = np.stack([0.68 + 0.05 * np.sin(a * t), 0.75 + 0.08 * np.cos(b * t)], -1)
    right = np.stack([0.32 + 0.05 * np.sin(b * t), 0.75 + 0.08 * np.cos(a * t)], -1)
    return np.stack([left, right], 1)


def draw(mouth: np.ndarray, wrists: np.ndarray, size: int, hue: int) -> np.ndarray:
    """uint8 `[T, size, size, 3]`: head, mouth, trunk, arms and hands before a plain wall."""
    wall, suit = [(214, 222, 230), (226, 216, 204)][hue], [(52, 66, 96), (96, 58, 62)][hue]
    frames = []
    for openness, (left, right) in zip(mouth, wrists, strict=True):
        picture = Image.new("RGB", (2 * size, 2 * size), wall)
        pen, s = ImageDraw.Draw(picture), 2 * size
        pen.rounded_rectangle((0.33 * s, 0.5 * s, 0.67 * s, 1.2 * s), 0.06 * s, fill=suit)
        for shoulder, wrist in ((0.63, left), (0.37, right)):
            pen.line((shoulder * s, 0.56 * s, wrist[0] * s, wrist[1] * s), suit, int(0.07 * s))
            x, y = wrist * s
            pen.ellipse(
                (x - 0.045 * s, y - 0.045 * s, x + 0.045 * s, y + 0.045 * s), (226, 178, 150)
            )
        pen.ellipse((0.39 * s, 0.1 * s, 0.61 * s, 0.4 * s), (64, 44, 34))
        pen.ellipse((0.405 * s, 0.15 * s, 0.595 * s, 0.46 * s), (226, 178, 150))
        for eye in (0.46, 0.54):
            pen.ellipse((eye * s - 3, 0.27 * s - 3, eye * s + 3, 0.27 * s + 3), (40, 40, 48))
        half = 0.003 * s + 0.035 * s * openness
        pen.ellipse((0.46 * s, 0.37 * s - half, 0.54 * s, 0.37 * s + half), (120, 30, 40))
        frames.append(np.asarray(picture.resize((size, size), Image.Resampling.BOX)))
    return np.stack(frames)


class PixelDetector:
    """Reads the drawn mouth and hands from the pixels."""

    name, version, weights_sha256 = "pixels", "1", "feed" * 16
    calls = 0

    def detect(self, frames: np.ndarray) -> Keypoints:
        type(self).calls += 1
        count, size = len(frames), frames.shape[1]
        column = frames[:, int(0.3 * size) : int(0.44 * size), size // 2].astype(int)
        openness = np.clip(column[..., 0] - 120, 0, None).sum(1) / 106 / size
        openness = 0.14 - openness  # share of the frame that is lips
        points = np.zeros((count, 133, 2), np.float32)
        points[:, :17] = np.array((0.5, 0.3))
        points[:, 5], points[:, 6] = (0.63, 0.56), (0.37, 0.56)
        points[:, 23:91] = (0.5, 0.35)
        points[:, 23 + 27], points[:, 23 + 8] = (0.5, 0.27), (0.5, 0.46)
        points[:, 23], points[:, 39] = (0.41, 0.3), (0.59, 0.3)
        for upper, lower in ((61, 67), (62, 66), (63, 65)):
            points[:, 23 + upper, 1] = 0.37 - openness / 2
            points[:, 23 + lower, 1] = 0.37 + openness / 2
        skin = (frames[:, int(0.6 * size) :, :, 0] > 190) & (
            frames[:, int(0.6 * size) :, :, 2] < 175
        )
        for wrist, part, half in ((9, slice(91, 112), 1), (10, slice(112, 133), 0)):
            side = skin[:, :, size // 2 :] if half else skin[:, :, : size // 2]
            for t in range(count):
                y, x = np.nonzero(side[t])
                if len(x):
                    at = ((x.mean() + half * size / 2) / size, y.mean() / size + 0.6)
                    points[t, wrist] = at
                    spread = np.linspace(-0.03, 0.03, 21)
                    points[t, part] = np.stack([at[0] + spread, at[1] + spread[::-1]], -1)
        scores = np.ones((count, 133), np.float32)
        scores[:, 11:23] = 0
        points *= size
        return Keypoints(points, scores, (size, size), self.name, self.version, self.weights_sha256)


def write_manifest(
    store: Store, stage: str, name: str, rows: list[dict[str, Any]], extra: dict[str, pa.DataType]
) -> None:
    schema = pa.schema([*BASE_SCHEMA, *extra.items()])
    filled = [{"status": "kept", "reason": "", "fingerprint": row["clip_id"]} | row for row in rows]
    filled = [{column: row.get(column) for column in schema.names} for row in filled]
    store.write_table(manifest_path(stage, name), pa.Table.from_pylist(filled, schema=schema))


CLIP_COLUMNS = {
    "source_id": pa.string(),
    "start": pa.float64(),
    "end": pa.float64(),
    "frames": pa.int32(),
}
GENERATED_COLUMNS = {
    "frames": pa.int32(),
    "audio_path": pa.string(),
    "real_path": pa.string(),
    "seconds": pa.float64(),
    "seed": pa.int64(),
    "reference": pa.string(),
}


def speech(mouth: np.ndarray, seed: int) -> np.ndarray:
    """Noise bursts that follow the mouth: float32 `[T * 640]` at 16 kHz."""
    loudness = np.interp(np.arange(len(mouth) * 640) / 640, np.arange(len(mouth)), mouth)
    noise = np.random.default_rng(seed).normal(0, 0.2, len(loudness))
    return (noise * loudness**3).clip(-1, 1).astype(np.float32)


def make_store(root: Path, *, generated: bool = True) -> Store:
    store, detector = Store(str(root)), PixelDetector()
    held_out: list[dict[str, Any]] = []
    for d, dataset in enumerate(("pats", "cnas")):
        clips, poses = [], []
        speaker = ("oliver", "anchor1")[d]
        for i in range(5):
            seed, clip_id = 10 * d + i, f"{dataset}/{speaker}/{i:03d}"
            row = make_clip(store, detector, clip_id, seed, hue=d)
            row |= {"dataset": dataset, "speaker": speaker, "split": "train" if i < 3 else "test"}
            poses.append(row | {"path": row["pose_path"], "sha256": row["pose_sha256"]})
            clips.append(row)
            if i >= 3:
                held_out.append(row | {"seed": seed, "hue": d})
        bad = {"clip_id": f"{dataset}/{speaker}/bad", "dataset": dataset, "speaker": speaker}
        bad |= {"split": "train", "status": "rejected", "reason": "no face in 40 % of the frames"}
        write_manifest(store, "clips", dataset, [*clips, bad | {"path": ""}], CLIP_COLUMNS)
        write_manifest(store, "keypoints", dataset, poses, {})
    if generated:
        for mode in MODES:
            rows = [make_generated(store, clip, mode) for clip in held_out]
            write_manifest(store, "generated_clips", mode, rows, GENERATED_COLUMNS)
        store.write_json(HELD_OUT, {"key": "", "times": {mode: times_of(mode) for mode in MODES}})
        make_logs(store)
    return store


def make_clip(
    store: Store, detector: PixelDetector, clip_id: str, seed: int, hue: int
) -> dict[str, Any]:
    key, mouth = clip_key(clip_id), mouth_curve(seed)
    frames, path, pose = draw(mouth, hands(seed), SIZE, hue), f"clips/{key}.mp4", f"keypoints/{key}"
    with store.writing(path) as file:
        write_video(file, frames, wave=speech(mouth, seed))
        sha256 = sha256_file(file)
    pose += ".parquet"
    with store.writing(pose) as file:
        detector.detect(frames).save(file)
        pose_sha256 = sha256_file(file)
    return {
        "clip_id": clip_id,
        "path": path,
        "sha256": sha256,
        "source_id": f"programme{seed}.mp4",
        "start": 0.0,
        "end": CLIP_FRAMES / 25,
        "frames": CLIP_FRAMES,
        "pose_path": pose,
        "pose_sha256": pose_sha256,
    }


def make_generated(store: Store, clip: dict[str, Any], mode: str) -> dict[str, Any]:
    key, seed = clip_key(clip["clip_id"]), clip["seed"]
    truth, share = mouth_curve(seed)[:FRAMES], NOISE[mode]
    mouth = (1 - share) * truth + share * mouth_curve(1000 + seed)[:FRAMES]
    wrists = (1 - share) * hands(seed)[:FRAMES] + share * hands(500 + seed)[:FRAMES]
    frames = draw(mouth, wrists, SMALL, clip["hue"])
    path, audio, reference = (
        f"generated/{key}.{mode}.mp4",
        f"audio/{key}.wav",
        f"references/{key}.png",
    )
    wave = speech(mouth_curve(seed), seed)[: FRAMES * 640]
    with store.writing(path) as file:
        write_video(file, frames, wave=wave)
        sha256 = sha256_file(file)
    with store.writing(audio) as file:
        write_wav(file, wave, 16_000)
    with store.writing(reference) as file:
        real = draw(mouth_curve(seed)[30:31], hands(seed)[30:31], SIZE, clip["hue"])
        Image.fromarray(real[0]).save(file)
    return {
        "clip_id": clip["clip_id"],
        "dataset": mode,
        "speaker": clip["speaker"],
        "split": "test",
        "path": path,
        "sha256": sha256,
        "frames": FRAMES,
        "audio_path": audio,
        "real_path": clip["path"],
        "seconds": 20.0,
        "seed": 0,
        "reference": reference,
    }


def times_of(mode: str) -> list[dict[str, float]]:
    """Six repeats of a segment: each a little slower, whatever the mode."""
    classifiers = {"unguided": 0.0, "sequential": 0.3, "differential": 0.3}[mode]
    solver = 1.5 if mode == "differential" else 1.0
    parts = {"tc_solver": solver, "tc_classifiers": classifiers, "tc_codec": 0.1}
    repeats = [{name: s * (1 + k / 100) for name, s in parts.items()} for k in range(6)]
    return [one | {"tc": sum(one.values())} for one in repeats]


def make_truth(store: Store) -> None:
    """The studio's side files, at 30 fps for one corpus and 25 for the other."""
    for seed in (*range(5), *range(10, 15)):
        speaker, fps = ("oliver", 30.0) if seed < 10 else ("anchor1", 25.0)
        times = (np.arange(round(CLIP_FRAMES / 25 * fps)) + 0.5) / fps
        curve = np.interp(times, (np.arange(CLIP_FRAMES) + 0.5) / 25, mouth_curve(seed))
        with store.writing(f"sources/truth/{speaker}/programme{seed}.npz") as file:
            np.savez(file, fps=fps, mouth_openness=curve, beats=np.array([0.5, 1.5]))


def make_logs(store: Store) -> None:
    rng = np.random.default_rng(0)
    for name, start, steps in (
        ("latent_codec", 0.4, 600),
        ("univdm", 1.1, 800),
        ("face_classifier", 0.7, 150),
    ):
        lines = []
        for step in range(1, steps + 1, 2):
            loss = start * (0.12 + 0.88 * np.exp(-step / steps * 5)) * np.exp(rng.normal(0, 0.12))
            line = {"step": step, "loss": loss, "lr": 1e-3}
            if step % 50 == 1:
                line["validation_loss"] = loss * 1.1
            lines.append(json.dumps(line))
        store.write_bytes(f"checkpoints/{name}/log.jsonl", "\n".join(lines).encode())
        store.write_bytes(f"checkpoints/{name}/model.safetensors", name.encode() * 100)


def made_up_table(number: int, clips: int = 8, repeats: int = 6) -> SuiteResult:
    """A table as if it had been run: each row's BAS 0.05 above the row before it, its lip
    correlation as much below, its segment a second slower. Half of the clips are PATS', half CNAS'.
    """
    rng, suite = np.random.default_rng(0), SUITES[number]
    names = ["real", *(row.name for row in suite.rows)]
    ids = [f"{('pats', 'cnas')[i % 2]}/someone/{i}" for i in range(clips)]
    level = {clip_id: rng.normal(0.4, 0.1) for clip_id in ids}
    systems = {
        name: [SystemVideo(name, clip_id, "", name, FRAMES, "", "") for clip_id in ids]
        for name in names
    }
    source = KeypointSource(Store("memory://made-up"), preset())
    result = Evaluation(preset(), systems, Extractors(source))
    for k, name in enumerate(names):
        for video in systems[name]:
            own = level[video.clip_id] + rng.normal(0, 0.005)
            values = {metric: Missing("not made up") for metric in MEASURES}
            values |= {"bas": own + 0.05 * k, "lip_correlation": own - 0.05 * k}
            result.measured[video.key] = Measured(values)
    seconds = {name: 1.0 + k for k, name in enumerate(names[1:])}
    if number == 2:
        result.times = {
            name: [{"tc": s + 0.01 * k} | dict.fromkeys(PART_TIMES, s / 3) for k in range(repeats)]
            for name, s in seconds.items()
        }
    rows = [
        row
        for name in names
        for dataset in result.scopes()
        for row in result.rows(suite.name, name, dataset)
    ]
    strengths = {"lambda_face": 5.0, "lambda_non_face": 5.0, "lambda_diff": 0.25}
    found = compare(suite, result, rows)
    return SuiteResult(number, "made up", rows, found, [0, 1, 2], clips, strengths)
