"""What an adapter changes in UniVDM's prediction error, for the person it is of and for others.

    python benchmarks/studies/adapter_error.py --store runs/demo --steps 60 --prior-share 0.5

Some two minutes of one core, since nothing is detected or sampled. A person whom no network
has seen is drawn, four clips of five seconds; an adapter is trained on three of them with all cells
weighted alike. The squared error of the prediction (timesteps 300, 700 and 900, no first frame) is
then measured with and without it, on windows of the fourth clip and of the run's held-out clips.
`--prior-share` of the windows trained on show the run's own people.
Intervals are bootstraps of the relative change over windows.
"""

from __future__ import annotations

import argparse
import json
from itertools import islice
from pathlib import Path

import numpy as np
import torch
from scipy.signal import resample_poly

from paha_core.config import derived, load_preset
from paha_core.corpora.studio import presenters
from paha_core.corpora.studio.programme import draw_frames, prepare, sound
from paha_core.inference.pipeline import PahaPipeline
from paha_core.media.frames import resize
from paha_core.metrics.bootstrap import bootstrap_mean
from paha_core.models.audio_encoder import SAMPLE_RATE, SAMPLES_PER_FRAME
from paha_core.shards.reader import ShardReader
from paha_core.shards.sample import ClipSample
from paha_core.shards.windows import WindowBatches
from paha_core.shards.writer import write_index, write_shards
from paha_core.store import Store
from paha_core.training.run import step_generator
from paha_core.training.tasks.adapt import Footage, adapter_run, train_adapter
from paha_core.training.tasks.prior import prior_of
from paha_core.training.tasks.univdm import Examples, UniVDMTask

UNSEEN, FRAMES, HEIGHT = 100_000, 125, 256
LEVELS = (300, 700, 900)


def drawn_sample(pipeline: PahaPipeline, name: str, index: int) -> ClipSample:
    """Programme `index` of a drawn person as a shard holds it."""
    programme = prepare(name, index, seconds=5.6, height=HEIGHT, seed=0)
    fps, (left, _, side) = programme.form.fps, programme.crop
    wanted = np.arange(FRAMES) * fps // 25
    drawn = list(islice(draw_frames(programme), int(wanted[-1]) + 1))
    frames = np.stack([drawn[i][:, left : left + side] for i in wanted])
    frames = resize(frames, pipeline.preset.codec.size)
    wave = sound(programme)[:, 0].astype(np.float32) / 32768
    wave = resample_poly(wave, SAMPLE_RATE, programme.form.sample_rate)
    latents = np.concatenate(
        [pipeline.codec.encode(frames[i : i + 32]).numpy() for i in range(0, FRAMES, 32)]
    )
    references = np.linspace(0, FRAMES - 1, 8).round().astype(np.int32)
    grid = latents.shape[-1]
    about = {"clip_id": f"footage/me/{index}", "dataset": "footage", "speaker": "me"}
    about |= {"codec": "-", "audio_encoder": "-", "reference_encoder": "-", "split": "train"}
    return ClipSample(
        key=f"footage__me__{index}",
        latents=latents.astype(np.float16),
        par=np.ones((FRAMES, grid, grid), np.float16),
        regions=np.zeros((FRAMES, grid, grid), np.uint8),
        audio=pipeline.audio.encode(wave[: FRAMES * SAMPLES_PER_FRAME].astype(np.float32), FRAMES),
        faces=np.tile(np.array([0, 0, 1, 1], np.float32), (FRAMES, 1)),
        face_found=np.ones(FRAMES, bool),
        reference=pipeline.reference.encode(frames[references]),
        reference_index=references,
        wave=np.zeros(FRAMES * SAMPLES_PER_FRAME, np.int16),
        meta=about | {"fps": 25, "sample_rate": SAMPLE_RATE, "frames": FRAMES},
    )


def errors(pipeline: PahaPipeline, reader: ShardReader, name: str, count: int) -> np.ndarray:
    """Prediction errors [count, 2] of windows, without and with the adapter `name`."""
    preset = pipeline.preset
    batches = WindowBatches(reader, 1, preset.adapt.train.frames, preset.audio.margin, seed=1)
    task = UniVDMTask(pipeline.univdm, preset.univdm, batches, [])  # type: ignore[arg-type]
    found = []
    for i in range(count):
        batch = batches.batch_at(i)
        for level in LEVELS:
            noise = torch.randn(batch.latents.shape, generator=step_generator(0, 1000 * i + level))
            given = torch.ones(1)
            examples = Examples(
                batch, torch.full((1,), level), noise, torch.zeros(1) > 0, given, given
            )
            for scales in ({}, {name: 1.0}):
                pipeline.set_adapters(scales)
                with torch.no_grad():
                    found.append(float(task._squared_error(pipeline.univdm, examples).mean()))
    return np.array(found).reshape(count, len(LEVELS), 2).mean(axis=1)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--preset", default="demo")
    parser.add_argument("--store", required=True, help="the run's networks and held-out clips")
    parser.add_argument("--steps", type=int, default=60)
    parser.add_argument("--prior-share", type=float, default=0.5)
    parser.add_argument("--learning-rate", type=float, default=None)
    parser.add_argument("--windows", type=int, default=12)
    parser.add_argument("--work", type=Path, default=Path("runs/adapter_error"))
    asked = parser.parse_args()

    train = {"steps": asked.steps, "validate_every": asked.steps + 1}
    train |= {"learning_rate": asked.learning_rate} if asked.learning_rate else {}
    adapt = {"train": train, "prior_share": asked.prior_share}
    changes = {"adapt": adapt, "trainer": {"validation_windows": 4}}
    preset = derived(load_preset(asked.preset), changes)
    run_store, store = Store(asked.store), Store(str(asked.work))
    pipeline = PahaPipeline.from_store(run_store, preset)
    [person] = presenters(1, UNSEEN)
    samples = [drawn_sample(pipeline, person, index) for index in range(4)]
    rows = write_shards(store, "shards/footage/train", samples, clips_per_shard=8)
    for row in rows:
        row["fingerprint"] = row["checksum"]
    write_index(store, "training_shards", "footage", rows)

    footage = Footage.of(store, "footage", 0.25)
    prior = prior_of(store, pipeline, footage.train, run_store)
    run = adapter_run(store, pipeline, footage, prior)
    train_adapter(pipeline, footage, run, "me", "drawn by this project", prior)
    name = pipeline.load_adapter(asked.work / run.final)
    others = ShardReader(run_store, preset.corpora.datasets, "test")
    for title, reader in (("the person", footage.test), ("others", others)):
        base, adapted = errors(pipeline, reader, name, asked.windows).T
        change = bootstrap_mean(list(adapted / base - 1), rounds=2000, seed=0)
        figures = {"base": base.mean(), "adapter": adapted.mean()}
        figures |= {"change": change.value, "low": change.low, "high": change.high}
        print(title, json.dumps({k: round(float(v or 0), 4) for k, v in figures.items()}))


if __name__ == "__main__":
    main()
