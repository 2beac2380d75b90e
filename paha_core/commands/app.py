"""`paha app`: the page, on this machine."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Annotated

import typer

from paha_core.commands.opening import (
    AdapterOption,
    FastOption,
    FolderOption,
    OffloadLayersOption,
    OffloadOption,
    WeightsOption,
    chosen_folder,
    chosen_preset,
    open_pipeline,
    with_memory_options,
)
from paha_core.commands.serve import SecondsOption, TokenOption, listen
from paha_core.commands.shared import PresetOption, StoreOption, one_sentence
from paha_core.stages import Workspace


def app(
    context: typer.Context,
    host: Annotated[str, typer.Option(help="Address to listen on.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=1, max=65535, help="Port to listen on.")] = 7860,
    preset: PresetOption = "demo",
    store: StoreOption = "",
    folder: FolderOption = None,
    data: Annotated[Path, typer.Option(help="Folder of your videos, which are kept there.")] = Path(
        "paha-videos"
    ),
    token: TokenOption = "",
    adapter: AdapterOption = None,
    fast: FastOption = False,
    weights: WeightsOption = None,
    offload: OffloadOption = False,
    offload_layers: OffloadLayersOption = False,
    max_seconds: SecondsOption = 60.0,
) -> None:
    """Open the page: a portrait, a voice or a text, a video. Needs no Dagster.

    Example:

        paha app                    http://127.0.0.1:7860
    """
    with one_sentence():
        chosen = chosen_folder(context, folder)
        workspace = Workspace(preset, store)
        used = chosen_preset(workspace, chosen, fast=fast)
        used = with_memory_options(used, offload, offload_layers, weights)
        listen(
            lambda: open_pipeline(used, chosen, lambda: workspace.store, adapter),
            host,
            port,
            data,
            token,
            page=True,
            max_seconds=max_seconds,
            keep_hours=math.inf,
        )
