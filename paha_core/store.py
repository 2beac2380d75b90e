"""Artifacts on any fsspec URL: a folder, `s3://bucket/prefix`, `memory://`.

Every file appears whole or not at all: it is written under a temporary name and renamed (local), or
uploaded in one piece (object stores). A stage's manifest is written after the files it names, so a
manifest never names a file that does not exist.
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
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path, PurePosixPath
from typing import Any, Final, TypeVar

import fsspec
import pyarrow as pa
import pyarrow.parquet as pq
from fsspec.utils import glob_translate

from paha_core.errors import UserError
from paha_core.local_files import (
    PART,
    UNFINISHED,
    beside,
    cache_folder,
    ending,
    flush,
    kept_on_host,
    local_versions,
    published,
    shared_on_host,
    unpublished,
)
from paha_core.outages import with_retries

T = TypeVar("T")

MUST_EXIST: Final = object()
# Nothing has to be made before a file.
WITHOUT_FOLDERS = {"s3", "s3a", "gs", "gcs", "abfs", "az", "memory"}
KEPT_BYTES, FILE_BYTES = 4 * 2**30, 32 * 2**20  # of the host's cache, and about a file of it
LISTS_BY_PREFIX = {"s3", "s3a", "gs", "gcs"}


class Store:
    """Read and write artifacts below one URL; `rel` is always a relative path with `/`.

    Picklable, so that worker processes can hold one. Raises `UserError` for a URL that nothing
    here can open, `ValueError` for a `rel` that leaves the store, and `StoreUnavailable` when an
    object store does not answer for minutes.
    """

    def __init__(self, url: str) -> None:
        self.url = url.rstrip("/")
        try:
            # no cache of listings: other processes write here as well
            self.fs, self.root = fsspec.core.url_to_fs(self.url, use_listings_cache=False)
        except (ValueError, ImportError) as error:  # no such protocol, or its package is missing
            raise UserError(f"{url} can't be a store: {error}") from error
        protocols = self.fs.protocol
        self.protocols = {protocols} if isinstance(protocols, str) else set(protocols)
        self.is_local = "file" in self.protocols

    @property
    def writable(self) -> Store:
        """The store that writes go to: the upper one of an overlay."""
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

    def _call(self, function: Callable[..., T], *arguments: Any, **options: Any) -> T:
        """A call of the file system; an object store's is tried again after an outage."""
        if self.is_local:
            return function(*arguments, **options)
        return with_retries(lambda: function(*arguments, **options), self.url)

    # --- what there is ----------------------------------------------------------

    def exists(self, rel: str) -> bool:
        """Whether there is such a file or folder. To read what may be absent, read it with `absent`
        instead, and to look for many, use `versions`: requests to an object store cost time.
        """
        if self.is_local:  # fsspec takes ten times as long
            return os.path.exists(self.full(rel))
        return bool(self._call(self.fs.exists, self.full(rel)))

    def size(self, rel: str) -> int:
        """Bytes of a file, or of all files of a folder."""
        return int(self._call(self.fs.du, self.full(rel)))

    def glob(self, pattern: str) -> list[str]:
        """Paths below the store that match `pattern`, sorted, relative to the store; nothing
        half-written."""
        return [rel for rel in self._all(pattern) if not UNFINISHED.search(rel)]

    def _all(self, pattern: str) -> list[str]:
        if not self.is_local:
            literal = re.split(r"[*?\[]", pattern, maxsplit=1)[0]
            files = self.versions(literal)
            folders = {str(parent) for rel in files for parent in PurePosixPath(rel).parents}
            matches = re.compile(glob_translate(pattern)).match
            return sorted(rel for rel in {*files, *folders} - {"."} if matches(rel))
        skip = len(self.root.rstrip("/")) + 1
        found = self.fs.glob(glob.escape(self.root) + self.full(pattern)[len(self.root) :])
        return sorted(str(path)[skip:] for path in found)

    def versions(self, prefix: str) -> dict[str, str]:
        """The files whose path begins with `prefix`, each with a text that changes whenever the
        file is written: an object store's ETag, else time and size. One request for a thousand.
        """
        folder, _, start = self.full(prefix).rpartition("/")
        if self.is_local:
            return local_versions(self.root, folder, start)
        options = {}
        if self.protocols & LISTS_BY_PREFIX:
            if not start and "/" in folder:  # s3fs asks twice for a folder, once for a prefix
                folder, _, name = folder.rpartition("/")
                start = f"{name}/"
            options["prefix"] = start
        try:
            listed = self._call(self.fs.find, folder, detail=True, **options)
        except FileNotFoundError:
            return {}
        skip = len(self.root.rstrip("/")) + 1
        found = {str(path)[skip:]: _version(info) for path, info in listed.items()}
        return {rel: version for rel, version in found.items() if rel.startswith(prefix)}

    def remove(self, rel: str) -> None:
        """Remove a file or folder; absent is fine."""
        if self.is_local:
            path = Path(self.full(rel))
            with suppress(FileNotFoundError):
                shutil.rmtree(path) if path.is_dir() and not path.is_symlink() else path.unlink()
            return
        found = [name for name in self.versions(rel) if name == rel or name.startswith(f"{rel}/")]
        self.remove_files(found)

    def remove_files(self, rels: Sequence[str]) -> None:
        """Remove these files, in as few requests as the store allows; absent is fine."""
        if self.is_local:
            for rel in rels:
                self.remove(rel)
        elif rels:
            with suppress(FileNotFoundError):
                self._call(self.fs.rm, [self.full(rel) for rel in rels])

    def tidy(self, rel: str, seconds: float = 0.0) -> None:
        """Remove half-written files that killed processes left in a folder. Files younger than
        `seconds` are kept, because other processes may be writing them."""
        if not self.is_local:
            return
        root = Path(self.root)
        for folder, folders, files in os.walk(self.full(rel)):
            for name in (*folders, *files):
                if UNFINISHED.search(name):
                    path = Path(folder, name)
                    with suppress(FileNotFoundError):  # its writer has finished
                        if time.time() - path.stat().st_mtime >= seconds:
                            self.remove(str(path.relative_to(root)))

    # --- whole files ------------------------------------------------------------

    def read_bytes(self, rel: str, start: int | None = None, end: int | None = None) -> bytes:
        """A file's content, or its bytes `start` to `end`."""
        if start is not None or end is not None:
            return bytes(self._call(self.fs.cat_file, self.full(rel), start=start, end=end))
        # s3fs requests the size first, unless it may not split the download
        options = {"max_concurrency": 1} if "s3" in self.protocols else {}
        return bytes(self._call(self.fs.cat_file, self.full(rel), **options))

    def write_bytes(self, rel: str, data: bytes) -> str:
        """Publish `data` as `rel`; returns its sha256."""
        with self.writing(rel) as path:
            path.write_bytes(data)
        return hashlib.sha256(data).hexdigest()

    def create(self, rel: str, data: bytes) -> bool:
        """Publish `data` as `rel` unless that exists; returns whether this call made it.

        Atomic: of several callers with different data, on any hosts, exactly one gets True. An
        object store must support conditional writes: `If-None-Match: *` of S3, GCS, MinIO,
        SeaweedFS.
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
            self._call(self.fs.pipe_file, target, data, mode="create")
        except OSError as error:
            if isinstance(error, FileExistsError) or _lost_condition(error):
                # the first attempt succeeded but its answer was lost
                return self.read_bytes(rel) == data
            raise
        return True

    def read_json(self, rel: str, absent: Any = MUST_EXIST) -> Any:
        """A JSON file's content, or `absent` where there is no such file."""
        try:
            return json.loads(self.read_bytes(rel))
        except FileNotFoundError:
            if absent is MUST_EXIST:
                raise
            return absent

    def write_json(self, rel: str, value: Any) -> str:
        return self.write_bytes(rel, json.dumps(value, indent=2, sort_keys=True).encode())

    def read_table(self, rel: str) -> pa.Table:
        with self.reading(rel) as path:
            return pq.ParquetFile(path).read(use_threads=False)  # a manifest has many small files

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
            local = Path(folder) / ("file" + ending(rel))
            yield local
            self._upload(local, target)

    @contextmanager
    def reading(self, rel: str, sha256: str = "") -> Iterator[Path]:
        """A local path that holds `rel`, to be read only: the file itself, or a download.

        With the file's `sha256`, as manifests have it, the download is kept for further stages on
        this host, which read the same clip again (`KEPT_BYTES` in all).
        """
        if self.is_local:
            yield Path(self.full(rel))
            return
        if sha256:
            cache, name = cache_folder("artifacts"), f"{sha256[:32]}{ending(rel)}"
            with kept_on_host(cache, name, FILE_BYTES, KEPT_BYTES, self._fetcher(rel)) as path:
                yield path
            return
        with tempfile.TemporaryDirectory(prefix="paha-") as folder:
            local = Path(folder) / Path(rel).name
            self._call(self.fs.get_file, self.full(rel), str(local))
            yield local

    def _fetcher(self, rel: str) -> Callable[[Path], None]:
        def fetch(path: Path) -> None:
            part = path.with_name(path.name + PART)
            self._call(self.fs.get_file, self.full(rel), str(part))
            os.replace(part, path)

        return fetch

    def upload(self, local: Path, rel: str) -> None:
        """Publish a copy of a local file as `rel`."""
        if self.is_local:
            with published(self.full(rel)) as path:
                shutil.copyfile(local, path)
        else:
            self._upload(local, self.full(rel))

    def _upload(self, local: Path, target: str) -> None:
        if not self.protocols & WITHOUT_FOLDERS:
            self._call(self.fs.makedirs, os.path.dirname(target), exist_ok=True)
        self._call(self.fs.put_file, str(local), target)

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
            temporary, old = beside(target, "tmp"), beside(target, "old")
            temporary.mkdir()
            try:
                yield temporary
                flush(temporary)
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
                self._upload(path, f"{target}/{path.relative_to(folder).as_posix()}")

    @contextmanager
    def reading_folder(self, rel: str) -> Iterator[Path]:
        """A local folder with the content of `rel`, to be read only. Processes of one host that
        read it at the same time share one download."""
        if self.is_local:
            yield Path(self.full(rel))
            return
        versions = self.versions(f"{rel}/")

        def download(folder: Path) -> None:
            for name in versions:
                local = folder / name.removeprefix(f"{rel}/")
                local.parent.mkdir(parents=True, exist_ok=True)
                self._call(self.fs.get_file, self.full(name), str(local))

        with shared_on_host(json.dumps([self.uri(rel), versions]), download) as folder:
            yield folder

    def move(self, old: str, new: str) -> bool:
        """Rename a folder; returns whether there was one."""
        if self.is_local:
            if not os.path.exists(self.full(old)):
                return False
            os.replace(self.full(old), self.full(new))
            return True
        files = list(self.versions(f"{old}/"))
        for rel in files:
            target = self.full(f"{new}/{rel.removeprefix(f'{old}/')}")
            self._call(self.fs.cp_file, self.full(rel), target)
        self.remove_files(files)
        return bool(files)

    def growing(self, rel: str) -> Path:
        """The path of a file or folder that is written to while others read it (local stores)."""
        return Path(self.full(rel))


def _version(info: dict[str, Any]) -> str:
    for name in ("ETag", "etag", "md5Hash", "LastModified", "mtime", "created"):
        if info.get(name):
            return f"{info[name]}-{info.get('size')}"
    return str(info.get("size"))


def _lost_condition(error: OSError) -> bool:
    """Whether an object store refused a conditional write because the object exists."""
    response = getattr(error.__cause__, "response", None) or {}
    code = response.get("Error", {}).get("Code")
    return code in ("412", "PreconditionFailed", "409", "ConditionalRequestConflict")


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
