"""`paha adapt`: an adapter for one's own speaker."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from paha_core.commands.opening import DatasetOption, Device, chosen_preset, open_pipeline
from paha_core.commands.shared import PresetOption, StoreOption, one_sentence, show


def adapt(
    video: Annotated[
        list[Path],
        typer.Option(help="Footage of one person: a file or a folder of them; repeatable."),
    ],
    out: Annotated[Path, typer.Option(help="Folder of the adapter; its name is the speaker's.")],
    licence: Annotated[
        str,
        typer.Option(
            help="Whose footage it is, and what the person shown agreed to; it stays in the file."
        ),
    ],
    preset: PresetOption = "demo",
    store: StoreOption = "",
    folder: Annotated[
        Path | None,
        typer.Option(help="A folder made by `paha export`, or `base`: in place of a run's store."),
    ] = None,
    prior: Annotated[
        str,
        typer.Option(
            help="Store of a run whose training clips show people that are to stay as they are "
            "(default: the run that is adapted; for a folder, samples of the network)."
        ),
    ] = "",
    dataset: DatasetOption = None,
    steps: Annotated[
        int | None, typer.Option(min=1, help="Of the training [adapt.train.steps].")
    ] = None,
    rank: Annotated[int | None, typer.Option(min=1, help="Of the matrices [adapt.rank].")] = None,
    device: Annotated[Device | None, typer.Option(help="Device (default: the preset's).")] = None,
) -> None:
    """Teach a trained network one person: minutes of footage to a file of a few megabytes.

    The footage goes through the same ingestion and filters as a corpus; UniVDM stays as it is, and
    LoRA beside its layers learns. Half of the windows it learns from show other people, so that
    these stay as they are. A kill costs nothing: the same command goes on. Use footage of people
    who agreed to it.

    Examples:

        paha adapt --video me.mp4 --out me --licence "my own face and voice" --folder base

        paha generate --adapter me --folder base --image me.jpg --audio hello.wav --out hello.mp4

        paha export --adapter me --folder base --out me-merged      one network, as fast as before
    """
    with one_sentence():
        from dataclasses import replace

        from paha_core.inference.saved import saved_folder
        from paha_core.stages import Workspace
        from paha_core.stages.adapt import adapt as train_adapter
        from paha_core.stages.adapt import adapted_preset
        from paha_core.store import Store

        workspace, folder = Workspace(preset, store), saved_folder(folder) if folder else None
        used = chosen_preset(workspace, folder, device, dataset)
        pipeline = open_pipeline(used, folder, lambda: workspace.store)
        pipeline = replace(pipeline, preset=adapted_preset(used, steps, rank))
        others = Store(prior) if prior else None if folder else workspace.store
        show(train_adapter(pipeline, video, out, licence, prior_store=others, on_report=show))
