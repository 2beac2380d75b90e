"""Opens the networks of a command: a run's, or those of an exported folder."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from paha_core.config import Weights
from paha_core.errors import StageError
from paha_core.stages import Workspace, prepare_torch

if TYPE_CHECKING:
    from paha_core.config import Preset
    from paha_core.inference.pipeline import PahaPipeline
    from paha_core.store import Store

FolderOption = Annotated[
    Path | None,
    typer.Option(
        "--folder",
        help="A folder made by `paha export`, or `base`, the one inside the package: what is used "
        "when neither preset nor store is named.",
    ),
]
DatasetOption = Annotated[
    str | None,
    typer.Option(help="Use this corpus' audio encoder (default: audio.pretrained)."),
]
AdapterOption = Annotated[
    list[str] | None,
    typer.Option(
        "--adapter",
        help="A folder made by `paha adapt`, or FOLDER:SCALE; repeatable, they add up.",
    ),
]
FastOption = Annotated[
    bool,
    typer.Option(
        "--fast", help="By univdm_fast, the student with few steps (`paha run univdm_fast`)."
    ),
]
OffloadOption = Annotated[
    bool,
    typer.Option(
        "--offload", help="Codec and encoders wait in host memory: for cards with little."
    ),
]
OffloadLayersOption = Annotated[
    bool,
    typer.Option(
        "--offload-layers", help="UniVDM's layers as well, one by one: slower; needs CUDA."
    ),
]
WeightsOption = Annotated[
    Weights | None,
    typer.Option(
        help="int8: UniVDM and classifiers in a quarter of the memory, rounded (default: the "
        "preset's)."
    ),
]
Device = Literal["auto", "cpu", "cuda"]


def chosen_folder(context: typer.Context, folder: Path | None) -> Path | None:
    """The saved pipeline to open: the named one; or the base, where nothing else is named and this
    copy of the package contains it. None: a run's own networks."""
    from paha_core.inference.saved import base_folder, is_saved, saved_folder

    if folder is not None:
        return saved_folder(folder)
    named = ("preset", "store", "dataset", "sidecar")
    sources = [context.get_parameter_source(name) for name in named]
    if any(source is not None and source.name != "DEFAULT" for source in sources):
        return None
    return base_folder() if is_saved(base_folder()) else None


def chosen_preset(
    workspace: Workspace,
    folder: Path | None,
    device: Device | None = None,
    dataset: str | None = None,
    fast: bool = False,
) -> Preset:
    """The run's preset or the exported folder's, with that device, that dataset's audio encoder,
    and with `fast` the student in UniVDM's place.

    Raises `StageError` for a folder that has no student.
    """
    from paha_core.config import load_preset

    preset = load_preset(folder / "preset.yaml") if folder else workspace.preset
    if fast and folder is not None and not preset.generation.fast:
        raise StageError(
            f"{folder} holds UniVDM and not its student: name a --preset or --store with one, or a "
            "folder of `paha export --fast`"
        )
    preset = preset.changed(device, dataset)
    return preset.with_student() if fast else preset


def with_memory_options(
    preset: Preset, offload: bool, offload_layers: bool, weights: Weights | None
) -> Preset:
    """With what these options of a command turn on; the preset's where they are left out."""
    changes: dict[str, Any] = {"weights": weights} if weights else {}
    if offload or offload_layers:
        changes["offload"] = True
    if offload_layers:
        changes["offload_layers"] = True
    return preset.with_generation(**changes) if changes else preset


def open_pipeline(
    preset: Preset,
    folder: Path | None,
    store: Callable[[], Store],
    adapters: list[str] | None = None,
) -> PahaPipeline:
    """Open the networks of the exported folder, or else of the run's store, with adapters."""
    import torch

    from paha_core.inference.pipeline import PahaPipeline

    device = prepare_torch(preset)
    if device.startswith("cuda") and not torch.cuda.is_available():
        raise StageError("there is no CUDA device here: use --device cpu")
    if folder is None:
        place = store()
        if not place.glob("checkpoints/*/final/training.json"):
            raise StageError(
                f"no trained networks in {place.url} yet: `paha run --preset {preset.name}` makes "
                "them (or `make demo`). Or name another run (--preset, --store) or a folder that "
                "`paha export` wrote (--folder)"
            )
        pipeline = PahaPipeline.from_store(place, preset, device)
    else:
        pipeline = PahaPipeline.from_pretrained(folder, device, preset)
    for adapter in adapters or []:
        path, scale = _path_and_scale(adapter)
        pipeline.load_adapter(path, scale=scale)
    return pipeline


def _path_and_scale(text: str) -> tuple[str, float]:
    """`me:0.5` as its two parts."""
    path, colon, scale = text.rpartition(":")
    try:
        return (path, float(scale)) if colon else (text, 1.0)
    except ValueError:
        return text, 1.0
