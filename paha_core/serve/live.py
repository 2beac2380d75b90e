"""A video while it is being made: one growing fragmented mp4 and its HLS playlist.

The playlist's segments are ranges of bytes of that one file, each a segment of the generation.
"""

from __future__ import annotations

import asyncio
import math
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from types import TracebackType
from typing import Self

from paha_core.inference.pipeline import PahaPipeline
from paha_core.inference.stream import StreamedCopy
from paha_core.inference.video_file import Request
from paha_core.local_files import published
from paha_core.media import FPS

STREAM, PLAYLIST = "stream.mp4", "stream.m3u8"
HLS_TYPE = "application/vnd.apple.mpegurl"
POLL = 0.1  # seconds between reads of a growing file
PIECE = 1 << 16


class LiveFiles:
    """Writes both files into the folder of `request.out`; `add` takes each segment's frames."""

    def __init__(self, pipeline: PahaPipeline, request: Request) -> None:
        self.folder = request.out.parent
        self.target = math.ceil(pipeline.preset.generation.segment_frames / FPS)
        self._entries: list[str] = []
        self._position = 0
        for name in (STREAM, PLAYLIST):  # of a process that was killed
            (self.folder / name).unlink(missing_ok=True)
        self._file = (self.folder / STREAM).open("wb", buffering=0)
        self._copy = StreamedCopy(pipeline, request, self._file.write, self._on_segment)
        self.add = self._copy.add

    def _on_segment(self, frames: int, position: int) -> None:
        span = f"{position - self._position}@{self._position}"
        if frames:
            self._entries += [f"#EXTINF:{frames / FPS:.3f},", f"#EXT-X-BYTERANGE:{span}", STREAM]
        else:
            self._entries.append(f'#EXT-X-MAP:URI="{STREAM}",BYTERANGE="{span}"')
        self._position = position
        self._write()

    def _write(self, *end: str) -> None:
        head = ["#EXTM3U", "#EXT-X-VERSION:7", f"#EXT-X-TARGETDURATION:{self.target}"]
        head += ["#EXT-X-PLAYLIST-TYPE:EVENT", "#EXT-X-INDEPENDENT-SEGMENTS"]
        with published(self.folder / PLAYLIST) as path:
            path.write_text("\n".join([*head, *self._entries, *end, ""]))

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:  # fmt: skip
        if error is None:
            self._copy.close()
            self._write("#EXT-X-ENDLIST")
        self._file.close()


async def growing(path: Path, is_finished: Callable[[], bool]) -> AsyncIterator[bytes]:
    """The bytes of a file that another thread writes, until `is_finished`."""
    while not path.exists():
        if is_finished():
            return
        await asyncio.sleep(POLL)
    with path.open("rb") as file:
        while True:
            finished = await asyncio.to_thread(is_finished)  # checked before the last read
            while data := file.read(PIECE):
                yield data
            if finished:
                return
            await asyncio.sleep(POLL)
