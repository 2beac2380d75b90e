"""`paha export`: a run's networks as one folder."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from paha_core.commands.opening import (
    AdapterOption,
    DatasetOption,
    FastOption,
    chosen_preset,
    open_pipeline,
)
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
    folder: Annotated[
        Path | None, typer.Option(help="An exported folder, to merge adapters into its networks.")
    ] = None,
    dataset: DatasetOption = None,
    adapter: AdapterOption = None,
    fast: FastOption = False,
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

    A model card in the form of model hubs (`README.md`) says what the weights are made of, which
    licences bind them and what was measured.

    Examples:

        paha export --out my-paha && paha generate --folder my-paha --image … --audio … --out …

        paha export --adapter me --out my-paha-me          `paha adapt`'s adapter merged in

    In Python: `PahaPipeline.from_pretrained("my-paha")("me.jpg", "hello.wav")`.
    """
    with one_sentence():
        given, workspace = given_options(context), Workspace(preset, store)
        if folder is not None:
            refuse_options(given, {"preset", "store", "base"}, "--folder holds its own networks")
        if base:
            refuse_options(
                given, {"out", "half", "adapter"}, "--base has a fixed folder and precision"
            )
        elif out is None:
            raise StageError("give --out, the folder to write, or --base")
        used = chosen_preset(workspace, folder, "cpu", dataset, fast)
        pipeline = open_pipeline(used, folder, lambda: workspace.store, adapter)
        terms = [one.info.licence for one in pipeline.adapters.values()]
        if adapter:
            pipeline.fuse_adapters()
        if out is not None:
            from paha_core.benchmark.report.model_card import write_model_card

            pipeline.save_pretrained(out, half=half)
            write_model_card(out, pipeline, None if folder else workspace.store, terms)
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
