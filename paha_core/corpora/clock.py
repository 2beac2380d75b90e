"""Sources with unusable timestamps: containers without any, and spliced recordings.

AVI and Ogg count frames and samples instead of storing times, so that a seek lands picture and
sound apart. Transport and program streams that were cut together, or whose recorder restarted, jump
from one clock to another. Copied once from beginning to end into a container with times, both read
like any other file; nothing is encoded again.
"""

from __future__ import annotations

from pathlib import Path

import ffmpeg

from paha_core.media.ffmpeg import Media, file_url, open_media, run, safe_input
from paha_core.media.streams import stream_indices, video_stream
from paha_core.store import published

UNTIMED = frozenset({"avi", "ogg"})  # ffmpeg's names of containers
SPLICED = frozenset({"mpegts", "mpeg"})
JUMP = 1.0  # seconds between packets beyond which the clock has jumped, or footage is lost
TIMED = ".timed.mkv"


def container_of(path: Media) -> str:
    """Ffmpeg's name of the container of a file, or of an open one. Raises `MediaError` for none."""
    with open_media(path) as container:
        return str(container.format.name)


def clock_breaks(path: str | Path) -> list[float]:
    """Where a stream's clock jumps, in seconds of continuous time from its beginning.

    All packets of the picture are read, none is decoded.
    """
    breaks: list[float] = []
    elapsed, last, interval = 0.0, None, 0.0
    with open_media(path) as container:
        for packet in container.demux(video_stream(container)):
            if packet.dts is None:
                continue
            time = float(packet.dts * packet.time_base)
            step = interval if last is None else time - last
            if last is not None and abs(step) > JUMP:
                breaks.append(elapsed + interval)
                step = interval
            elif step > 0:
                interval = step
            elapsed += max(step, 0.0) if last is not None else 0.0
            last = time
    return breaks


def rebuild(source: Path, target: Path) -> None:
    """Copy the default picture and sound of `source` to `target`, in Matroska with one clock that
    continues where the source's jumps. Raises `MediaError` when ffmpeg can't."""
    streams = safe_input(source, fflags="+genpts", dts_delta_threshold=JUMP)
    chosen = [streams[str(index)] for index in stream_indices(source)]
    with published(target) as temporary:
        output = ffmpeg.output(*chosen, file_url(temporary), c="copy", f="matroska")
        run(output, timeout=None)
