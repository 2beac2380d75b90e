"""The orchestrator's end of a job on another machine: context and messages through the store."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import dagster as dg

from assets.launchers.remote import CONTEXT, INTERVAL, message_path
from paha_core.store import Store


class StoreContextInjector(dg.PipesContextInjector):
    """Writes the context into the job's folder."""

    def __init__(self, store: Store, folder: str) -> None:
        self.store, self.path = store, f"{folder}/{CONTEXT}"

    @contextmanager
    def inject_context(self, context: Any) -> Iterator[Any]:
        self.store.write_json(self.path, context)
        yield {"path": self.path}

    def no_messages_debug_text(self) -> str:
        return f"The context was written to {self.store.uri(self.path)}."


class StoreMessageReader(dg.PipesBlobStoreMessageReader):
    """Reads the worker's messages from the job's folder, one numbered file after the other."""

    def __init__(self, store: Store, folder: str) -> None:
        super().__init__(interval=INTERVAL)
        self.store, self.folder = store, folder

    @contextmanager
    def get_params(self) -> Iterator[Any]:
        yield {"folder": self.folder}

    def messages_are_readable(self, params: Any) -> bool:
        return True

    def download_messages_chunk(self, index: int, params: Any) -> str | None:
        try:
            return self.store.read_bytes(message_path(self.folder, index)).decode()
        except FileNotFoundError:
            return None

    def no_messages_debug_text(self) -> str:
        return f"Messages were expected in {self.store.uri(self.folder)}."
