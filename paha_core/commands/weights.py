"""`paha weights`: pretrained weights into the form that presets name."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from paha_core.commands.shared import one_sentence

weights = typer.Typer(no_args_is_help=True, help="Pretrained weights of the base network.")


@weights.callback()
def _group() -> None:
    """Keeps `convert` a subcommand while it is the only one."""


@weights.command("convert")
def convert(
    source: Annotated[Path, typer.Argument(help="UniAnimate's or ModelScope's .pth file.")],
    folder: Annotated[Path, typer.Argument(help="Diffusers folder to write.")],
) -> None:
    """The original UNetSD layout (`input_blocks.…`) as a diffusers folder of safetensors.

    Examples:

        paha weights convert unianimate_16f_32f_non_ema_223000.pth weights/unianimate

        and in the preset:  univdm: {network: {pretrained: weights/unianimate}}

    The file is read without its pickles. What the base network does not have (pose and sketch
    encoders, image tokens) is named and left out. UniAnimate was trained with v-prediction and
    zero terminal SNR: set `univdm.prediction` and `univdm.zero_terminal_snr` to match.
    """
    with one_sentence():
        from paha_core.models.modelscope import convert_file

        made = convert_file(source, folder)
        values = sum(value.numel() for value in made.state.values())
        typer.echo(f"{folder}: {len(made.state)} tensors, {values / 1e6:,.1f} M parameters")
        parts = sorted({name.split(".")[0] for name in made.left_out})
        if parts:
            typer.echo(f"left out {len(made.left_out)} tensors of: {', '.join(parts)}")
