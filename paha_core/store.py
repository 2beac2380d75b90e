"""Artifacts on any fsspec URL: a folder, `s3://bucket/prefix`, `memory://`.

Every file appears whole or not at all: it is written under a temporary name and renamed (local), or
uploaded in one piece (object stores). A stage's manifest is written after the files it names, so a
manifest never speaks of something that is not there.
"""

from __future__ import annotations

import glob
import hashlib
import json
import os
import re
import shutil
import tempfile
import time
import uuid
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import fsspec
import pyarrow as pa
import pyarrow.parquet as pq

from paha_core.errors import UserError

_UNFINISHED = re.compile(r"\.[0-9a-f]{8}\.(tmp|old)(?=[./]|$)")  # what a kill may leave behind


class Store:
    """Read and write artifacts below one URL; `rel` is always a relative path with `/`.

    Picklable, so that worker processes can hold one. Raises `UserError` for a URL that nothing
    here can open, `ValueError` for a `rel` that leaves the store.
    """

    def __init__(self, url: str) -> None:
        self.url = url.rstrip("/")
        try:
            # no cache of listings: other processes write here as well
            self.fs, self.root = fsspec.core.url_to_fs(self.url, use_listings_cache=False)
        except (ValueError, ImportError) as error:  # no such protocol, or its package is missing
            raise UserError(f"{url} can't be a store: {error}") from error
        self.is_local = "file" in (
            self.fs.protocol if isinstance(self.fs.protocol, tuple) else (self.fs.protocol,)
        )

    @property
    def writable(self) -> Store:
        """The store that writes go to: another one where stores are laid over each other."""
        return self

    def __reduce__(self) -> tuple[type[Store], tuple[str]]:
        return (Store, (self.url,))

    def full(self, rel: str) -> str:
        """The path of `rel` on the file system behind the store."""
        if rel.startswith("/") or ".." in rel.split("/"):
            raise ValueError(f"path leaves the store: {rel!r}")
        return f"{self.root}/{rel}"

    def uri(self, rel: str) -> str:
        """`rel` as a user would open it."""
        return self.full(rel) if self.is_local else self.fs.unstrip_protocol(self.full(rel))

    def exists(self, rel: str) -> bool:
        return bool(self.fs.exists(self.full(rel)))

    def glob(self, pattern: str) -> list[str]:
        """Paths below the store that match `pattern`, sorted, relative to the store; nothing
        half-written."""
        return [rel for rel in self._all(pattern) if not _UNFINISHED.search(rel)]

    def _all(self, pattern: str) -> list[str]:
        skip = len(self.root.rstrip("/")) + 1
        found = self.fs.glob(glob.escape(self.root) + self.full(pattern)[len(self.root) :])
        return sorted(str(path)[skip:] for path in found)

    def remove(self, rel: str) -> None:
        """Remove a file or folder; absent is fine."""
        if self.fs.exists(self.full(rel)):
            self.fs.rm(self.full(rel), recursive=True)

    def tidy(self, rel: str, seconds: float = 0.0) -> None:
        """Remove what a kill left half-written in a folder: what nobody has touched for so long,
        where others may be writing as well."""
        for found in self._all(f"{rel}/**") if self.is_local else ():
            if _UNFINISHED.search(found):
                with suppress(FileNotFoundError):  # whoever wrote it has finished
                    if time.time() - Path(self.full(found)).stat().st_mtime >= seconds:
                        self.remove(found)

    # --- whole files ------------------------------------------------------------

    def read_bytes(self, rel: str) -> bytes:
        return bytes(self.fs.cat_file(self.full(rel)))

    def write_bytes(self, rel: str, data: bytes) -> str:
        """Publish `data` as `rel`; returns its sha256."""
        with self.writing(rel) as path:
            path.write_bytes(data)
        return hashlib.sha256(data).hexdigest()

    def create(self, rel: str, data: bytes) -> bool:
        """Publish `data` as `rel` unless that exists; returns whether this call made it.

        Atomic: of several callers, on any hosts, exactly one gets True. An object store must know
        conditional writes (`If-None-Match: *`: S3, GCS, MinIO, SeaweedFS, ...).
        """
        target = self.full(rel)
        if self.is_local:
            with unpublished(target) as path:
                path.write_bytes(data)
                try:
                    os.link(path, target)
                except FileExistsError:
                    return False
            return True
        try:
            self.fs.pipe_file(target, data, mode="create")
        except OSError as error:
            if isinstance(error, FileExistsError) or _lost_condition(error):
                return False
            raise
        return True

    def read_json(self, rel: str) -> Any:
        return json.loads(self.read_bytes(rel))

    def write_json(self, rel: str, value: Any) -> str:
        return self.write_bytes(rel, json.dumps(value, indent=2, sort_keys=True).encode())

    def read_table(self, rel: str) -> pa.Table:
        with self.reading(rel) as path:
            return pq.read_table(path, partitioning=None)

    def write_table(self, rel: str, table: pa.Table) -> str:
        sink = pa.BufferOutputStream()
        pq.write_table(table, sink, compression="zstd")
        return self.write_bytes(rel, sink.getvalue().to_pybytes())

    @contextmanager
    def writing(self, rel: str) -> Iterator[Path]:
        """A local path to write; published as `rel` when the block ends without an error."""
        target = self.full(rel)
        if self.is_local:
            with published(target) as path:
                yield path
            return
        with tempfile.TemporaryDirectory(prefix="paha-") as folder:
            local = Path(folder) / ("file" + _ending(rel))
            yield local
            self.fs.makedirs(os.path.dirname(target), exist_ok=True)
            self.fs.put_file(str(local), target)

    @contextmanager
    def reading(self, rel: str) -> Iterator[Path]:
        """A local path that holds `rel`: the file itself, or a temporary download."""
        if self.is_local:
            yield Path(self.full(rel))
            return
        with tempfile.TemporaryDirectory(prefix="paha-") as folder:
            local = Path(folder) / Path(rel).name
            self.fs.get_file(self.full(rel), str(local))
            yield local

    # --- whole folders (checkpoints) ------------------------------------------------------------

    @contextmanager
    def writing_folder(self, rel: str, marker: str = "") -> Iterator[Path]:
        """A local folder to fill; replaces `rel` as a whole when the block ends without an error.

        An object store has no whole folders: there the file `marker` goes first and comes last, so
        that a folder that has it is complete.
        """
        target = self.full(rel)
        if self.is_local:
            os.makedirs(os.path.dirname(target), exist_ok=True)
            temporary, old = _beside(target, "tmp"), _beside(target, "old")
            temporary.mkdir()
            try:
                yield temporary
                _flush(temporary)
                if os.path.exists(target):
                    os.replace(target, old)
                os.replace(temporary, target)
            finally:
                shutil.rmtree(temporary, ignore_errors=True)
                shutil.rmtree(old, ignore_errors=True)
            return
        with tempfile.TemporaryDirectory(prefix="paha-") as folder:
            yield Path(folder)
            if marker:
                self.remove(f"{rel}/{marker}")
            self.remove(rel)
            files = [path for path in Path(folder).rglob("*") if path.is_file()]
            for path in sorted(files, key=lambda path: path.name == marker):
                self.fs.put_file(str(path), f"{target}/{path.relative_to(folder).as_posix()}")

    @contextmanager
    def reading_folder(self, rel: str) -> Iterator[Path]:
        """A local folder with the content of `rel`."""
        if self.is_local:
            yield Path(self.full(rel))
            return
        with tempfile.TemporaryDirectory(prefix="paha-") as folder:
            self.fs.get(self.full(rel) + "/", folder + "/", recursive=True)
            yield Path(folder)

    def move(self, old: str, new: str) -> bool:
        """Rename a folder; returns whether there was one."""
        source, target = self.full(old), self.full(new)
        if not self.fs.exists(source):
            return False
        if self.is_local:
            os.replace(source, target)
        else:
            self.fs.mv(source, target, recursive=True)
        return True

    def growing(self, rel: str) -> Path:
        """The path of a file or folder that is written to while others read it (local stores)."""
        return Path(self.full(rel))


def _flush(folder: Path) -> None:
    """To the disk, so that a machine that fails leaves no renamed folder of empty files."""
    for path in folder.rglob("*"):
        if path.is_file():
            with open(path, "rb") as file:
                os.fsync(file.fileno())


@contextmanager
def published(target: str | Path) -> Iterator[Path]:
    """A path to write, beside a local `target` and with its ending, since encoders go by that. It
    becomes `target` when the block ends without an error, else it is removed."""
    with unpublished(target) as path:
        yield path
        os.replace(path, target)


@contextmanager
def unpublished(target: str | Path) -> Iterator[Path]:
    """A temporary path beside a local `target`, with its ending; gone at the end of the block."""
    path = _beside(target, "tmp" + _ending(target))
    path.parent.mkdir(parents=True, exist_ok=True)
    try:
        yield path
    finally:
        path.unlink(missing_ok=True)


def _lost_condition(error: OSError) -> bool:
    """Whether an object store refused a conditional write because the object exists."""
    response = getattr(error.__cause__, "response", None) or {}
    code = response.get("Error", {}).get("Code")
    return code in ("412", "PreconditionFailed", "409", "ConditionalRequestConflict")


def _beside(target: str | Path, kind: str) -> Path:
    """A hidden name in the same folder: as good as absent for whoever lists that."""
    target = Path(target)
    return target.with_name(f".{target.name}.{uuid.uuid4().hex[:8]}.{kind}")


def _ending(path: str | Path) -> str:
    return "".join(Path(path).suffixes[-2:])


def sha256_file(path: str | Path) -> str:
    """Hex sha256 of a local file, read in pieces."""
    with open(path, "rb") as f:
        return hashlib.file_digest(f, "sha256").hexdigest()


def sha256_of_files(paths: Iterable[str | Path]) -> str:
    """One hash for several local files, in their order."""
    return hashlib.sha256("".join(sha256_file(path) for path in paths).encode()).hexdigest()


def sha256_json(value: Any) -> str:
    """Hex sha256 of a JSON-able value in canonical form: the fingerprint of settings."""
    return hashlib.sha256(json.dumps(value, sort_keys=True, default=str).encode()).hexdigest()
