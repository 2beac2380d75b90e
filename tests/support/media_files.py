"""Media files for tests, made by ffmpeg."""

from __future__ import annotations

from pathlib import Path

from paha_core.media.ffmpeg import file_url, run


def ffmpeg(*arguments: str | int | Path) -> None:
    """Run ffmpeg; paths may hold anything."""
    run([file_url(a) if isinstance(a, Path) else str(a) for a in arguments])
