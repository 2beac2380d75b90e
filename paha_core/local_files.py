"""Local files that appear whole or not at all."""

from __future__ import annotations

import fcntl
import hashlib
import os
import re
import shutil
import tempfile
import uuid
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext, suppress
from pathlib import Path

PART = ".part"  # ending of a file of the host's cache that is being fetched
LONGEST_NAME = 255  # bytes, on every common file system
LONGEST_ENDING = 16  # characters that still say what a file is
UNFINISHED = re.compile(r"\.[0-9a-f]{8}\.(tmp|old)(?=[./]|$)")  # what a kill may leave behind


def local_versions(root: str, folder: str, start: str) -> dict[str, str]:
    """The finished files of `folder` whose path there begins with `start`, relative to `root`, each
    with a text that changes whenever it is written."""
    found = {}
    for top, folders, files in os.walk(folder):
        if top == folder:
            folders[:] = [name for name in folders if name.startswith(start)]
            files = [name for name in files if name.startswith(start)]
        for name in files:
            with suppress(FileNotFoundError):  # replaced just now
                path = os.path.join(top, name)
                stat, rel = Path(path).stat(), os.path.relpath(path, root)
                found[rel] = f"{stat.st_mtime_ns}-{stat.st_size}-{stat.st_ino}"
    return {rel: version for rel, version in found.items() if not UNFINISHED.search(rel)}


def flush(folder: Path) -> None:
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
    path = beside(target, "tmp" + ending(target))
    path.parent.mkdir(parents=True, exist_ok=True)
    try:
        yield path
    finally:
        path.unlink(missing_ok=True)


def beside(target: str | Path, kind: str) -> Path:
    """A hidden name in the same folder: as good as absent for a listing. A long name is cut, so
    that every possible name has one beside it."""
    target, mark = Path(target), f".{uuid.uuid4().hex[:8]}.{kind}"
    room = LONGEST_NAME - len(os.fsencode(f".{mark}"))
    name = os.fsencode(target.name)[:room].decode(errors="ignore")
    return target.with_name(f".{name}{mark}")


def ending(path: str | Path) -> str:
    """The suffix of a path; both where there are two: `.wav.json`. What stands behind a dot in a
    sentence is none."""
    last = [each if len(each) <= LONGEST_ENDING else "" for each in Path(path).suffixes[-2:]]
    return "".join(last)


@contextmanager
def shared_on_host(key: str, fill: Callable[[Path], None]) -> Iterator[Path]:
    """A folder with what `fill` puts there, the same for all of this user's processes on this host
    that are in the block with that key; the last one to leave removes it.

    Raises what `fill` raises; the next process then tries.
    """
    top = Path(tempfile.gettempdir()) / f"paha-shared-{os.getuid()}"
    top.mkdir(mode=0o700, exist_ok=True)
    folder = top / hashlib.sha256(key.encode()).hexdigest()[:32]
    with open(f"{folder}.lock", "a") as lock:
        fcntl.flock(lock, fcntl.LOCK_SH)
        while not folder.exists():
            fcntl.flock(lock, fcntl.LOCK_EX)
            if not folder.exists():
                temporary = beside(folder, "tmp")
                temporary.mkdir()
                try:
                    fill(temporary)
                    os.replace(temporary, folder)
                finally:
                    shutil.rmtree(temporary, ignore_errors=True)
            fcntl.flock(lock, fcntl.LOCK_SH)  # not in one piece: another may have removed it
        try:
            yield folder
        finally:
            with suppress(BlockingIOError):  # others still read it
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                shutil.rmtree(folder, ignore_errors=True)


@contextmanager
def kept_on_host(
    folder: Path,
    name: str,
    size: int,
    max_bytes: int,
    fill: Callable[[Path], object],
    waiting: Callable[[], AbstractContextManager[None]] = nullcontext,
) -> Iterator[Path]:
    """The file `name` of a bounded cache, made by `fill` unless it is there, locked in the block.

    The folder holds at most `max_bytes`: to make room for `size` bytes, the least recently used
    files are removed, files in use never. `waiting` is the context of the download and of waiting
    for another process' download.
    """
    path = folder / name
    with open(folder / f"{name.split('.')[0]}.lock", "w") as lock:
        with waiting():
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


def cache_folder(part: str = "") -> Path:
    """The folder of the copies of remote files (`PAHA_CACHE`, or one beside temporary files); only
    this user may read it. A `part` of it is bounded by itself."""
    default = Path(tempfile.gettempdir()) / f"paha-sources-{os.getuid()}"
    folder = Path(os.environ.get("PAHA_CACHE") or default)
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    if folder.stat().st_uid != os.getuid():
        raise PermissionError(f"{folder} belongs to somebody else: set PAHA_CACHE")
    if part:
        folder = folder / part
        folder.mkdir(exist_ok=True)
    return folder


def _make_room(folder: Path, needed: int, max_bytes: int) -> None:
    """Remove unfinished files of killed processes, then the least recently used ones."""
    copies = []
    for path in folder.iterdir():
        if path.suffix != ".lock" and not path.is_dir():
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
