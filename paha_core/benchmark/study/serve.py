"""The study's page on this machine: static files, and `POST answers`.

Only the page and its media are served, because the key and the answers are in the same folder.
"""

from __future__ import annotations

import json
from functools import partial
from http import HTTPStatus
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

from paha_core.benchmark.study import answers
from paha_core.benchmark.study.design import load_study

MOST = 100_000  # bytes of a request


class Handler(SimpleHTTPRequestHandler):
    """`folder`: the study's; `study`: its name, which every answer must carry."""

    def __init__(self, *args: Any, folder: Path, study: str, **more: Any) -> None:
        self.folder, self.study = folder, study
        super().__init__(*args, directory=str(folder), **more)

    def send_head(self) -> Any:
        path = unquote(urlsplit(self.path).path).lstrip("/")
        public = path in ("", "index.html") or (path.startswith("media/") and ".." not in path)
        if not public or path.endswith("/"):
            self.send_error(HTTPStatus.NOT_FOUND)
            return None
        return super().send_head()

    def do_POST(self) -> None:
        """A JSON list of answers; 200 means that they are on the disk."""
        try:
            length = int(self.headers.get("Content-Length") or 0)
            if self.path != "/answers" or not 0 < length <= MOST:
                raise ValueError("POST a list of answers to /answers")
            data = json.loads(self.rfile.read(length))
            if not isinstance(data, list):
                raise ValueError("a list of answers is wanted")
            found = [answers.checked(one) for one in data]
            if any(answer["study"] != self.study for answer in found):
                raise ValueError("these answers are of another study: reload the page")
        except ValueError as error:
            self._reply(HTTPStatus.BAD_REQUEST, str(error))
            return
        answers.append(self.folder / answers.FILE, found)
        self._reply(HTTPStatus.OK, f"{len(found)} saved")

    def _reply(self, status: HTTPStatus, message: str) -> None:
        body = json.dumps({"message": message}).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:
        """Log nothing: a log would contain the raters' addresses."""


class Server(ThreadingHTTPServer):
    """Accepts many connections at once; by default the sixth waiting one is refused."""

    request_queue_size = 128


def server(folder: Path, port: int = 0) -> Server:
    """A server of the study in `folder` on 127.0.0.1, not yet running; port 0 takes any free one.

    Raises `UserError` where there is no study.
    """
    study, _ = load_study(folder)
    handler = partial(Handler, folder=folder, study=study.name)
    return Server(("127.0.0.1", port), handler)
