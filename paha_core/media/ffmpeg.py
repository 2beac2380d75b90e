"""The only module that starts ffmpeg: argument lists, a time limit, plain local files.

Source files are untrusted. `safe_input` and `open_media` open them through the `file` protocol with
a list of plain demuxers, so that a playlist, a concat script or a URL disguised as `talk.mp4` can't
make ffmpeg read anything else.

    stream = safe_input("talk.mp4", ss=3.0).video.filter("fps", 25)
    run(stream.output(file_url("out.mp4"), vcodec="libx264"), timeout=60)
"""

from __future__ import annotations

import os
import re
import resource
import signal
import subprocess
import tempfile
import threading
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from functools import cache
from pathlib import Path
from typing import IO, Any

import av
import ffmpeg
import imageio_ffmpeg

from paha_core.errors import UserError

# Containers that hold media themselves. Left out on purpose: hls, concat, dash, image2, lavfi and
# others that reference other files or generate pictures.
DEMUXERS = (
    "mov,matroska,webm,avi,mpegts,mpeg,flv,asf,mxf,dv,ivf,h264,hevc,"
    "ogg,wav,w64,aiff,caf,au,mp3,flac,aac,amr,ac3,eac3,dts,wv,ape,tta"
)
INPUT_OPTIONS = {"protocol_whitelist": "file,pipe", "format_whitelist": DEMUXERS}


# Lines that follow from an earlier error and do not name its cause.
_CONSEQUENCES = (
    "Terminating thread",
    "Task finished with error",
    "Conversion failed",
    "Nothing was written",
    "Could not open encoder before EOF",
)
_OUTPUT_FAILS = re.compile(
    r"(No space left on device|Disk quota exceeded|Read-only file system|Stale file handle)"
    r"|Error (?:writing|closing|muxing|opening output|submitting a packet)[^\n]*"
    r"(Input/output error|Permission denied|File too large|No such file or directory)"
)
_MEANINGS = {
    "Cannot allocate memory": "decoding it takes more memory than ffmpeg is allowed",
    "moov atom not found": "its index is missing: the file is cut off",
    "matches no streams|does not contain any stream": "a track is missing",
    "Invalid data found when processing input": "it can't be decoded",
}


Media = str | Path | IO[bytes]  # a local file, or an open one that can seek

MEMORY = 8 << 30  # bytes of address space that one ffmpeg may take
CORES = 8  # processor seconds it may take for each second of its time limit


class MediaError(UserError):
    """A media file that can't be read or written; the message gives the reason."""


class Killed(MediaError):
    """ffmpeg was killed by another process or the kernel; the file may be fine."""


class OutputError(UserError):
    """ffmpeg's output can't be written: the disk is full or the file system is gone."""


@cache
def ffmpeg_exe() -> str:
    """Path of the ffmpeg binary inside the imageio-ffmpeg package."""
    return str(imageio_ffmpeg.get_ffmpeg_exe())


def file_url(path: str | Path) -> str:
    """`path` in a form that ffmpeg can't parse as an option or another protocol."""
    return f"file:{Path(path).absolute()}"


def safe_input(path: str | Path, **options: Any) -> Any:
    """An ffmpeg-python input of an untrusted file; `options` are ffmpeg's (`ss`, `t`, …)."""
    return ffmpeg.input(file_url(path), **INPUT_OPTIONS, **options)


def size_of(media: Media) -> int:
    """Size in bytes; an open file is rewound to its start."""
    if isinstance(media, str | Path):
        return Path(media).stat().st_size
    size = media.seek(0, os.SEEK_END)
    media.seek(0)
    return size


@contextmanager
def open_media(media: Media) -> Iterator[Any]:
    """A PyAV container of an untrusted file, with the restrictions of `safe_input`.

    Raises `MediaError` for an absent, empty or unreadable file, also when reading fails inside the
    block.
    """
    if isinstance(media, str | Path) and not Path(media).is_file():
        raise MediaError(f"no file {Path(media).name}")
    if not size_of(media):
        raise MediaError("the file is empty")
    try:
        opened = file_url(media) if isinstance(media, str | Path) else media
        with av.open(opened, options=INPUT_OPTIONS, metadata_errors="replace") as container:
            yield container
    except IndexError as error:  # PyAV's own, where damage looks like a new stream in mid-file
        raise MediaError("not a readable media file, or cut off") from error
    except av.error.FFmpegError as error:
        plain = isinstance(error, av.error.InvalidDataError | av.error.ArgumentError)
        why = "" if plain else f" ({error.strerror})"
        raise MediaError(f"not a readable media file, or cut off{why}") from error


@contextmanager
def piped(graph: Any) -> Iterator[IO[bytes]]:
    """The stdout of an ffmpeg-python graph while ffmpeg runs; it ends with the block.

    Raises `MediaError` with ffmpeg's message when it fails, also when what it wrote can't be read.
    """
    command = graph.compile(cmd=[ffmpeg_exe(), "-nostdin", "-hide_banner", "-loglevel", "error"])
    with tempfile.TemporaryFile() as errors:
        process = subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=errors
        )
        _limit(process.pid, None)
        assert process.stdout is not None
        try:
            yield process.stdout
            failed = not process.stdout.read(1) and process.wait() != 0
        except av.error.FFmpegError as error:
            failed = process.wait() != 0
            if not failed:
                raise MediaError("it can't be decoded") from error
        finally:
            process.kill()
            process.stdout.close()
            process.wait()
        if failed:
            errors.seek(0)
            raise _failure(errors.read().decode(errors="replace"), process.returncode)


def run(
    graph: Any, *, timeout: float | None = 600.0, stdin: Iterable[bytes] | None = None
) -> bytes:
    """Run an ffmpeg-python graph (or a list of arguments) and return its stdout.

    `stdin` is written piece by piece; an exception from it stops ffmpeg and propagates. Raises
    `MediaError` with ffmpeg's message when it fails or takes longer than `timeout` s (None: no
    limit, for work whose length is the user's), `OutputError` when it can't write.
    """
    quiet = [ffmpeg_exe(), *([] if stdin is not None else ["-nostdin"])]
    quiet += ["-hide_banner", "-loglevel", "error", "-y"]
    command = quiet + list(graph) if isinstance(graph, list) else graph.compile(cmd=quiet)
    # stderr goes to a file: a pipe that is not read while stdin is written could block both.
    with tempfile.TemporaryFile() as errors:
        process = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL if stdin is None else subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=errors,
        )
        _limit(process.pid, timeout)
        late = threading.Event()

        def stop() -> None:
            late.set()
            process.kill()

        timer = threading.Timer(timeout or 0, stop)
        if timeout is not None:
            timer.start()
        try:
            if stdin is not None:
                _feed(process, stdin)
            output = process.stdout.read() if process.stdout else b""
            code = process.wait()
        finally:
            timer.cancel()
            if process.poll() is None:
                process.kill()
                process.wait()
            if process.stdout:
                process.stdout.close()
        if late.is_set():
            raise MediaError(f"ffmpeg took longer than {timeout:g} s")
        if code == -signal.SIGKILL:
            raise Killed("ffmpeg was killed: perhaps memory ran out")
        if code != 0:
            errors.seek(0)
            raise _failure(errors.read().decode(errors="replace"), code)
        return output


def _limit(pid: int, timeout: float | None) -> None:
    """Limit memory and processor time of one ffmpeg process, so that a hostile file can't exhaust
    the machine. Linux only. The CPU limit also holds after the parent process has died.
    """
    if not hasattr(resource, "prlimit"):
        return
    with suppress(ProcessLookupError):  # it may have ended already
        _lower(pid, resource.RLIMIT_AS, min(MEMORY, _machine_memory()))
        if timeout is not None:
            _lower(pid, resource.RLIMIT_CPU, int(timeout * CORES) + 1)


def _lower(pid: int, kind: int, limit: int) -> None:
    """Set a limit, never above the one that the process has inherited."""
    _, hard = resource.prlimit(pid, kind)
    if hard != resource.RLIM_INFINITY:
        limit = min(limit, hard)
    resource.prlimit(pid, kind, (limit, limit))


@cache
def _machine_memory() -> int:
    """Bytes of memory of this machine, or of this container where that has less."""
    total = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    with suppress(OSError, ValueError):  # no such limit: `max`
        total = min(total, int(Path("/sys/fs/cgroup/memory.max").read_text()))
    return total


def _feed(process: subprocess.Popen[bytes], pieces: Iterable[bytes]) -> None:
    assert process.stdin is not None
    try:
        for piece in pieces:
            process.stdin.write(piece)
        process.stdin.close()
    except BrokenPipeError:  # ffmpeg ended early; its exit code and stderr have the reason
        pass


def _failure(stderr: str, code: int) -> UserError:
    """The error for ffmpeg's exit code and messages."""
    fails = _OUTPUT_FAILS.search(stderr)
    if fails:
        return OutputError(f"ffmpeg can't write its output: {fails[1] or fails[2]}")
    if code < 0:
        return MediaError(f"ffmpeg crashed on it ({signal.Signals(-code).name})")
    for pattern, message in _MEANINGS.items():
        if re.search(pattern, stderr):
            return MediaError(message)
    lines = [re.sub(r"\[[^]]* @ 0x[0-9a-f]+\] ?", "", line).strip() for line in stderr.splitlines()]
    causes = [line for line in lines if line and not any(text in line for text in _CONSEQUENCES)]
    return MediaError(causes[-1] if causes else f"ffmpeg ended with code {code}")
