"""`paha serve`: the HTTP API."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from paha_core.commands.opening import (
    AdapterOption,
    FastOption,
    OffloadLayersOption,
    OffloadOption,
    WeightsOption,
    chosen_preset,
    open_pipeline,
    with_memory_options,
)
from paha_core.commands.shared import PresetOption, StoreOption, one_sentence
from paha_core.errors import UserError
from paha_core.stages import Workspace

if TYPE_CHECKING:
    from paha_core.inference.pipeline import PahaPipeline


TokenOption = Annotated[
    str, typer.Option(envvar="PAHA_TOKEN", help="Bearer token; needed beyond this machine.")
]
SecondsOption = Annotated[float, typer.Option(min=0.1, help="Longer voices are cut.")]


def serve(
    host: Annotated[str, typer.Option(help="Address to listen on.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=1, max=65535, help="Port to listen on.")] = 8000,
    preset: PresetOption = "demo",
    store: StoreOption = "",
    folder: Annotated[
        Path | None, typer.Option(help="Networks of `paha export` instead of a run's.")
    ] = None,
    data: Annotated[
        Path, typer.Option(help="Folder of the queue and the videos; survives a restart.")
    ] = Path("served"),
    token: TokenOption = "",
    adapter: AdapterOption = None,
    fast: FastOption = False,
    weights: WeightsOption = None,
    offload: OffloadOption = False,
    offload_layers: OffloadLayersOption = False,
    max_seconds: SecondsOption = 60.0,
    max_megabytes: Annotated[int, typer.Option(min=1, help="Of one request.")] = 64,
    queue: Annotated[int, typer.Option(min=1, help="Videos that may wait; then 429.")] = 16,
    keep_hours: Annotated[float, typer.Option(min=0, help="How long videos are kept.")] = 24.0,
) -> None:
    """Serve the HTTP API: one queue, the model loaded once. Interactive docs at /docs.

    Examples:

        paha serve                                       http://127.0.0.1:8000

        PAHA_TOKEN=… paha serve --host 0.0.0.0           for others, with a token

        curl -F image=@me.jpg -F audio=@hello.wav http://127.0.0.1:8000/v1/videos
    """
    with one_sentence():
        from paha_core.inference.saved import saved_folder

        workspace = Workspace(preset, store)
        chosen = saved_folder(folder) if folder is not None else None
        used = chosen_preset(workspace, chosen, fast=fast)
        used = with_memory_options(used, offload, offload_layers, weights)
        listen(
            lambda: open_pipeline(used, chosen, lambda: workspace.store, adapter),
            host,
            port,
            data,
            token,
            page=False,
            body_bytes=max_megabytes << 20,
            max_seconds=max_seconds,
            capacity=queue,
            keep_hours=keep_hours,
        )


def listen(
    opened: Callable[[], PahaPipeline],
    host: str,
    port: int,
    data: Path,
    token: str,
    *,
    page: bool,
    max_seconds: float,
    keep_hours: float,
    body_bytes: int = 64 << 20,
    capacity: int = 16,
) -> None:
    """Serve until interrupted. Raises `UserError` where the extra is not installed, or others could
    reach the server without a token."""
    try:
        import uvicorn

        from paha_core.serve.api import create_app
        from paha_core.serve.limits import Limits, is_loopback
    except ModuleNotFoundError as error:
        raise UserError(f"no {error.name} here: pip install 'paha[serve]'") from error
    if not token and not is_loopback(host):
        raise UserError(f"{host} can be reached by others: set PAHA_TOKEN")
    limits = Limits(
        body_bytes=body_bytes, seconds=max_seconds, capacity=capacity, keep_hours=keep_hours
    )
    app = create_app(opened(), data, limits, token, page)
    uvicorn.run(
        app, host=host, port=port, log_level="info", timeout_keep_alive=5, limit_concurrency=200
    )
