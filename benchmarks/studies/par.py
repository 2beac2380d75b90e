"""Measures the effect of PAR, and of the voice. Paper 4.1.2, the row "w/o PAR" of table 3;
docs/design.md 6.

UniVDM is trained with the PAR loss and with the plain one, from the same seed on the same data for
the same number of steps, several seeds each. Then held-out clips are denoised at fixed timesteps
with fixed noise, and the plain squared error is compared region by region, with the right voice,
with that of another moment and with that of another clip. Differences are paired, and their
standard error is that of clips: the windows of a clip and the seeds share what a clip is. Training
resumes and finished runs are kept, so the study can be stopped at any time.

    paha run training_shards --preset study   # once: the corpus, its codec and its shards
    python benchmarks/studies/par.py --preset study --seeds 3 --out docs/results/par_study.md
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterable
from pathlib import Path

import numpy as np
import torch

from paha_core.config import Preset, TrainerConfig
from paha_core.engine.manifest_stage import kept_rows
from paha_core.models.build import new_univdm
from paha_core.models.noise import prediction_target, training_scheduler
from paha_core.models.univdm import UniVDM, network_input
from paha_core.par import FACE_BIT, HANDS_BIT
from paha_core.shards.reader import ShardReader
from paha_core.shards.windows import Batch, WindowBatches
from paha_core.stages import Workspace, prepare_torch
from paha_core.store import Store
from paha_core.training.loop import fit
from paha_core.training.run import Run, step_generator
from paha_core.training.tasks.univdm import ExampleBatches, UniVDMTask, widths_of

LEVELS = (100, 300, 500, 700, 900)
REGIONS = ("face", "mouth", "hands", "rest")
VOICES = {"on": "right", "moment": "another moment's", "clip": "another clip's"}
BATCHES, WINDOWS = 12, 16


def variant(preset: Preset, par: bool, seed: int, steps: int) -> Preset:
    train = preset.univdm.train.model_copy(update={"seed": seed, "steps": steps})
    univdm = preset.univdm.model_copy(update={"par": par, "train": train})
    return preset.model_copy(update={"univdm": univdm})


def train(store: Store, preset: Preset, par: bool, seed: int) -> UniVDM:
    """The variant's network, trained unless it is there already."""
    config, margin = preset.univdm, preset.audio.margin
    rows = kept_rows(store, "training_shards", preset.corpora.datasets)
    content = [config.identity("train"), [row["fingerprint"] for row in rows]]
    name = f"studies/par-{'on' if par else 'off'}-{seed}-{config.train.steps}"
    run = Run.of(store, name, config.train, TrainerConfig(log_every=100), content)
    if not run.is_done():
        batches, held_out = (
            WindowBatches(
                ShardReader(store, preset.corpora.datasets, split),
                *(config.train.shares()[0], config.train.frames, margin, seed),
            )
            for split in ("train", "test")
        )
        model = new_univdm(preset, widths_of(batches.reader.read(0)))
        task = UniVDMTask(model, config, ExampleBatches(batches, config), [held_out.batch_at(0)])
        fit(task, config.train, run)
    with store.reading_folder(run.final) as folder:
        return UniVDM.from_pretrained(folder, use_safetensors=True).eval()


def regions_of(batch: Batch) -> dict[str, torch.Tensor]:
    """Cells [b, f, h, w] of each region; the mouth is the lower half of the face box's face."""
    face = batch.regions & FACE_BIT > 0
    hands = batch.regions & HANDS_BIT > 0
    box = batch.face_mask > 0
    rows = torch.arange(box.shape[1])[None, :, None].expand_as(box)
    top = torch.where(box, rows, box.shape[1]).amin(dim=(1, 2), keepdim=True)
    bottom = torch.where(box, rows, -1).amax(dim=(1, 2), keepdim=True)
    mouth = face & (box & (rows > (top + bottom) / 2))[:, None]
    return {"face": face, "mouth": mouth, "hands": hands, "rest": ~(face | hands)}


def voice_of(batch: Batch, voice: str) -> torch.Tensor:
    """The audio windows: the batch's own, from another moment of the clip, or the next clip's."""
    if voice == "moment":
        return batch.mismatched_audio
    return batch.audio.roll(1, dims=0) if voice == "clip" else batch.audio


@torch.no_grad()
def errors(model: UniVDM, preset: Preset, batches: list[Batch], voice: str) -> np.ndarray:
    """Plain squared error by window and region, mean over the levels, [windows, regions]."""
    scheduler = training_scheduler(preset.univdm)
    found = []
    for i, batch in enumerate(batches):
        audio = voice_of(batch, voice)
        masks = regions_of(batch)
        by_level = []
        for level in LEVELS:
            noise = torch.randn(batch.latents.shape, generator=step_generator(9, 1000 * i + level))
            timestep = torch.full((len(batch.keys),), level)
            noisy = scheduler.add_noise(batch.latents, noise, timestep)
            conditions = batch.reference_latents, batch.reference_embedding, audio
            predicted = model(network_input(noisy, None), timestep, *conditions)
            target = prediction_target(scheduler, batch.latents, noise, timestep)
            squared = (predicted - target).square().mean(dim=1)
            sums = [(squared * m).sum((1, 2, 3)) / m.sum((1, 2, 3)) for m in masks.values()]
            by_level.append(torch.stack(sums, dim=1))
        found.append(torch.stack(by_level).mean(dim=0))
    return torch.cat(found).numpy()


def report(
    results: dict[str, np.ndarray],
    clips: list[str],
    seeds: int,
    steps: int,
    frames: int,
    command: str,
) -> str:
    """The two tables as Markdown."""
    lines = [
        "# PAR, and the voice",
        "",
        f"Made by `{command}`. {steps} steps of {frames}-frame windows a run, {len(clips)} windows "
        f"of {len(set(clips))} held-out clips, plain squared error of the prediction, mean over "
        f"timesteps {', '.join(map(str, LEVELS))} without a first frame. Standard errors are those "
        "of clips.",
        "",
        "## With the PAR loss against the plain one",
        "",
        "| seed | region | plain loss | PAR loss | change | standard error |",
        "|---|---|---|---|---|---|",
    ]
    every = range(seeds)
    for name, chosen in [*((str(seed), [seed]) for seed in every), ("all", every)]:
        off, on = (_mean_over(results, kind, chosen) for kind in ("off", "on"))
        lines += [
            f"| {name} | {region} | {_compared(off[:, k], on[:, k], clips)}"
            for k, region in enumerate(REGIONS)
        ]
    lines += [
        "",
        "## The right voice against another (networks with PAR, all seeds)",
        "",
        "| other voice | region | with it | with the right one | change | standard error |",
        "|---|---|---|---|---|---|",
    ]
    right = _mean_over(results, "on", every)
    for voice in ("moment", "clip"):
        wrong = _mean_over(results, voice, every)
        lines += [
            f"| {VOICES[voice]} | {region} | {_compared(wrong[:, k], right[:, k], clips)}"
            for k, region in enumerate(REGIONS)
        ]
    return "\n".join(lines) + "\n"


def _mean_over(results: dict[str, np.ndarray], kind: str, seeds: Iterable[int]) -> np.ndarray:
    return np.mean([results[f"{kind}-{seed}"] for seed in seeds], axis=0)


def _compared(before: np.ndarray, after: np.ndarray, clips: list[str]) -> str:
    """Means, their difference, and the standard error of the clips' mean differences."""
    good = np.isfinite(before) & np.isfinite(after)
    names = np.array(clips)[good]
    change = after[good] - before[good]
    by_clip = np.array([change[names == name].mean() for name in np.unique(names)])
    error = by_clip.std(ddof=1) / np.sqrt(len(by_clip))
    share = change.mean() / before[good].mean()
    return (
        f"{before[good].mean():.4f} | {after[good].mean():.4f} "
        f"| {change.mean():+.4f} ({share:+.1%}) | {error:.4f} |"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--preset", default="study")
    parser.add_argument("--store", default="")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--steps", type=int, default=0, help="of a run; 0: the preset's")
    parser.add_argument("--out", type=Path, default=Path("docs/results/par_study.md"))
    args = parser.parse_args()
    workspace = Workspace(args.preset, args.store)
    store, preset = workspace.store, workspace.preset
    prepare_torch(preset)
    steps = args.steps or preset.univdm.train.steps
    reader = ShardReader(store, preset.corpora.datasets, "test")
    frames, margin = preset.univdm.train.frames, preset.audio.margin
    windows = WindowBatches(reader, WINDOWS, frames, margin, 11)
    held_out = [windows.batch_at(i) for i in range(BATCHES)]
    clips = [key for batch in held_out for key in batch.keys]
    results: dict[str, np.ndarray] = {}
    for seed in range(args.seeds):
        for par in (True, False):
            chosen = variant(preset, par, seed, steps)
            model = train(store, chosen, par, seed)
            for voice in VOICES if par else ("off",):
                results[f"{voice}-{seed}"] = errors(model, chosen, held_out, voice)
        command = f"python benchmarks/studies/par.py --preset {preset.name} --seeds {seed + 1}"
        command += f" --steps {steps}"
        args.out.parent.mkdir(parents=True, exist_ok=True)
        args.out.write_text(report(results, clips, seed + 1, steps, frames, command))
        raw = {name: np.nanmean(value, axis=0).tolist() for name, value in results.items()}
        args.out.with_suffix(".json").write_text(json.dumps(raw, indent=1))
        print(args.out.read_text())


if __name__ == "__main__":
    main()
