"""Local copies of sources in a bounded cache: fetched, or with a clock of their own."""

from __future__ import annotations

import errno
import fcntl
import hashlib
import os
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path, PurePosixPath

import fsspec

from paha_core.corpora.clock import TIMED, rebuild
from paha_core.corpora.source_files import GONE, RemoteFile, SourceFile, asking
from paha_core.engine.manifest_stage import Rejection, TransientError
from paha_core.engine.workers import unlimited
from paha_core.errors import UserError

PART = ".part"


@contextmanager
def local_file(source: SourceFile, max_bytes: int) -> Iterator[Path]:
    """A local path of `source`, valid inside the block: itself, or a copy in the cache.

    The cache (`PAHA_CACHE`, or a folder beside temporary files) holds at most `max_bytes`; the
    least recently used files are removed first, files in use never. Raises `TransientError` when
    the source isn't there or can't be fetched, `Rejection` when it is larger than the whole cache.
    """
    if isinstance(source, Path):
        if not source.exists():
            raise TransientError(GONE)
        yield source
        return
    if source.size > max_bytes:
        raise Rejection(f"the source is larger than the cache of {max_bytes} bytes")
    key = hashlib.sha256(f"{source.url}\n{source.stamp}".encode()).hexdigest()
    name = key[:32] + PurePosixPath(source.url).suffix[:8]
    with _cached(name, source.size, max_bytes, lambda path: _fetch(source, path)) as path:
        yield path


@contextmanager
def timed_file(source: Path, sha256: str, max_bytes: int) -> Iterator[Path]:
    """The streams of a local file in a container with one continuous clock, from the same cache.

    Raises `MediaError` when they can't be copied there.
    """
    size = source.stat().st_size
    name = f"{sha256[:32]}{TIMED}"
    with _cached(name, size, max(max_bytes, size), lambda path: rebuild(source, path)) as path:
        yield path


@contextmanager
def _cached(name: str, size: int, max_bytes: int, fill: Callable[[Path], None]) -> Iterator[Path]:
    """The file `name` of the cache, made by `fill` unless it is there, and locked in the block."""
    folder = cache_folder()
    path = folder / name
    with open(folder / f"{name.split('.')[0]}.lock", "w") as lock:
        with unlimited():
            while True:
                fcntl.flock(lock, fcntl.LOCK_EX)
                if not path.exists():
                    _make_room(folder, size, max_bytes)
                    fill(path)
                os.utime(path)
                fcntl.flock(lock, fcntl.LOCK_SH)
                if path.exists():  # between the two locks another process may have made room
                    break
        yield path


def cache_folder() -> Path:
    """The folder of the copies of remote sources; only this user may read it."""
    default = Path(tempfile.gettempdir()) / f"paha-sources-{os.getuid()}"
    folder = Path(os.environ.get("PAHA_CACHE") or default)
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    if folder.stat().st_uid != os.getuid():
        raise PermissionError(f"{folder} belongs to somebody else: set PAHA_CACHE")
    return folder


def _fetch(source: RemoteFile, path: Path) -> None:
    part = path.with_name(path.name + PART)
    try:
        with asking(source.url):
            fs, remote = fsspec.core.url_to_fs(source.url)
            fs.get_file(remote, str(part))
        if part.stat().st_size != source.size:
            raise TransientError("the source changed while it was fetched")
        os.replace(part, path)
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise
        raise TransientError(f"the source can't be fetched: {error.strerror or error}") from None
    except UserError as error:
        raise TransientError(f"the source can't be fetched: {error}") from None
    finally:
        part.unlink(missing_ok=True)


def _make_room(folder: Path, needed: int, max_bytes: int) -> None:
    """Remove unfinished files of killed processes, then the least recently used ones."""
    copies = []
    for path in folder.iterdir():
        if path.suffix != ".lock":
            with suppress(FileNotFoundError):  # another process makes room as well
                stat = path.stat()
                copies.append((path.suffix != PART, stat.st_mtime, stat.st_size, path))
    total = sum(size for whole, _, size, _ in copies if whole)
    for whole, _, size, path in sorted(copies):
        if whole and total + needed <= max_bytes:
            return
        with open(folder / f"{path.name.split('.')[0]}.lock", "w") as lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                continue  # in use
            path.unlink(missing_ok=True)
            total -= size if whole else 0
