"""`paha plan`: what a preset's training needs."""

from __future__ import annotations

import json
from typing import Annotated

import typer

from paha_core.commands.shared import PresetOption, one_sentence, print_table
from paha_core.stages import Workspace

GIB = 2**30


def plan(
    preset: PresetOption = "paper",
    gpus: Annotated[int, typer.Option(min=1, help="GPUs in all.")] = 1,
    memory: Annotated[float, typer.Option(min=0.1, help="GiB of one GPU.")] = 80.0,
    tflops: Annotated[
        float, typer.Option(min=0.001, help="Peak of one GPU at the preset's precision.")
    ] = 312.0,
    utilisation: Annotated[
        float, typer.Option(min=0.01, max=1, help="The share of it that is reached.")
    ] = 0.35,
    as_json: Annotated[bool, typer.Option("--json", help="For programs, in bytes.")] = False,
) -> None:
    """What UniVDM's training needs by a preset: memory, time, disk. Nothing is loaded or trained.

    Weights, average and optimizer are exact; activations are traced operation by operation, and met
    what a CPU measured within a percent. The time is only as good as --tflops and --utilisation
    (312 is an A100 in bfloat16; in float32 with TF32 it has 156).

    Example:

        paha plan --preset paper --gpus 8 --memory 80
    """
    with one_sentence():
        from paha_core.training.gradient import MEMORY_ADVICE
        from paha_core.training.plan import Machine, plan_univdm

        chosen = Workspace(preset).preset
        made = plan_univdm(chosen, Machine(gpus, memory, tflops, utilisation))
        if as_json:
            typer.echo(json.dumps(made.as_dict(), indent=2))
            return
        train = chosen.univdm.train
        micro, times = train.shares(gpus)
        checkpoints = f"{made.checkpoints} of {made.checkpoint / GIB:.2f} GiB"
        rows = [
            ("parameters", f"{made.parameters / 1e6:,.1f} M"),
            ("weights", _gib(made.weights)),
            ("their average", _gib(made.average)),
            ("AdamW's moments", _gib(made.optimizer)),
            ("gradients between processes, at most", _gib(made.buckets)),
            ("activations and gradients at their peak", _gib(made.step)),
            ("libraries, fragmentation", _gib(made.reserve)),
            ("one GPU in all", f"{_gib(made.total)} of {memory:g}"),
            ("samples of a step", f"{train.batch}: {gpus} GPU(s) x {micro} at once x {times}"),
            ("steps a second, estimate", f"{made.steps_per_second:.3g}"),
            (f"{train.steps:,} steps, estimate", f"{made.days:.3g} days"),
            ("disk: checkpoints", checkpoints),
            ("disk: shards, an hour of video", _gib(made.shard_bytes_per_hour)),
            ("disk: shards, the paper's PATS and CNAS, at most", _gib(made.shard_bytes)),
            ("disk: negatives", _gib(made.negative_bytes)),
        ]
        print_table(f"UniVDM by preset {chosen.name}, {gpus} GPU(s)", ("what", "how much"), rows)
        if not made.fits:
            missing = (made.total - made.memory) / GIB
            typer.echo(
                f"It does not fit: {missing:.1f} GiB too much. In this order: {MEMORY_ADVICE}."
            )


def _gib(size: int) -> str:
    return f"{size / GIB:,.2f} GiB"
