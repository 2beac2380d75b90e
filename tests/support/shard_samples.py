"""Small clips with known content: frame f of clip n is known by its numbers."""

import numpy as np

from paha_core.shards.sample import ClipSample
from paha_core.shards.writer import write_index, write_shards


def make_sample(number, frames=12, split="train", dataset="pats", **meta):
    """Latents hold `number`, audio the frame; faces walk to the right over the clip."""
    rng = np.random.default_rng(number)
    base = np.full((frames, 4, 8, 8), number, np.float16)
    base[:, 1] = np.arange(frames)[:, None, None]
    audio = np.zeros((frames, 2, 3), np.float16)
    audio[:] = np.arange(frames)[:, None, None]
    left = np.linspace(0, 0.5, frames, dtype=np.float32)
    faces = np.stack([left, left * 0 + 0.25, left + 0.25, left * 0 + 0.5], 1)
    index = np.unique(np.linspace(0, frames - 1, 3).round()).astype(np.int32)
    clip_id = meta.get("clip_id", f"{dataset}/oliver/{number:03d}")
    return ClipSample(
        key=clip_id.replace("/", "__"),
        latents=base,
        par=rng.uniform(1, 10, (frames, 8, 8)).astype(np.float16),
        regions=rng.integers(0, 4, (frames, 8, 8), dtype=np.uint8),
        audio=audio,
        faces=faces,
        face_found=np.ones(frames, bool),
        reference=np.repeat(index[:, None], 5, 1).astype(np.float16),
        reference_index=index,
        wave=rng.integers(-9999, 9999, frames * 640).astype(np.int16),
        meta={
            "clip_id": clip_id,
            "dataset": dataset,
            "speaker": "oliver",
            "split": split,
            "fps": 25,
            "sample_rate": 16000,
            "frames": frames,
            "codec": "area-mean",
            "audio_encoder": "ramp",
            "reference_encoder": "index",
        }
        | meta,
    )


def publish(
    store, samples, clips_per_shard=4, dataset="pats", stage="training_shards", folder="shards"
):
    prefix = f"{folder}/{dataset}/train"
    rows = write_shards(store, prefix, samples, clips_per_shard=clips_per_shard)
    write_index(store, stage, dataset, rows)
    return rows
