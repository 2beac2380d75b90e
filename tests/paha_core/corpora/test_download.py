"""The downloader against a server on this machine: resuming, giving up, and the ledger of it."""

from __future__ import annotations

import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import numpy as np
import pytest

from paha_core.corpora.download import (
    LEDGER,
    DownloadError,
    DownloadSettings,
    Wanted,
    download_videos,
    wanted_videos,
)
from paha_core.corpora.intervals import PatsInterval
from paha_core.media.encode import write_video
from paha_core.store import Store

pytest.importorskip("yt_dlp")

SETTINGS = DownloadSettings(pause=0, retries=0, timeout=120)


class Site(ThreadingHTTPServer):
    """Serves `files` with ranges; `broken` ones stop halfway, `private` ones need a cookie."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.files: dict[str, bytes] = {}
        self.broken: set[str] = set()
        self.private: set[str] = set()
        self.asked: list[tuple[str, str]] = []  # path, range

    def link(self, path: str) -> str:
        return f"http://127.0.0.1:{self.server_port}{path}"


class Handler(BaseHTTPRequestHandler):
    server: Site

    def do_GET(self) -> None:
        site, path = self.server, self.path
        span = self.headers.get("Range", "")
        site.asked.append((path, span))
        if path not in site.files:
            return self.send_error(404)
        if path in site.private and "key=1" not in self.headers.get("Cookie", ""):
            return self.send_error(403)
        data = site.files[path]
        first = int(span.removeprefix("bytes=").split("-")[0]) if span else 0
        self.send_response(206 if span else 200)
        if span:
            self.send_header("Content-Range", f"bytes {first}-{len(data) - 1}/{len(data)}")
        self.send_header("Content-Type", "video/mp4")
        self.send_header("Content-Length", str(len(data) - first))
        self.end_headers()
        # a look at the page reads a little, the download all of it
        stop = len(data) // 2 if path in site.broken else len(data)
        self.wfile.write(data[first : max(first, stop)])
        return None

    def do_HEAD(self) -> None:
        self.send_error(405)

    def log_message(self, *_: object) -> None: ...


@pytest.fixture
def site():
    with Site() as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield server
        server.shutdown()


@pytest.fixture(scope="module")
def film(tmp_path_factory) -> bytes:
    path = tmp_path_factory.mktemp("film") / "film.mp4"
    noise = np.random.default_rng(0).integers(0, 255, (50, 128, 128, 3), dtype=np.uint8)
    write_video(path, noise, crf=4)
    return path.read_bytes()


def ledger(folder: Path) -> list[dict]:
    return Store(str(folder)).read_table(LEDGER).to_pylist()


def test_every_video_has_its_outcome(tmp_path, site, film):
    site.files = {"/a.mp4": film, "/b": film, "/junk.mp4": b"junk" * 999, "/secret.mp4": film}
    site.private = {"/secret.mp4"}
    wanted = [
        Wanted("It's 100% #1, a talk.webm", "ada", site.link("/a.mp4")),
        Wanted("b.mp4", "ada", site.link("/b")),
        Wanted("lost.mp4", "ben", site.link("/lost.mp4")),
        Wanted("junk.mp4", "ben", site.link("/junk.mp4")),
        Wanted("secret.mp4", "ben", site.link("/secret.mp4")),
        Wanted("../up.mp4", "ben", site.link("/a.mp4")),
        Wanted("local.mp4", "ben", "file:///etc/hostname"),
        Wanted("here.mp4", "ben", site.link("/a.mp4")),
    ]
    folder = tmp_path / "videos"
    folder.mkdir()
    (folder / "here.mp4").write_bytes(film)
    result = download_videos(wanted, folder, SETTINGS)
    rows = ledger(folder)
    assert [(r["video"], r["outcome"]) for r in rows] == [
        ("It's 100% #1, a talk.webm", "downloaded"),
        ("b.mp4", "downloaded"),
        ("lost.mp4", "gone"),
        ("junk.mp4", "failed"),
        ("secret.mp4", "failed"),
        ("../up.mp4", "refused"),
        ("local.mp4", "refused"),
    ]
    assert (folder / "It's 100% #1, a talk.mp4").read_bytes() == film
    assert (rows[0]["file"], rows[0]["bytes"]) == ("It's 100% #1, a talk.mp4", len(film))
    for row, words in zip(
        rows[2:], ("404", "not a video", "403", "plain name", "no link"), strict=True
    ):
        assert words in row["reason"]
    assert (result.here, result.left, len(result.attempts)) == (1, 0, 7)
    visible = sorted(p.name for p in folder.iterdir() if not p.name.startswith("."))
    assert visible == ["It's 100% #1, a talk.mp4", "b.mp4", LEDGER, "here.mp4"]
    assert not (tmp_path / "up.mp4").exists()

    # a second run asks for nothing but what may come now
    site.asked.clear()
    cookies = tmp_path / "cookies.txt"
    line = "127.0.0.1\tFALSE\t/\tFALSE\t0\tkey\t1\n"
    cookies.write_text("# Netscape HTTP Cookie File\n" + line)
    again = download_videos(
        wanted, folder, DownloadSettings(pause=0, retries=0, timeout=120, cookies=cookies)
    )
    assert {path for path, _ in site.asked} == {"/junk.mp4", "/secret.mp4"}
    assert (again.here, again.left) == (3, 3)
    last = {r["video"]: (r["attempt"], r["outcome"]) for r in ledger(folder)}
    assert last["secret.mp4"] == (2, "downloaded")
    assert last["junk.mp4"] == (2, "failed")
    assert last["lost.mp4"] == (1, "gone")

    site.files["/lost.mp4"] = film
    third = download_videos(
        wanted, folder, DownloadSettings(pause=0, retries=0, timeout=120, retry_gone=True)
    )
    assert {r["video"]: r["outcome"] for r in third.attempts}["lost.mp4"] == "downloaded"
    assert len(ledger(folder)) == 7 + 2 + len(third.attempts)


def test_a_broken_download_resumes(tmp_path, site, film):
    site.files, site.broken = {"/a.mp4": film}, {"/a.mp4"}
    wanted = [Wanted("a.mp4", "ada", site.link("/a.mp4"))]
    assert download_videos(wanted, tmp_path, SETTINGS).count("failed") == 1
    assert not (tmp_path / "a.mp4").exists()
    site.broken.clear()
    site.asked.clear()
    assert download_videos(wanted, tmp_path, SETTINGS).count("downloaded") == 1
    assert (tmp_path / "a.mp4").read_bytes() == film
    first = max(int(span.removeprefix("bytes=").strip("-") or 0) for _, span in site.asked)
    assert 0 < first <= len(film) // 2  # what had come was not asked for again
    assert [r["attempt"] for r in ledger(tmp_path)] == [1, 2]


def test_too_large_a_video(tmp_path, site, film):
    site.files = {"/a.mp4": film}
    small = DownloadSettings(pause=0, retries=0, max_bytes=1000)
    result = download_videos([Wanted("a.mp4", "ada", site.link("/a.mp4"))], tmp_path, small)
    assert "larger than 1000 bytes" in result.attempts[0]["reason"]
    assert [p.name for p in tmp_path.glob("*.*") if p.is_file()] == [LEDGER]


def test_no_cookies_file(tmp_path):
    with pytest.raises(DownloadError, match="no cookies file"):
        download_videos([], tmp_path, DownloadSettings(cookies=tmp_path / "none"))


def test_each_video_once():
    def of(id: str, video: str, speaker: str = "ada") -> PatsInterval:
        return PatsInterval(speaker, video, id, 0, 5, "train", link=f"http://x/{video}")

    intervals = [of("cmu01", "a"), of("2", "a"), of("3", "b"), of("4", "c", "ben")]
    assert [w.video for w in wanted_videos(intervals)] == ["a", "b", "c"]
    assert [w.video for w in wanted_videos(intervals, {"1", "4"})] == ["a", "c"]
    assert [w.video for w in wanted_videos(intervals, None, {"ben"})] == ["c"]
