"""Retries for object stores that do not answer: with jitter, up to a limit, then one clear error.

An outage is a lost connection, a time-out, or a server's status 429 or 5xx. Refused credentials,
missing objects and wrong requests are not, and surface at once.
"""

from __future__ import annotations

import logging
import os
import random
import socket
import time
from collections.abc import Callable, Mapping
from typing import TypeVar

from paha_core.errors import UserError

log = logging.getLogger("paha")

T = TypeVar("T")

PATIENCE = "PAHA_STORE_PATIENCE"  # environment variable: seconds to keep trying
DEFAULT_PATIENCE = 180.0
FIRST_DELAY, LONGEST_DELAY = 0.5, 20.0  # seconds between two attempts, before jitter
QUIET = 60.0  # seconds after giving up in which further calls try only once

# By name: these packages are imported by the file system that needs them.
_CONNECTION_ERRORS = {
    "botocore": {
        "ConnectionClosedError",
        "ConnectionError",
        "ConnectTimeoutError",
        "EndpointConnectionError",
        "HTTPClientError",
        "IncompleteReadError",
        "ProxyConnectionError",
        "ReadTimeoutError",
        "ResponseStreamingError",
    },
    "aiohttp": {
        "ClientConnectionError",
        "ClientConnectorError",
        "ClientOSError",
        "ClientPayloadError",
        "ServerDisconnectedError",
        "ServerTimeoutError",
    },
    "fsspec": {"FSTimeoutError"},
}
_CREDENTIAL_ERRORS = {
    "botocore": {
        "CredentialRetrievalError",
        "NoCredentialsError",
        "PartialCredentialsError",
        "ProfileNotFound",
        "TokenRetrievalError",
    },
    "google": {"DefaultCredentialsError"},
}
_gave_up: dict[str, float] = {}  # by store: when


class StoreUnavailable(UserError):
    """The store did not answer within the time limit for retries."""


def is_outage(error: BaseException | None) -> bool:
    """Whether the same call may succeed later."""
    if error is None:
        return False
    if isinstance(error, ConnectionError | TimeoutError) or _is_a(error, _CONNECTION_ERRORS):
        return True
    response = getattr(error, "response", None)  # of botocore's ClientError
    status = response.get("ResponseMetadata", {}) if isinstance(response, dict) else {}
    code = status.get("HTTPStatusCode", 0)
    return code == 429 or code >= 500 or is_outage(error.__cause__)


def _is_a(error: BaseException, names: Mapping[str, set[str]]) -> bool:
    kinds = type(error).__mro__
    return any(kind.__name__ in names.get(kind.__module__.partition(".")[0], ()) for kind in kinds)


def with_retries(call: Callable[[], T], url: str) -> T:
    """`call()`, tried again after outages for up to `PAHA_STORE_PATIENCE` seconds (180).

    Raises `StoreUnavailable` when the store still does not answer, and at once `UserError` where it
    refuses access or there are no credentials, and whatever else is no outage.
    """
    longest_wait = float(os.environ.get(PATIENCE, DEFAULT_PATIENCE))
    if time.monotonic() - _gave_up.get(url, -QUIET) < QUIET:
        longest_wait = 0.0
    started, delay = time.monotonic(), FIRST_DELAY
    failed: Exception | None = None
    while True:
        try:
            result = call()
        except Exception as error:
            if _is_a(error, _CREDENTIAL_ERRORS):
                raise UserError(
                    f"no credentials for {url} on {socket.gethostname()} ({_reason(error)}): set "
                    "them there as for any other client (environment, profile or instance role)"
                ) from error
            if isinstance(error, PermissionError):
                raise UserError(
                    f"{url} refuses access ({_reason(error)}): check the access key, its secret "
                    "and session token, the endpoint, and that the key may list, read and write "
                    "there"
                ) from error
            if not is_outage(error):
                raise
            waited = time.monotonic() - started
            if waited >= longest_wait:
                _gave_up[url] = time.monotonic()
                raise StoreUnavailable(
                    f"{url} can't be reached ({_reason(error)}), tried for {waited:.0f} s. What is "
                    "finished is kept: start the same command again once the store answers"
                ) from error
            if failed is None:
                log.warning(
                    "%s does not answer (%s): trying again for %.0f s",
                    *(url, _reason(error), longest_wait),
                )
            failed = error
            time.sleep(min(random.uniform(0, delay), max(longest_wait - waited, 0.0)))
            delay = min(2 * delay, LONGEST_DELAY)
        else:
            if failed is not None:
                log.info("%s answers again", url)
            _gave_up.pop(url, None)
            return result


def _reason(error: Exception) -> str:
    text = str(error).strip().splitlines()
    return f"{type(error).__name__}: {text[0]}" if text else type(error).__name__
