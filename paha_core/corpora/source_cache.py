"""Local copies of sources in a bounded cache: fetched, or with a clock of their own."""

from __future__ import annotations

import errno
import hashlib
import os
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path, PurePosixPath

import fsspec

from paha_core.corpora.clock import TIMED, rebuild
from paha_core.corpora.source_files import GONE, RemoteFile, SourceFile, asking
from paha_core.engine.manifest_stage import Rejection, TransientError
from paha_core.engine.workers import unlimited
from paha_core.errors import UserError
from paha_core.local_files import PART, cache_folder, kept_on_host


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
    fill = partial(_fetch, source)
    with kept_on_host(cache_folder(), name, source.size, max_bytes, fill, unlimited) as path:
        yield path


@contextmanager
def timed_file(source: Path, sha256: str, max_bytes: int) -> Iterator[Path]:
    """The streams of a local file in a container with one continuous clock, from the same cache.

    Raises `MediaError` when they can't be copied there.
    """
    size = source.stat().st_size
    name = f"{sha256[:32]}{TIMED}"
    fill, room = partial(rebuild, source), max(max_bytes, size)
    with kept_on_host(cache_folder(), name, size, room, fill, unlimited) as path:
        yield path


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
