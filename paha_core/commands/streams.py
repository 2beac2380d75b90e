"""Streams of `paha generate`: to a pipe or a growing file, of a voice from a file or a pipe."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from paha_core.engine.progress import Progress
from paha_core.errors import StageError

if TYPE_CHECKING:
    from paha_core.inference.pipeline import PahaPipeline, Settings
    from paha_core.inference.video_file import Request

PIPE = Path("-")  # standard output, or input


@contextmanager
def open_sink(target: Path) -> Iterator[Callable[[bytes], object]]:
    """A function that writes a stream's bytes without buffering. Raises `StageError` for a
    terminal, for a file that exists, and when the reader of the pipe is gone."""
    if target != PIPE:
        if target.exists():
            raise StageError(f"{target} exists: choose another name for the stream")
        with target.open("wb", buffering=0) as file:
            yield file.write
        return
    if sys.stdout.isatty():
        raise StageError("a video is not shown in a terminal: add | ffplay -, or > video.mp4")
    out = sys.stdout.buffer

    def write(data: bytes) -> None:
        out.write(data)
        out.flush()

    try:
        yield write
    except BrokenPipeError as error:
        raise StageError("the reader of the stream has closed it") from error


def stream_alone(opened: Callable[[], tuple[PahaPipeline, Settings]], request: Request) -> None:
    """The video of a picture and a voice to standard output: no file and no sidecar."""
    from paha_core.inference.stream import stream_video

    request.check_inputs()
    with open_sink(PIPE) as sink, Progress(0, "generate", "segment", every=5.0) as progress:
        pipeline, settings = opened()
        stream_video(pipeline, replace(request, settings=settings), sink, progress.reach)


def stream_spoken(
    opened: Callable[[], tuple[PahaPipeline, Settings]],
    image: Path,
    size: int | None,
    mark: bool,
) -> None:
    """The video of the voice on standard input, as it is spoken, to standard output."""
    from paha_core.inference.stream import read_pcm, stream_live

    if sys.stdin.isatty():
        raise StageError("--audio - reads 16-bit mono PCM at 16 kHz from a pipe")
    if not image.is_file():
        raise FileNotFoundError(f"no file {image}")
    with open_sink(PIPE) as sink, Progress(0, "generate", "segment", every=5.0) as progress:
        pipeline, settings = opened()
        stream_live(
            pipeline,
            image,
            read_pcm(sys.stdin.buffer),
            settings,
            sink,
            size=size,
            mark=mark,
            on_segment=progress.reach,
        )
