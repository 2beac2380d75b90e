"""A chat service on loopback that takes alerts."""

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer
from socketserver import BaseServer
from typing import Any


@contextmanager
def serving(server: BaseServer) -> Iterator[int]:
    """The server's port, while it answers."""
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield server.server_address[1]
    finally:
        server.shutdown()
        server.server_close()


@contextmanager
def chat() -> Iterator[tuple[str, list[dict[str, Any]]]]:
    """The URL of its webhook, and what was posted there."""
    received: list[dict[str, Any]] = []

    class Chat(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            received.append(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))
            self.send_response(200)
            self.end_headers()

        def log_message(self, *_: object) -> None:
            """Silent."""

    with serving(HTTPServer(("127.0.0.1", 0), Chat)) as port:
        yield f"http://127.0.0.1:{port}/hook", received
