"""Source videos in a local folder or at any fsspec URL, found by name or by a link's video id.

Names from a csv are looked up in the listing of the folder and never joined to a path. A file in an
object store is copied to a bounded local cache while it is cut.
"""

from __future__ import annotations

import hashlib
import logging
import os
import re
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from urllib.parse import SplitResult, parse_qs, urlsplit

import fsspec

from paha_core.corpora.names import normalized
from paha_core.engine.manifest_stage import Rejection
from paha_core.errors import UserError
from paha_core.media import VIDEO_SUFFIXES

logger = logging.getLogger(__name__)

CLIENTS = {"aiobotocore", "aiohttp", "azure", "botocore", "gcsfs", "google", "s3fs"}
GONE = "its source is not in the folder of videos"
_VIDEO_ID = re.compile(r"[\w-]{11}")  # YouTube's
_BARE_HOST = re.compile(r"[\w-]+(\.[\w-]+)+/")
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


def is_video(name: str) -> bool:
    """Whether a file's name has a video's ending, in any case."""
    return PurePosixPath(name).suffix.lower() in VIDEO_SUFFIXES


def list_sources(folder: str | Path) -> list[SourceFile]:
    """Every visible video of the folder and its subfolders, in order of its path: files with a
    video's ending alone. Links to folders are followed, each folder once.

    Raises `FileNotFoundError` when there is no such folder, `UserError` when it can't be listed.
    """
    if not is_remote(folder):
        root = Path(str(folder).removeprefix("file://"))
        if not root.is_dir():
            raise FileNotFoundError(f"no folder of source videos at {folder}")
        return _videos(_walk(root), folder)
    with asking(folder):
        fs, root_path = fsspec.core.url_to_fs(str(folder))
        if not fs.isdir(root_path):
            raise FileNotFoundError(f"no folder of source videos at {folder}")
        skip = len(root_path.rstrip("/")) + 1
        listed = (
            RemoteFile(fs.unstrip_protocol(path), int(info["size"] or 0), _stamp(info))
            for path, info in sorted(fs.find(root_path, detail=True).items())
            if _visible(PurePosixPath(path[skip:]).parts)
        )
        return _videos(listed, folder)


def _videos(files: Iterable[SourceFile], folder: str | Path) -> list[SourceFile]:
    videos: list[SourceFile] = []
    others: Counter[str] = Counter()
    for file in files:
        if is_video(file.name):
            videos.append(file)
        else:
            others[PurePosixPath(file.name).suffix.lower() or "no ending"] += 1
    if others:
        kinds = ", ".join(f"{count} x {ending}" for ending, count in others.most_common(8))
        logger.info("%s: ignored files without a video's ending: %s", folder, kinds)
    return sorted(videos)


@contextmanager
def asking(url: object) -> Iterator[None]:
    """Turn the errors of an object store's client (no keys, no network) into a `UserError`."""
    try:
        yield
    except Exception as error:
        # Their errors have no base in common.
        if type(error).__module__.split(".")[0] not in CLIENTS:
            raise
        raise UserError(f"{url} can't be read: {error}") from error


def read_file(path: str | Path) -> bytes:
    """The content of a file at a path or fsspec URL. Raises `UserError` in words when it can't be
    read."""
    try:
        if not is_remote(path):  # a plain path may contain `::` or `#`, which are special in URLs
            return Path(str(path).removeprefix("file://")).read_bytes()
        with asking(path), fsspec.open(str(path), "rb") as file:
            data: bytes = file.read()
            return data
    except IsADirectoryError:
        raise UserError(f"{path} is a folder, not a file") from None


def _walk(root: Path) -> Iterator[Path]:
    seen: set[Path] = set()
    for folder, inner, names in os.walk(root, followlinks=True):
        real = Path(folder).resolve()
        if real in seen:
            inner.clear()
            continue
        seen.add(real)
        inner[:] = sorted(name for name in inner if _visible((name,)))
        files = (Path(folder, name) for name in names if _visible((name,)))
        yield from (file for file in files if file.is_file())


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
) -> dict[tuple[str, str], SourceFile | Rejection]:
    """The file of each (file name, link), by full name, else by stem, else by the YouTube id of the
    link; a `Rejection` where several files fit. What none fits is absent.

    The extension is compared last, because a download may have another one than the csv.
    """
    by_name: dict[str, list[SourceFile]] = defaultdict(list)
    by_stem: dict[str, list[SourceFile]] = defaultdict(list)
    by_id: dict[str, list[SourceFile]] = defaultdict(list)
    for file in files:
        by_name[normalized(file.name)].append(file)
        by_stem[normalized(file.stem)].append(file)
        by_id[id_in_name(file.name)].append(file)
    found: dict[tuple[str, str], SourceFile | Rejection] = {}
    for name, link in set(wanted):
        plain, video = normalized(name), youtube_id(link)
        stem = PurePosixPath(plain).stem if is_video(plain) else plain
        fitting = by_name.get(plain) or by_stem.get(stem) or (by_id.get(video) if video else None)
        if fitting and len(fitting) > 1:
            places = ", ".join(sorted(repr("/".join(_path(f).parts[-2:])) for f in fitting))
            found[name, link] = Rejection(f"several files fit its source: {places}")
        elif fitting:
            found[name, link] = fitting[0]
    return found


def _path(file: SourceFile) -> PurePosixPath:
    return PurePosixPath(file.url if isinstance(file, RemoteFile) else file)


def youtube_id(link: str) -> str:
    """The id of the YouTube video that a link leads to, or the id itself; or nothing."""
    if _VIDEO_ID.fullmatch(link.strip()):
        return link.strip()
    parts = _split(link)
    candidate = parse_qs(parts.query).get("v", [PurePosixPath(parts.path).name])[0]
    return candidate if _is_youtube(parts.hostname) and _VIDEO_ID.fullmatch(candidate) else ""


def video_id(link: str) -> str:
    """What a link calls its video: YouTube's id, elsewhere the last part of the path."""
    parts = _split(link)
    if youtube_id(link) or _is_youtube(parts.hostname):
        return youtube_id(link)
    return (
        PurePosixPath(re.split(r"[/:]", parts.path.rstrip("/"))[-1]).stem if parts.hostname else ""
    )


def _split(link: str) -> SplitResult:
    """The parts of a link, which may lack `https://`."""
    link = link.strip()
    return urlsplit(link if "://" in link or not _BARE_HOST.match(link) else f"https://{link}")


def _is_youtube(host: str | None) -> bool:
    domain = ".".join((host or "").split(".")[-2:])  # www., m., music.
    return domain in ("youtube.com", "youtu.be", "youtube-nocookie.com")


def id_in_name(name: str) -> str:
    """What may be a YouTube id at the end of a file name, where downloaders leave it."""
    match = _ID_IN_STEM.search(PurePosixPath(name).stem)
    return match[1] if match else ""
