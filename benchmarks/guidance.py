"""Measures the cost of guidance: SG and DG over unguided at each rate beside the paper's ratios,
and the classifiers' pooled tokens against dense ones.

    python benchmarks/guidance.py [--rounds 3] [--sizes demo mid] [--clips 4]

A run is one whole segment, codec included, as generation makes it. Random weights: only the sizes
count. Runs of all settings take turns, and the fastest of each is printed, so that a busy machine
disturbs all alike.
"""

import argparse
import time
from collections.abc import Callable

import numpy as np
import torch
from torch import nn
from torch.nn import functional as F

from paha_core.config import GuidanceConfig, Mode, Preset, load_preset
from paha_core.inference.pipeline import PahaPipeline, Settings
from paha_core.inference.sampling import Conditions
from paha_core.inference.untrained import untrained_pipeline
from paha_core.training.memory import cost_of_step

RATES = (0.25, 0.5, 0.75, 1.0)
PAPER: dict[Mode, tuple[float, ...]] = {
    "sequential": (1.07, 1.15, 1.26, 1.34),
    "differential": (1.13, 1.32, 1.52, 1.66),
}
PAPER_SECONDS, PAPER_STEPS = (85, 114, 141), 30  # table 2: unguided, SG and DG at 100 %
STEPS = {"demo": 20, "mid": 4}  # whole numbers of guided steps at each rate


def preset_of(size: str) -> Preset:
    """The demo's sizes, or about ten times its weights on four times its cells and frames."""
    demo = load_preset("demo")
    if size == "demo":
        return demo
    network = demo.univdm.network.model_copy(
        update={
            "block_out_channels": (64, 128, 256),
            "attention_levels": (True, True, True),
            "cross_attention_dim": 128,
        }
    )
    codec = demo.codec.model_copy(update={"size": 128, "block_out_channels": (32, 64, 128)})
    return demo.model_copy(
        update={
            "codec": codec,
            "univdm": demo.univdm.model_copy(update={"network": network}),
            "generation": demo.generation.model_copy(update={"segment_frames": 16}),
        }
    )


def conditions_for(pipeline: PahaPipeline, clips: int) -> Conditions:
    draw = torch.Generator().manual_seed(0)
    side, frames = pipeline.preset.codec.latent_size, pipeline.preset.generation.segment_frames
    margin, audio = pipeline.preset.audio.margin, pipeline.audio
    return Conditions(
        torch.randn(clips, pipeline.codec.channels, side, side, generator=draw),
        torch.randn(clips, pipeline.reference.width, generator=draw),
        torch.randn(clips, frames, 2 * margin + 1, audio.layers, audio.width, generator=draw),
    )


def cost_of_guidance(size: str, clips: int, rounds: int) -> None:
    preset = preset_of(size)
    pipeline = untrained_pipeline(preset)
    conditions, boxes = conditions_for(pipeline, clips), np.tile([0.3, 0.1, 0.7, 0.5], (clips, 1))
    cases: dict[tuple[Mode, float | str], tuple[Mode, GuidanceConfig]] = {
        ("unguided", 0.0): ("unguided", GuidanceConfig())
    }
    cases |= {(m, rate): (m, GuidanceConfig(rate=rate)) for m in PAPER for rate in RATES}
    cases |= {
        (m, "face alone"): (m, GuidanceConfig(rate=1, lambda_face=5, lambda_non_face=0))
        for m in PAPER
    }
    times: dict[tuple[Mode, float | str], list[float]] = {case: [] for case in cases}
    solving = []
    for turn in range(rounds + 1):
        for case, (mode, guidance) in cases.items():
            started = time.perf_counter()
            settings = Settings(mode=mode, steps=STEPS[size], guidance=guidance, force=True)
            made = pipeline.generate(conditions, boxes, settings)
            if turn:  # the first round warms up
                times[case].append(time.perf_counter() - started)
                solving += [made.trace.solver] if mode == "unguided" else []
    weights = sum(p.numel() for p in pipeline.univdm.parameters()) / 1e6
    took = {case: min(found) for case, found in times.items()}
    base = took["unguided", 0.0]
    print(f"\n{size}: {weights:.1f} M parameters, {clips} clips, {STEPS[size]} steps, ", end="")
    print(f"{preset.generation.segment_frames} frames; unguided {base:.2f} s a segment")
    print(f"{'':14}" + "".join(f"{rate:>16.0%}" for rate in RATES) + "      face alone, 100%")
    for mode, paper in PAPER.items():
        ours = [took[mode, rate] / base for rate in RATES]
        cells = [f"{a:.2f} (paper {b:.2f})" for a, b in zip(ours, paper, strict=True)]
        cells.append(f"{took[mode, 'face alone'] / base:.2f}")
        print(f"{mode:14}" + "".join(f"{cell:>19}" for cell in cells))
    in_solves(base, took["sequential", 1.0], took["differential", 1.0], min(solving), STEPS[size])
    paper_solve = (PAPER_SECONDS[2] - PAPER_SECONDS[1]) / (2 * PAPER_STEPS)  # there is no other
    print("paper:", end=" ")
    in_solves(*PAPER_SECONDS, paper_solve * PAPER_STEPS, PAPER_STEPS)


def in_solves(
    unguided: float, sequential: float, differential: float, solving: float, steps: int
) -> None:
    """What a gradient and an extra solve take, as multiples of a solve, and what is no solving.

    At rate 1 Sequential Guidance takes two gradients a step, Differential two solves more.
    """
    solve = solving / steps
    gradient = (sequential - unguided) / (2 * steps) / solve
    extra = (differential - sequential) / (2 * steps) / solve
    rest = 1 - solving / unguided
    print(f"a gradient takes {gradient:.2f} solves, a solve more {extra:.2f}; ", end="")
    print(f"{rest:.0%} of an unguided segment is no solving")


def tokens(kind: str, side: int, frames: int, width: int = 64) -> None:
    """One guided pass through the classifier's transformer alone; prints its time and the most
    memory its tensors take at once."""
    count = (2 if kind == "pooled" else side * side + 1) * frames + 1

    def make_step() -> Callable[[], object]:
        layers = (
            nn.TransformerEncoderLayer(
                width, 4, 4 * width, 0.0, "gelu", batch_first=True, norm_first=True
            )
            for _ in range(2)
        )
        transformer = nn.Sequential(*layers).requires_grad_(False)
        inputs = torch.randn(1, count, width)

        def step() -> object:
            point = inputs.clone().requires_grad_(True)
            energy = F.softplus(-transformer(point)[:, 0].mean())
            energy.backward()  # of the input only: the weights need no gradient
            return point.grad

        return step

    step, times = make_step(), []
    for _ in range(4):
        started = time.perf_counter()
        step()
        times.append(time.perf_counter() - started)
    mebibytes = cost_of_step(make_step).peak_bytes / 2**20
    print(f"{kind:7} {side:3} x {side} cells, {frames} frames: {count:6} tokens", end="")
    print(f" {1000 * min(times):9.1f} ms {mebibytes:8.1f} MiB")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--clips", type=int, default=4)
    parser.add_argument("--sizes", nargs="*", choices=list(STEPS), default=list(STEPS))
    args = parser.parse_args()
    print(f"PyTorch {torch.__version__}, {torch.get_num_threads()} threads")
    for size in args.sizes:
        cost_of_guidance(size, args.clips, args.rounds)
    print("\nTokens of a classifier's transformer: t_v + t_a + 1 pooled, h w t_v + t_a + 1 dense")
    for side, frames in ((4, 8), (8, 16), (16, 16)):
        for kind in ("pooled", "dense"):
            tokens(kind, side, frames)


if __name__ == "__main__":
    main()
