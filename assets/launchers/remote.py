"""The worker's end of a job on another machine: preset, context and messages through the store."""

from __future__ import annotations

import os
import socket
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from io import StringIO
from pathlib import Path
from typing import Any

from dagster_pipes import (
    PipesBlobStoreMessageWriter,
    PipesBlobStoreMessageWriterChannel,
    PipesContextLoader,
)

from paha_core.errors import UserError
from paha_core.stages import Workspace
from paha_core.store import Store

LAUNCH = "PAHA_LAUNCH"  # environment: the job's folder in the store of PAHA_STORE
PRESET, CONTEXT = "preset.yaml", "context.json"
INTERVAL = 3.0  # seconds between two uploads of messages


def message_path(folder: str, index: int) -> str:
    return f"{folder}/messages/{index}.json"


@contextmanager
def workspace_of_job() -> Iterator[Workspace]:
    """The workspace that the job was submitted with. Raises `UserError` on a host that sees
    another store under the same URL."""
    store, folder = Store(os.environ["PAHA_STORE"]), os.environ[LAUNCH]
    try:
        settings = store.read_bytes(f"{folder}/{PRESET}")
    except FileNotFoundError:
        raise UserError(
            f"{socket.gethostname()} does not find {folder} in {store.url}: a folder as a store "
            "must be shared by all hosts; use one that is, or an object store (PAHA_STORE)"
        ) from None
    with tempfile.TemporaryDirectory(prefix="paha-") as temporary:
        preset = Path(temporary) / PRESET
        preset.write_bytes(settings)
        yield Workspace(str(preset), store.url)


class StoreContextLoader(PipesContextLoader):
    """Reads the context that `StoreContextInjector` wrote."""

    @contextmanager
    def load_context(self, params: Any) -> Iterator[Any]:
        yield Store(os.environ["PAHA_STORE"]).read_json(params["path"])


class StoreMessageWriter(PipesBlobStoreMessageWriter["StoreMessageChannel"]):
    """Writes messages as numbered files for `StoreMessageReader`."""

    def __init__(self) -> None:
        super().__init__(interval=INTERVAL)

    def make_channel(self, params: Any) -> StoreMessageChannel:
        return StoreMessageChannel(params["folder"])


class StoreMessageChannel(PipesBlobStoreMessageWriterChannel):
    def __init__(self, folder: str) -> None:
        super().__init__(interval=INTERVAL)
        self.store, self.folder = Store(os.environ["PAHA_STORE"]), folder

    def upload_messages_chunk(self, payload: StringIO, index: int) -> None:
        self.store.write_bytes(message_path(self.folder, index), payload.read().encode())
