"""`paha export`: a run's networks as one folder."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from paha_core.commands.opening import DatasetOption, chosen_preset, open_pipeline
from paha_core.commands.shared import (
    PresetOption,
    StoreOption,
    given_options,
    one_sentence,
    refuse_options,
)
from paha_core.errors import StageError
from paha_core.stages import Workspace

if TYPE_CHECKING:
    from paha_core.inference.pipeline import PahaPipeline


def export(
    context: typer.Context,
    out: Annotated[Path | None, typer.Option(help="The folder to write.")] = None,
    preset: PresetOption = "demo",
    store: StoreOption = "",
    dataset: DatasetOption = None,
    half: Annotated[
        bool, typer.Option("--half", help="float16 weights: half the bytes, nearly the same video.")
    ] = False,
    base: Annotated[
        bool,
        typer.Option("--base", help="Into the package, as the base, with a sidecar; implies half."),
    ] = False,
    figures: Annotated[
        Path | None, typer.Option(help="With --base: a json of what was measured of it.")
    ] = None,
) -> None:
    """Save all that `paha generate` needs of a run as one folder to copy or publish.

    Example:

        paha export --out my-paha && paha generate --folder my-paha --image … --audio … --out …

    In Python: `PahaPipeline.from_pretrained("my-paha")("me.jpg", "hello.wav")`.
    """
    with one_sentence():
        given, workspace = given_options(context), Workspace(preset, store)
        if base:
            refuse_options(given, {"out", "half"}, "--base has a fixed folder and precision")
        elif out is None:
            raise StageError("give --out, the folder to write, or --base")
        pipeline = open_pipeline(
            chosen_preset(workspace, None, "cpu", dataset), None, lambda: workspace.store
        )
        if out is not None:
            pipeline.save_pretrained(out, half=half)
            typer.echo(f"{out}: {', '.join(pipeline.networks)}")
        else:
            _export_base(pipeline, workspace, figures)


def _export_base(pipeline: PahaPipeline, workspace: Workspace, figures: Path | None) -> None:
    import json

    from paha_core.inference.base import HELD_OUT_FRAMES, export_base
    from paha_core.inference.saved import base_folder
    from paha_core.training.tasks.codec import read_split

    preset, store = workspace.preset, workspace.store
    held_out = read_split(store, preset, "test", HELD_OUT_FRAMES).pixels
    command = ["paha", "export", "--base", "--preset", workspace.preset_name]
    measured = json.loads(figures.read_text()) if figures else {}
    sidecar = export_base(pipeline, store, base_folder(), held_out, command, measured)
    typer.echo(f"{base_folder()}: {sidecar['bytes'] / 1e6:.1f} MB, {', '.join(pipeline.networks)}")
