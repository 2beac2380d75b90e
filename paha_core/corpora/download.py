"""Downloads PATS's source videos through yt-dlp: resumable, rate-limited, with a ledger.

    pip install paha[download]
    download_videos(wanted_videos(read_intervals("cmu_intervals_df.csv")), Path("videos"))

The ledger `<folder>/downloads.parquet` has a row for every attempt. A video that is in the folder
is not downloaded again; one that is gone for good is only retried with `retry_gone`.
"""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from pathlib import Path, PurePosixPath
from typing import Any, Literal, TypedDict, cast
from urllib.parse import urlsplit

import pyarrow as pa

from paha_core.corpora.intervals import PatsInterval, interval_number
from paha_core.corpora.names import require_plain_name
from paha_core.corpora.source_files import find_sources, list_sources, video_id
from paha_core.engine.manifest_stage import Rejection
from paha_core.engine.progress import Progress
from paha_core.errors import UserError
from paha_core.media.ffmpeg import MediaError, ffmpeg_exe
from paha_core.media.probe import probe
from paha_core.store import Store

LEDGER = "downloads.parquet"
PARTS = ".parts"  # unfinished files, which a later run resumes

DownloadOutcome = Literal["downloaded", "gone", "failed", "refused"]

LEDGER_SCHEMA = pa.schema(
    [
        ("video", pa.string()),  # the csv's file name
        ("speaker", pa.string()),
        ("link", pa.string()),
        ("attempt", pa.int32()),  # 1 for the first
        ("started", pa.timestamp("ms", tz="UTC")),
        ("seconds", pa.float64()),
        ("outcome", pa.string()),  # downloaded | gone (for good) | failed | refused (not tried)
        ("reason", pa.string()),
        ("file", pa.string()),
        ("bytes", pa.int64()),
        ("format", pa.string()),  # as yt-dlp names it
    ]
)


class LedgerRow(TypedDict):
    """A row of the ledger: one attempt."""

    video: str
    speaker: str
    link: str
    attempt: int
    started: datetime
    seconds: float
    outcome: DownloadOutcome
    reason: str
    file: str
    bytes: int
    format: str


# Errors of videos that no later attempt can download.
_GONE = re.compile(
    r"\b(?:HTTP Error (?:404|410)|private video|has been removed|no longer available|terminated"
    r"|video unavailable|does not exist|unsupported url)\b",
    re.IGNORECASE,
)


class DownloadError(UserError):
    """A download that can't start or continue; the message is one sentence."""


@dataclass(frozen=True)
class DownloadSettings:
    """Settings of the download."""

    format: str = "bv*[height<=720]+ba/b[height<=720]/b"  # yt-dlp's language
    bytes_per_second: int | None = None
    pause: float = 2.0  # seconds between two videos
    retries: int = 3  # of yt-dlp, within an attempt
    max_bytes: int = 8 << 30
    timeout: float = 30.0  # seconds without an answer
    cookies: Path | None = None  # in Netscape's format
    retry_gone: bool = False


@dataclass(frozen=True)
class Wanted:
    """One video to download."""

    video: str
    speaker: str
    link: str


@dataclass(frozen=True)
class DownloadResult:
    """What a run did: `here` were there before; `left` were not tried, being gone for good."""

    here: int
    left: int
    attempts: tuple[LedgerRow, ...]

    def count(self, outcome: DownloadOutcome) -> int:
        return sum(row["outcome"] == outcome for row in self.attempts)


def wanted_videos(
    intervals: Iterable[PatsInterval], ids: set[str] | None = None, speakers: set[str] | None = None
) -> list[Wanted]:
    """Each video of the intervals once, in order; of these interval numbers and speakers only."""
    chosen = (
        i
        for i in intervals
        if (ids is None or interval_number(i.id) in ids)
        and (speakers is None or i.speaker in speakers)
    )
    return list(dict.fromkeys(Wanted(i.video, i.speaker, i.link) for i in chosen))


def download_videos(
    wanted: Sequence[Wanted], folder: Path, settings: DownloadSettings | None = None
) -> DownloadResult:
    """Download the videos into `folder`, each under its name in the csv; every attempt, successful
    or not, is a row of the ledger there.

    Raises `DownloadError` without yt-dlp or with a cookies file that isn't there.
    """
    settings = settings or DownloadSettings()
    if settings.cookies is not None and not settings.cookies.is_file():
        raise DownloadError(f"no cookies file {settings.cookies}")
    fetch = _fetcher(settings)
    folder.mkdir(parents=True, exist_ok=True)
    ledger = Ledger(folder)
    found = find_sources(((w.video, w.link) for w in wanted), list_sources(folder))
    missing = [w for w in wanted if (w.video, w.link) not in found]
    todo = [w for w in missing if settings.retry_gone or not ledger.is_gone(w)]
    made: list[LedgerRow] = []
    with Progress(len(todo), "download", unit="video") as progress:
        for n, video in enumerate(todo):
            if n and made[-1]["outcome"] != "refused":
                time.sleep(settings.pause)
            made.append(ledger.add(video, partial(_attempt, video, folder, fetch)))
            progress.update(note=made[-1]["outcome"])
    return DownloadResult(len(wanted) - len(missing), len(missing) - len(todo), tuple(made))


class Ledger:
    """The table of all attempts in a folder of videos."""

    def __init__(self, folder: Path) -> None:
        self.store = Store(str(folder))
        there = self.store.exists(LEDGER)
        rows = self.store.read_table(LEDGER).to_pylist() if there else []
        self.rows = cast(list[LedgerRow], rows)

    def is_gone(self, video: Wanted) -> bool:
        """Whether the last attempt showed that the video is gone for good."""
        attempts = [r["outcome"] for r in self.rows if (r["video"], r["link"]) == _key(video)]
        return bool(attempts) and attempts[-1] in ("gone", "refused")

    def add(self, video: Wanted, attempt: Callable[[], dict[str, Any]]) -> LedgerRow:
        """Make the attempt and publish its row."""
        started, clock = datetime.now(UTC), time.monotonic()
        number = 1 + sum((r["video"], r["link"]) == _key(video) for r in self.rows)
        row: dict[str, Any] = {"video": video.video, "speaker": video.speaker, "link": video.link}
        row |= {"attempt": number, "started": started}
        row |= (
            {"reason": "", "file": "", "format": "", "bytes": 0}
            | attempt()
            | {"seconds": round(time.monotonic() - clock, 3)}
        )
        made = cast(LedgerRow, row)
        self.rows.append(made)
        self.store.write_table(LEDGER, pa.Table.from_pylist(self.rows, schema=LEDGER_SCHEMA))
        return made


def _key(video: Wanted) -> tuple[str, str]:
    return video.video, video.link


def _attempt(
    video: Wanted, folder: Path, fetch: Callable[[str, str, Path], tuple[Path, str]]
) -> dict[str, Any]:
    """The outcome's columns of one attempt."""
    try:
        name = require_plain_name(video.video or video_id(video.link), "video's file name")
        if urlsplit(video.link).scheme not in ("http", "https"):
            raise Rejection(f"no link to a video: {video.link!r}")
    except Rejection as reason:
        return {"outcome": "refused", "reason": str(reason)}
    try:
        path, form = fetch(video.link, PurePosixPath(name).stem, folder)
        probe(path)
    except MediaError as error:
        path.unlink(missing_ok=True)
        return {"outcome": "failed", "reason": f"the downloaded file is not a video: {error}"}
    except DownloadError as error:
        message = str(error)
        return {"outcome": "gone" if _GONE.search(message) else "failed", "reason": message}
    return {
        "outcome": "downloaded",
        "file": path.name,
        "bytes": path.stat().st_size,
        "format": form,
    }


def _fetcher(settings: DownloadSettings) -> Callable[[str, str, Path], tuple[Path, str]]:
    """`fetch(link, stem, folder) -> (file, format)`, which raises `DownloadError`."""
    try:
        import yt_dlp
    except ImportError:
        raise DownloadError(
            "downloads need yt-dlp: pip install 'paha[download]', or put the videos in the folder"
        ) from None

    def fetch(link: str, stem: str, folder: Path) -> tuple[Path, str]:
        options = {
            "format": settings.format,
            "outtmpl": {"default": stem.replace("%", "%%") + ".%(ext)s"},
            "paths": {"home": str(folder), "temp": str(folder / PARTS)},
            "continuedl": True,
            "nooverwrites": True,
            "noplaylist": True,
            "retries": settings.retries,
            "socket_timeout": settings.timeout,
            "max_filesize": settings.max_bytes,
            "ffmpeg_location": ffmpeg_exe(),
            "logger": _Quiet(),
            "noprogress": True,
            "cachedir": False,
            "merge_output_format": "mp4/mkv",
        }
        if settings.bytes_per_second:
            options["ratelimit"] = settings.bytes_per_second
        if settings.cookies:
            options["cookiefile"] = str(settings.cookies)
        try:
            with yt_dlp.YoutubeDL(options) as downloader:
                found = downloader.extract_info(link, download=True)
        except yt_dlp.utils.YoutubeDLError as error:
            raise DownloadError(_plain(str(error))) from None
        files = [d.get("filepath") for d in (found or {}).get("requested_downloads") or []]
        if not files or not files[0] or not Path(files[0]).is_file():
            limit = settings.max_bytes
            raise DownloadError(f"nothing came, or it is larger than {limit} bytes")
        return Path(files[0]), str(found.get("format_id") or "")

    return fetch


class _Quiet:
    """yt-dlp's messages: errors come as exceptions, all else is of no use here."""

    def debug(self, message: str) -> None: ...
    def info(self, message: str) -> None: ...
    def warning(self, message: str) -> None: ...
    def error(self, message: str) -> None: ...


def _plain(message: str) -> str:
    """yt-dlp's error without colours, its name for itself, and advice on where to report it."""
    text = re.sub(r"\x1b\[[0-9;]*m", "", message).removeprefix("ERROR: ")
    return re.split(r"; please report this issue on|\. Set --", text)[0].strip()[:500]
