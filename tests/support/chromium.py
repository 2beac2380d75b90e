"""A real Chromium for tests of pages; they are skipped where none is installed."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest

LIMIT = 240_000  # ms; only a hang is to be caught, and machines that test are busy
MEDIA = (  # sound without a device, and no video that Chromium itself refuses or suspends
    "--mute-audio",
    "--autoplay-policy=no-user-gesture-required",
    "--disable-background-media-suspend",
    "--disable-backgrounding-occluded-windows",
    "--disable-renderer-backgrounding",
    "--use-fake-device-for-media-stream",  # a test picture and a beep
    "--use-fake-ui-for-media-stream",
)


@contextmanager
def chromium() -> Iterator[Any]:
    """A running browser, for one module of tests: asyncio.run is refused while it runs."""
    api = pytest.importorskip("playwright.sync_api", reason="needs playwright")
    executable = shutil.which("chromium")
    if executable is None:
        pytest.skip("no chromium is installed")
    with api.sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=executable, args=["--no-sandbox", *MEDIA], timeout=LIMIT
        )
        yield browser
        browser.close()


def open_page(browser: Any, **options: Any) -> Any:
    """A page in a profile of its own; `page.context.close()` ends both."""
    context = browser.new_context(**options)
    context.set_default_timeout(LIMIT)
    return context.new_page()
