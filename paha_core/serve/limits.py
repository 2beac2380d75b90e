"""Limits of requests: authorisation, bytes, and time without data."""

from __future__ import annotations

import asyncio
import base64
import hmac
import ipaddress
from dataclasses import dataclass

from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send


@dataclass(frozen=True)
class Limits:
    """`body_bytes`: of a whole request, `open_bytes` of all that are being received or read, which
    are held in memory. `seconds`: of a voice; a longer one is cut. `idle_seconds`:
    without a byte from a client that sends. `body_seconds`: of a whole request, however it drips.
    `capacity`: videos that may wait. `keep_hours`: how long a finished video is kept."""

    body_bytes: int = 64 << 20
    open_bytes: int = 512 << 20
    seconds: float = 60.0
    idle_seconds: float = 30.0
    body_seconds: float = 300.0
    capacity: int = 16
    keep_hours: float = 24.0


class _Refused(Exception):
    """A request whose body is not received to its end."""

    def __init__(self, response: JSONResponse) -> None:
        self.response = response


class Guard:
    """ASGI middleware: a token where one is set, a limit of bytes, and of the time they take."""

    open_paths = ("/healthz",)

    def __init__(self, app: ASGIApp, limits: Limits, token: str = "") -> None:
        self.app, self.limits, self.token = app, limits, token
        self.open = 0  # bytes of the bodies of all present requests

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        headers = {key.lower(): value for key, value in scope["headers"]}
        if not self._allowed(scope["path"], headers.get(b"authorization", b"")):
            refusal = _refusal(401, "a token is needed: Authorization: Bearer …")
            refusal.headers["WWW-Authenticate"] = 'Basic realm="PAHA"'  # a browser asks for it
            await refusal(scope, receive, send)
            return
        if self._from_elsewhere(headers):
            refusal = _refusal(403, "another site's page may not use this server")
            await refusal(scope, receive, send)
            return
        length = headers.get(b"content-length", b"0")
        if not length.isdigit() or int(length) > self.limits.body_bytes:
            await self._too_large()(scope, receive, send)
            return
        received, begun = 0, False
        now = asyncio.get_running_loop().time
        deadline = now() + self.limits.body_seconds

        async def counted() -> Message:
            nonlocal received
            patience = min(self.limits.idle_seconds, deadline - now())
            message = await asyncio.wait_for(receive(), patience)
            size = len(message.get("body", b""))
            received, self.open = received + size, self.open + size
            if received > self.limits.body_bytes:
                raise _Refused(self._too_large())
            if self.open > self.limits.open_bytes:
                raise _Refused(_busy())
            return message

        async def noted(message: Message) -> None:
            nonlocal begun
            begun = True
            await send(message)

        try:
            takes_body = scope["method"] in ("POST", "PUT", "PATCH")
            await self.app(scope, counted if takes_body else receive, noted)
        except (_Refused, TimeoutError) as error:
            if begun:
                raise
            refusal = error.response if isinstance(error, _Refused) else self._too_slow()
            await refusal(scope, receive, send)
        finally:
            self.open -= received

    def _allowed(self, path: str, given: bytes) -> bool:
        if not self.token or path in self.open_paths:
            return True
        kind, _, value = given.partition(b" ")
        if kind.lower() == b"basic":  # the token as the password, with any name
            value = _decoded(value).partition(b":")[2]
        return hmac.compare_digest(value, self.token.encode())

    def _from_elsewhere(self, headers: dict[bytes, bytes]) -> bool:
        """Whether a page of another site sends a request through the user's browser. Without a
        token only this machine's own names are answered to: a stranger's domain may point here."""
        host = headers.get(b"host", b"").decode("latin-1")
        origin = headers.get(b"origin", b"").decode("latin-1")
        if origin and origin.partition("://")[2] != host:
            return True
        return not self.token and not is_loopback(host.rpartition(":")[0].strip("[]") or host)

    def _too_large(self) -> JSONResponse:
        return _refusal(413, f"more than {self.limits.body_bytes >> 20} MiB are refused")

    def _too_slow(self) -> JSONResponse:
        idle, whole = self.limits.idle_seconds, self.limits.body_seconds
        return _refusal(408, f"no data for {idle:g} s, or no end of it after {whole:g} s")


def _busy() -> JSONResponse:
    refusal = _refusal(429, "too many uploads at once")
    refusal.headers["Retry-After"] = "10"
    return refusal


def _decoded(value: bytes) -> bytes:
    try:
        return base64.b64decode(value, validate=True)
    except ValueError:
        return b""


def _refusal(status: int, message: str) -> JSONResponse:
    return JSONResponse({"detail": message}, status)


def is_loopback(host: str) -> bool:
    """Whether only this machine can reach that address."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
