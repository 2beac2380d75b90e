"""`paha plan`: what a preset's stages need on given GPUs."""

from __future__ import annotations

import json
from typing import Annotated

import typer

from paha_core.commands.shared import PresetOption, one_sentence, print_table
from paha_core.stages import Workspace

GIB = 2**30
NO_ADVICE = "A smaller network or a larger GPU: no other setting of the preset lowers it."


def plan(
    preset: PresetOption = "paper",
    gpus: Annotated[int, typer.Option(min=1, help="GPUs in all.")] = 1,
    memory: Annotated[float, typer.Option(min=0.1, help="GiB of one GPU.")] = 80.0,
    tflops: Annotated[
        float, typer.Option(min=0.001, help="Peak TFLOP/s of one GPU at the preset's precision.")
    ] = 312.0,
    utilisation: Annotated[
        float, typer.Option(min=0.01, max=1, help="Share of the peak that is reached.")
    ] = 0.35,
    as_json: Annotated[bool, typer.Option("--json", help="For programs, in bytes.")] = False,
) -> None:
    """Memory, time and disk of every stage by a preset. Nothing is loaded or trained.

    Weights, averages and optimizers are exact. Activations are traced operation by operation by
    CUDA's rules; on an H200 the training step's peak was within 1 percent. The time is only as
    good as --tflops and --utilisation (312 is an A100 in bfloat16; in float32 with TF32 it has
    156), and leaves out the CPU's share.

    Example:

        paha plan --preset paper --gpus 8 --memory 80
    """
    with one_sentence():
        from paha_core.stages import plan as planning
        from paha_core.stages.memory_advice import memory_advice

        chosen = Workspace(preset).preset
        machine = planning.Machine(gpus, memory, tflops, utilisation)
        plans = planning.plan_stages(chosen, machine)
        if as_json:
            typer.echo(json.dumps(planning.as_json(plans, machine), indent=2))
            return
        rows = [
            (
                stage.stage,
                _gib(stage.allocated),
                f"{_gib(stage.total)}{'' if stage.fits(machine) else ' (too much)'}",
                f"{stage.flops / 1e18:,.3g}",
                f"{stage.days:.3g}",
                _gib(stage.disk) if stage.disk else "",
            )
            for stage in plans
        ]
        title = f"Preset {chosen.name} on {gpus} GPU(s) of {memory:g} GiB"
        columns = ("stage", "allocated", "with libraries", "EFLOP", "days, estimate", "disk")
        print_table(title, columns, tuple(rows))
        for stage in plans:
            parts = ", ".join(f"{name} {_gib(size)}" for name, size in stage.memory.items() if size)
            notes = "; ".join(f"{name} {value:,.4g}" for name, value in stage.notes.items())
            typer.echo(f"{stage.stage}: {parts}" + (f" ({notes})" if notes else ""))
        for stage in plans:
            if not stage.fits(machine):
                missing = stage.total / GIB - memory
                advice = memory_advice(chosen, stage.stage, gpus)
                typer.echo(
                    f"{stage.stage} does not fit: {missing:.1f} GiB too much. "
                    + (f"In this order: {advice}." if advice else NO_ADVICE)
                )


def _gib(size: int) -> str:
    return f"{size / GIB:,.2f} GiB"
