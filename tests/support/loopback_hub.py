"""A hub on loopback that serves FOLDER/<owner>/<name>/<file> as huggingface_hub's client expects.

`COMMIT` in FOLDER/<owner>/<name>/ names the commit. It serves ranges, and can stall in the middle
of a file.
"""

import hashlib
import json
import threading
from contextlib import suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import unquote


class Hub:
    """`with Hub(folder) as hub: hub.url`. `stall_after`: bytes after which an answer stops coming.
    `ranges`: file and first byte of every partial request."""

    def __init__(self, folder, stall_after=None):
        self.folder, self.stall_after, self.ranges = Path(folder), stall_after, []
        self.closing = threading.Event()
        hub = self

        class Handler(BaseHTTPRequestHandler):
            def log_message(self, *arguments):
                pass

            def do_HEAD(self):
                self.answer(body=False)

            def do_GET(self):
                self.answer(body=True)

            def answer(self, body):
                hub.answer(self, unquote(self.path.split("?")[0]), body)

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_port}"

    def __enter__(self):
        threading.Thread(target=self.server.serve_forever, daemon=True).start()
        return self

    def __exit__(self, *error):
        self.closing.set()
        self.server.shutdown()
        self.server.server_close()

    def commit(self, repo):
        path = self.folder / repo / "COMMIT"
        return path.read_text().strip() if path.exists() else None

    def answer(self, request, path, body):
        if path.startswith("/api/models/"):
            repo = "/".join(path.split("/")[3:5])
            if self.commit(repo) is None:
                return self.fail(request, "RepoNotFound", 404)
            return self.send(request, json.dumps({"id": repo, "sha": self.commit(repo)}).encode())
        owner, name, _, _, *rest = path.strip("/").split("/")
        file = self.folder / owner / name / "/".join(rest)
        if not file.is_file():
            return self.fail(request, "EntryNotFound", 404)
        data = file.read_bytes()
        headers = {
            "X-Repo-Commit": self.commit(f"{owner}/{name}"),
            "ETag": f'"{hashlib.sha256(data).hexdigest()}"',
            "Accept-Ranges": "bytes",
        }
        start = 0
        if span := request.headers.get("Range"):
            start = int(span.removeprefix("bytes=").split("-")[0])
            self.ranges.append((file.name, start))
            headers["Content-Range"] = f"bytes {start}-{len(data) - 1}/{len(data)}"
        status = 206 if span else 200
        return self.send(request, data[start:], status, headers, body)

    def send(self, request, data, status=200, headers=None, body=True):
        request.send_response(status)
        for key, value in (headers or {}).items():
            request.send_header(key, value)
        request.send_header("Content-Length", str(len(data)))
        request.end_headers()
        if body:
            with suppress(ConnectionError):  # a client that was killed
                request.wfile.write(data[: self.stall_after])
            if self.stall_after is not None and len(data) > self.stall_after:
                request.wfile.flush()
                self.closing.wait(300)
                request.close_connection = True

    def fail(self, request, code, status):
        request.send_response(status)
        request.send_header("X-Error-Code", code)
        request.send_header("Content-Length", "0")
        request.end_headers()
