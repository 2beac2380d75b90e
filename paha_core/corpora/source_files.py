"""Where source videos lie: a local folder or any fsspec URL, found by name or by a link's video id.

Names from a csv are looked up in the listing of the folder and never joined to a path. A file in an
object store is copied to a bounded local cache while it is cut.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import re
import tempfile
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from urllib.parse import parse_qs, urlsplit

import fsspec

from paha_core.stages import Rejection

_VIDEO_ID = re.compile(r"[\w-]{11}")  # YouTube's
_ID_IN_STEM = re.compile(r"(?:^|[-\[ ])([\w-]{11})\]?$")  # `Title-ID`, `Title [ID]` or `ID`


@dataclass(frozen=True, order=True)
class RemoteFile:
    """A source video in an object store."""

    url: str
    size: int  # bytes
    stamp: str  # changes with the content: made of ETag, size and time

    @property
    def name(self) -> str:
        return PurePosixPath(self.url).name

    @property
    def stem(self) -> str:
        return PurePosixPath(self.url).stem


SourceFile = Path | RemoteFile


def is_remote(folder: str | Path) -> bool:
    return "://" in str(folder) and not str(folder).startswith("file://")


def list_sources(folder: str | Path) -> list[SourceFile]:
    """Every visible file of the folder and its subfolders, in order of its path.

    Raises `FileNotFoundError` when there is no such folder.
    """
    if not is_remote(folder):
        root = Path(str(folder).removeprefix("file://"))
        if not root.is_dir():
            raise FileNotFoundError(f"no folder of source videos at {folder}")
        paths = (p for p in root.rglob("*") if _visible(p.relative_to(root).parts))
        return [p for p in sorted(paths) if p.is_file()]
    fs, root_path = fsspec.core.url_to_fs(str(folder))
    if not fs.isdir(root_path):
        raise FileNotFoundError(f"no folder of source videos at {folder}")
    skip = len(root_path.rstrip("/")) + 1
    return [
        RemoteFile(fs.unstrip_protocol(path), int(info["size"] or 0), _stamp(info))
        for path, info in sorted(fs.find(root_path, detail=True).items())
        if _visible(PurePosixPath(path[skip:]).parts)
    ]


def relative_parts(file: SourceFile, folder: str | Path) -> tuple[str, ...]:
    """The names of the folders below `folder` that lead to a file of it, and the file's."""
    if isinstance(file, Path):
        return file.relative_to(str(folder).removeprefix("file://")).parts
    fs, root = fsspec.core.url_to_fs(str(folder))
    _, path = fsspec.core.url_to_fs(file.url)
    return PurePosixPath(path[len(root.rstrip(fs.sep)) + 1 :]).parts


def _visible(parts: tuple[str, ...]) -> bool:
    return not any(part.startswith(".") for part in parts)


def _stamp(info: dict[str, object]) -> str:
    keys = ("ETag", "etag", "md5Hash", "size", "LastModified", "last_modified", "mtime", "created")
    return hashlib.sha256(repr([info.get(key) for key in keys]).encode()).hexdigest()


# --- finding -------------------------------------------------------------------------------------


def find_sources(
    wanted: Iterable[tuple[str, str]], files: Iterable[SourceFile]
) -> dict[tuple[str, str], SourceFile]:
    """The file of each (file name, link), by full name, else by stem, else by the video's id.

    The extension counts last, because a download may have another than the list says.
    """
    by_name: dict[str, SourceFile] = {}
    by_stem: dict[str, SourceFile] = {}
    by_id: dict[str, SourceFile] = {}
    for file in files:
        by_name.setdefault(file.name, file)
        by_stem.setdefault(file.stem, file)
        by_id.setdefault(id_in_name(file.name) or file.stem, file)
    found = {}
    for name, link in set(wanted):
        video = video_id(link) or id_in_name(name)
        stem = PurePosixPath(name).stem
        for index, key in ((by_name, name), (by_stem, stem), (by_id, video)):
            if key in index:
                found[name, link] = index[key]
                break
    return found


def video_id(link: str) -> str:
    """The id of the video that a link leads to: YouTube's, or else the last part of the path."""
    parts = urlsplit(link.strip())
    last = re.split(r"[/:]", parts.path.rstrip("/"))[-1]
    if (parts.hostname or "").removeprefix("www.").removeprefix("m.") in (
        "youtube.com",
        "youtu.be",
        "youtube-nocookie.com",
    ):
        candidate = parse_qs(parts.query).get("v", [last])[0]
        return candidate if _VIDEO_ID.fullmatch(candidate) else ""
    return PurePosixPath(last).stem if parts.hostname else ""


def id_in_name(name: str) -> str:
    """The YouTube id at the end of a file name, as downloaders leave it there, or nothing."""
    match = _ID_IN_STEM.search(PurePosixPath(name).stem)
    return match[1] if match else ""


# --- a local copy --------------------------------------------------------------------------------


@contextmanager
def local_file(source: SourceFile, max_bytes: int) -> Iterator[Path]:
    """A local path of `source`, valid inside the block: itself, or a copy in the cache.

    The cache (`PAHA_CACHE`, or a folder beside temporary files) holds at most `max_bytes`; what was
    not used for longest goes first, what a process is using never. Raises `Rejection` when the
    source can't be fetched or is larger than the whole cache.
    """
    if isinstance(source, Path):
        yield source
        return
    if source.size > max_bytes:
        raise Rejection(f"the source is larger than the cache of {max_bytes} bytes")
    folder = cache_folder()
    key = hashlib.sha256(f"{source.url}\n{source.stamp}".encode()).hexdigest()[:32]
    path = folder / (key + PurePosixPath(source.url).suffix[:8])
    with open(folder / f"{key}.lock", "w") as lock:
        while True:
            fcntl.flock(lock, fcntl.LOCK_EX)
            if not path.exists():
                _make_room(folder, source.size, max_bytes)
                _fetch(source, path)
            os.utime(path)
            fcntl.flock(lock, fcntl.LOCK_SH)
            if path.exists():  # between the two locks another process may have made room
                break
        yield path


def cache_folder() -> Path:
    """Where copies of remote sources lie; only this user may read it."""
    default = Path(tempfile.gettempdir()) / f"paha-sources-{os.getuid()}"
    folder = Path(os.environ.get("PAHA_CACHE") or default)
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    if folder.stat().st_uid != os.getuid():
        raise PermissionError(f"{folder} belongs to somebody else: set PAHA_CACHE")
    return folder


def _fetch(source: RemoteFile, path: Path) -> None:
    part = path.with_name(path.name + ".part")
    try:
        fs, remote = fsspec.core.url_to_fs(source.url)
        fs.get_file(remote, str(part))
        if part.stat().st_size != source.size:
            raise Rejection("the source changed while it was fetched")
        os.replace(part, path)
    except OSError as error:
        raise Rejection(f"the source can't be fetched: {error.strerror or error}") from None
    finally:
        part.unlink(missing_ok=True)


def _make_room(folder: Path, needed: int, max_bytes: int) -> None:
    files = [p for p in folder.iterdir() if p.suffix not in (".lock", ".part")]
    oldest = sorted((p.stat().st_mtime, p.stat().st_size, p) for p in files)
    total = sum(size for _, size, _ in oldest)
    for _, size, path in oldest:
        if total + needed <= max_bytes:
            return
        with open(folder / f"{path.stem}.lock", "w") as lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                continue  # in use
            path.unlink(missing_ok=True)
            total -= size
