"""Memory and time of generation by resolution, mode and setting, traced without a GPU.

    python benchmarks/memory.py --preset paper

Memory is what `paha plan` computes for one video at a time: exact weights, and activations traced
operation by operation by CUDA's rules, with the libraries. Seconds are FLOPs over the stated share
of a card's peak, and with offloaded layers the time of moving them over the bus: an estimate.
"""

from __future__ import annotations

import argparse
from typing import Any

from paha_core.config import MODES, Mode, Preset, derived
from paha_core.stages import Workspace
from paha_core.stages.plan import GIB, SECONDS_A_DAY, Machine, Planner, StagePlan

SIZES = (256, 512)
BF16: dict[str, Any] = {"precision": "bf16"}
LEAN = BF16 | {"offload": True, "gradient_checkpointing": True}
WAYS: dict[str, dict[str, Any]] = {
    "float32": {"precision": "fp32"},
    "bf16": BF16,
    "bf16, `--offload`, gradient checkpointing, `codec.batch` 1": LEAN,
    "the same and `--offload-layers`": LEAN | {"offload_layers": True},
    "the same and `--weights int8`": LEAN | {"weights": "int8"},
    "the same and both": LEAN | {"offload_layers": True, "weights": "int8"},
}


def preset_of(preset: Preset, size: int, mode: Mode, way: dict[str, Any]) -> Preset:
    """One video at a time, in one mode."""
    codec = {"batch": 1} if way.get("offload") else {}
    generation = {"size": size, "batch": 1, "modes": [mode]} | way
    return derived(preset, {"generation": generation, "codec": codec})


def moved_bytes(planner: Planner) -> float:
    """Bytes of layers that one segment moves to the card: all of them in every forward pass; the
    states of a step share one."""
    if not planner.preset.generation.offload_layers:
        return 0.0
    whole, on_card = planner.univdm_bytes
    return float(whole - on_card) * planner.preset.num_inference_steps


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--preset", default="paper")
    parser.add_argument("--tflops", type=float, default=165.0, help="peak in bfloat16")
    parser.add_argument("--share", type=float, default=0.3, help="of the peak that is reached")
    parser.add_argument("--bus", type=float, default=20.0, help="GB/s from host memory")
    args = parser.parse_args()
    preset = Workspace(args.preset).preset
    print(
        f"One video at a time, {preset.generation.segment_frames} frames a segment, "
        f"{preset.num_inference_steps} steps. Seconds of a segment: at {args.share:.0%} of "
        f"{args.tflops:g} TFLOP/s (half of it in float32) and {args.bus:g} GB/s.\n"
    )
    print("| pixels | mode | setting | GiB | seconds |\n|---|---|---|---|---|")
    traced: dict[Any, Any] = {}
    for size in SIZES:
        for mode in MODES:
            for name, way in WAYS.items():
                one = preset_of(preset, size, mode, way)
                half = way["precision"] == "bf16"
                machine = Machine(1, 80, args.tflops * (1 if half else 0.5), args.share)
                shared = traced.setdefault(
                    (size, one.codec.batch, one.generation.gradient_checkpointing), {}
                )
                planner = Planner(one, machine, shared)
                flops = planner.segment_flops(mode, one.generation.guidance)
                seconds = (
                    machine.days(flops) * SECONDS_A_DAY + moved_bytes(planner) / args.bus / 1e9
                )
                memory = StagePlan("generated_clips", planner.generation_memory(), 0, 0).total / GIB
                print(f"| {size} | {mode} | {name} | {memory:.1f} | {seconds:.0f} |", flush=True)


if __name__ == "__main__":
    main()
