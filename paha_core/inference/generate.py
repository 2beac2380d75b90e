"""Videos of held-out clips in every mode: the stage behind the benchmark and the report."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import torch

from paha_core.config import Preset
from paha_core.inference.guidance import Mode
from paha_core.inference.guide import failed_gates
from paha_core.inference.pipeline import PahaPipeline, describe
from paha_core.inference.sampling import Conditions
from paha_core.media.audio import write_wav
from paha_core.media.frames import resize
from paha_core.media.video import read_frames, write_video
from paha_core.models.audio_encoder import SAMPLE_RATE, SAMPLES_PER_FRAME, audio_windows
from paha_core.shards.reader import ShardReader
from paha_core.shards.sample import ClipSample
from paha_core.stages import (
    KEPT,
    StageResult,
    clip_key,
    kept_rows,
    manifest_path,
    read_manifest,
    stage_schema,
)
from paha_core.store import Store, sha256_file, sha256_json

CODE_VERSION = "4"
STAGE = "generated_clips"
GENERATED_SCHEMA = stage_schema(
    pa.schema(
        [
            ("mode", pa.string()),
            ("gates_failed", pa.string()),  # classifiers that guided without having passed
            ("frames", pa.int32()),
            ("audio_path", pa.string()),  # what is heard, cut to the video's length
            ("real_path", pa.string()),  # the held-out clip
            ("reference", pa.string()),  # png
            ("reference_frame", pa.int32()),
            ("seconds", pa.float64()),  # to generate it; a batch's time is shared evenly
            ("seconds_solver", pa.float64()),
            ("seconds_classifiers", pa.float64()),
            ("seconds_codec", pa.float64()),
            ("segments", pa.int32()),
            ("seed", pa.int64()),
        ]
    )
)


@dataclass(frozen=True)
class HeldOut:
    """One held-out clip to generate."""

    sample: ClipSample
    row: dict[str, Any]  # of the shards' manifest
    real_path: str
    frames: int

    @property
    def clip_id(self) -> str:
        return str(self.row["clip_id"])

    @property
    def reference_frame(self) -> int:
        """A stored frame from the middle of the clip: not the one the video starts with."""
        return int(self.sample.reference_index[len(self.sample.reference_index) // 2])

    @property
    def stem(self) -> str:
        return f"generated/{clip_key(self.clip_id)}"


def generate_held_out(store: Store, preset: Preset, device: str = "cpu") -> dict[str, StageResult]:
    """Bring `generated/<clip>.<mode>.mp4` up to date for each mode; unchanged clips are not made
    again."""
    clips = choose(store, preset)
    pipeline: PahaPipeline | None = None
    results: dict[str, StageResult] = {}
    for mode in preset.generation.modes:
        print_ = {clip.clip_id: fingerprint(store, preset, mode, clip) for clip in clips}
        before = {row["clip_id"]: row for row in read_manifest(store, STAGE, mode)}
        rows: dict[str, dict[str, Any]] = {
            clip_id: row
            for clip_id, row in before.items()
            if row["fingerprint"] == print_.get(clip_id) and store.exists(row["path"])
        }
        todo = [clip for clip in clips if clip.clip_id not in rows]
        if todo:
            pipeline = pipeline or PahaPipeline.from_store(store, preset, device)
            for row in generate_batch(store, pipeline, mode, todo):
                rows[row["clip_id"]] = row | {"fingerprint": print_[row["clip_id"]]}
        ordered = [rows[clip.clip_id] for clip in clips]
        table = pa.Table.from_pylist(
            [{name: row.get(name) for name in GENERATED_SCHEMA.names} for row in ordered],
            schema=GENERATED_SCHEMA,
        )
        if todo or len(before) != len(rows):
            store.write_table(manifest_path(STAGE, mode), table)
        results[mode] = StageResult(table, len(todo), len(clips) - len(todo))
    return results


def choose(store: Store, preset: Preset) -> list[HeldOut]:
    """The first held-out clips of each speaker in turn, `generation.clips` in all."""
    reader = ShardReader(store, preset.corpora.datasets, "test")
    real = {
        row["clip_id"]: row["path"] for row in kept_rows(store, "clips", preset.corpora.datasets)
    }
    by_speaker: dict[str, list[int]] = {}
    for i, row in enumerate(reader.rows):
        by_speaker.setdefault(row["speaker"], []).append(i)
    longest = max(len(clips) for clips in by_speaker.values())
    turns = [clips[k] for k in range(longest) for clips in by_speaker.values() if k < len(clips)]
    return [
        HeldOut(
            reader.read(i),
            reader.rows[i],
            real[reader.rows[i]["clip_id"]],
            min(reader.frames[i], preset.generation.max_frames),
        )
        for i in turns[: preset.generation.clips]
    ]


def fingerprint(store: Store, preset: Preset, mode: Mode, clip: HeldOut) -> str:
    """Of the clip, the settings and every network that speaks in this mode."""
    names = (
        ["univdm"] if mode == "unguided" else ["univdm", "face_classifier", "non_face_classifier"]
    )
    networks = [
        store.read_json(f"checkpoints/{name}/final/training.json")["fingerprint"] for name in names
    ]
    settings = preset.generation.model_dump(mode="json", exclude={"modes", "clips"})
    return sha256_json([CODE_VERSION, mode, networks, settings, clip.row["fingerprint"]])


def generate_batch(
    store: Store, pipeline: PahaPipeline, mode: Mode, clips: list[HeldOut]
) -> list[dict[str, Any]]:
    """All clips as one batch: short ones wait for the longest, which costs less than one at a
    time."""
    preset = pipeline.preset
    frames = max(clip.frames for clip in clips)
    made = pipeline.generate(
        conditions_of(clips, frames, preset.audio.margin),
        np.stack([clip.sample.faces[clip.reference_frame] for clip in clips]),
        mode=mode,
        seed=preset.generation.seed,
    )
    failed = [] if mode == "unguided" else failed_gates(pipeline.gates)
    described = describe(pipeline, made.trace, made.seconds) | {"gates_failed": failed}
    rows = []
    for clip, video in zip(clips, made.frames, strict=True):
        path = f"{clip.stem}.{mode}.mp4"
        sha256 = publish(store, preset, clip, video[: clip.frames], path)
        store.write_json(
            f"{clip.stem}.{mode}.json", described | {"mode": mode, "clip": clip.clip_id}
        )
        rows.append(
            {
                **{name: clip.row[name] for name in ("clip_id", "dataset", "speaker", "split")},
                "status": KEPT,
                "reason": "",
                "path": path,
                "sha256": sha256,
                "mode": mode,
                "gates_failed": ", ".join(failed),
                "frames": clip.frames,
                "audio_path": f"{clip.stem}.wav",
                "real_path": clip.real_path,
                "reference": f"{clip.stem}.reference.png",
                "reference_frame": clip.reference_frame,
                "seconds": made.seconds / len(clips),
                "seconds_solver": made.trace.solver / len(clips),
                "seconds_classifiers": made.trace.classifiers / len(clips),
                "seconds_codec": made.trace.codec / len(clips),
                "segments": made.trace.segments,
                "seed": preset.generation.seed,
            }
        )
    return rows


def conditions_of(clips: list[HeldOut], frames: int, margin: int) -> Conditions:
    """The batch's conditions; audio that ends early holds its last window."""
    windows = []
    for clip in clips:
        heard = audio_windows(clip.sample.audio[: clip.frames].astype(np.float32), margin)
        windows.append(heard[np.minimum(np.arange(frames), clip.frames - 1)])
    samples = [clip.sample for clip in clips]
    latents = [s.latents[c.reference_frame] for s, c in zip(samples, clips, strict=True)]
    embeddings = [s.reference[len(s.reference_index) // 2] for s in samples]
    return Conditions(
        *(torch.from_numpy(np.stack(x).astype(np.float32)) for x in (latents, embeddings, windows))
    )


def publish(store: Store, preset: Preset, clip: HeldOut, video: np.ndarray, path: str) -> str:
    """Video, voice and reference picture in the store; returns the video's sha256.

    The video is enlarged to the clip's size first: at 64 pixels H.264 would keep colour at 32.
    """
    size = preset.corpora.clip.size
    wave = clip.sample.wave[: clip.frames * SAMPLES_PER_FRAME].astype(np.float32) / 32768
    with store.writing(f"{clip.stem}.wav") as target:
        write_wav(target, wave, SAMPLE_RATE)
    with store.reading(clip.real_path) as source:
        at = clip.reference_frame / 25
        picture = read_frames(source, start=at, end=at + 0.04)[0]
    with store.writing(f"{clip.stem}.reference.png") as target:
        import cv2

        cv2.imwrite(str(target), picture[:, :, ::-1])
    with store.writing(path) as target:
        write_video(target, resize(video, size), fps=25, wave=wave, sample_rate=SAMPLE_RATE)
        return sha256_file(target)
