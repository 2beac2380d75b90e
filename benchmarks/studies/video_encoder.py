"""Measures whether FVD's stand-in increases with damage, on a run's held-out clips.

    paha run video_encoder --preset study
    python benchmarks/studies/video_encoder.py --preset study

Real held-out clips are damaged in nine ways, three steps each. Of each way: the distance over the
undamaged clips' own, how often a step of damage is detected on the same 12 clips, and how often
damaged clips are farther than 12 *other* undamaged ones, as two systems' would. Beside it the same
network as it was before training, which is what random features can do. Four of the nine ways
(blur, lower resolution, held and shuffled frames) resemble what training shows.
"""

from __future__ import annotations

import argparse

import numpy as np
import torch

from paha_core.metrics.damage import Damage, damages
from paha_core.metrics.frechet import FrechetReference
from paha_core.metrics.video_features import SmallR3D, windows_of
from paha_core.stages import Workspace, prepare_torch
from paha_core.training.tasks.video_encoder import WEIGHTS, chosen_rows, load_clips

CLIPS, TOGETHER, DRAWS, FRAMES = 48, 12, 100, 56
BLUR = (0.5, 1, 2)  # pixels of 64


@torch.no_grad()
def features(space: SmallR3D, clips: list[np.ndarray], damage: Damage | None) -> list[np.ndarray]:
    """Features of the windows of each clip: float32 `[n, 48]`."""
    found = []
    for video in clips:
        shown = damage(video[:FRAMES]) if damage else video[:FRAMES]
        tensor = torch.from_numpy(shown).permute(3, 0, 1, 2).float() / 127.5 - 1
        found.append(space.encode(windows_of(tensor)).cpu().numpy())
    return found


def judge(space: SmallR3D, train: list[np.ndarray], held_out: list[np.ndarray]) -> None:
    reference = FrechetReference(np.concatenate(features(space, train, None)))
    whole = features(space, held_out, None)
    draw = np.random.default_rng(1)
    orders = [draw.permutation(len(held_out)) for _ in range(DRAWS)]

    def distance(groups: list[np.ndarray], which: np.ndarray) -> float:
        return reference.distance(np.concatenate([groups[i] for i in which]))

    everyone = np.arange(len(held_out))
    own, ordered, detected, apart = distance(whole, everyone), 0, [], []
    print(f"\n{space.name}: real held-out clips are at {own:.4g}\n")
    print("| damage | distance over that | step detected, same clips | detected, other clips |")
    print("|---|---|---|---|")
    for name, steps in damages(BLUR).items():
        groups = [whole, *(features(space, held_out, damage) for damage in steps)]
        far = [distance(group, everyone) for group in groups]
        same = [[distance(g, o[:TOGETHER]) for g in groups] for o in orders]
        other = [[distance(g, o[TOGETHER : 2 * TOGETHER]) for g in groups[1:]] for o in orders]
        step = np.mean([np.diff(values) > 0 for values in same], 0)
        beyond = np.mean([np.array(o) > s[0] for o, s in zip(other, same, strict=True)], 0)
        ordered += int((np.diff(far) > 0).sum())
        detected.append(step)
        apart.append(beyond)
        ratios = ", ".join(f"{value / far[0]:.2f}" for value in far[1:])
        print(f"| {name} | {ratios} | {shares(step)} | {shares(beyond)} |")
    print(
        f"\n{ordered} of {3 * len(detected)} steps in order over all clips; detected: same clips "
        f"{np.mean(detected):.2f}, other clips {np.mean(apart):.2f}, mild damage "
        f"{np.mean([a[0] for a in apart]):.2f}"
    )


def shares(values: np.ndarray) -> str:
    return ", ".join(f"{value:.2f}" for value in values)


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--preset", default="study")
    parser.add_argument("--store", default="")
    args = parser.parse_args()
    workspace = Workspace(args.preset, args.store)
    store, preset = workspace.store, workspace.preset
    prepare_torch(preset)
    rows = {s: chosen_rows(store, preset, s, 2 * CLIPS) for s in ("train", "test")}
    train, held_out = (load_clips(store, rows[split]) for split in ("train", "test"))
    held_out = [video for video in held_out if len(video) >= FRAMES][:CLIPS]
    if len(held_out) < 2 * TOGETHER:
        raise SystemExit(f"{len(held_out)} held-out clips are too few: {2 * TOGETHER} are needed")
    torch.manual_seed(preset.benchmark.seed)
    judge(SmallR3D("not trained").eval(), train, held_out)
    judge(SmallR3D.load(store.read_bytes(WEIGHTS), "trained"), train, held_out)


if __name__ == "__main__":
    main()
