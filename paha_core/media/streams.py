"""Which streams of a container are used, and where its time 0 is."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import av

from paha_core.media.ffmpeg import MediaError, open_media

_DEFAULT, _COVER = av.stream.Disposition.default, av.stream.Disposition.attached_pic


def video_stream(container: Any) -> Any:
    """The default video stream, or else the first; never a cover picture.

    Raises `MediaError` when there is none.
    """
    streams = [s for s in container.streams.video if not int(s.disposition) & int(_COVER)]
    if not streams:
        content = "only audio" if container.streams.audio else "neither picture nor sound"
        raise MediaError(f"the file holds no video: {content}")
    return _default(streams)


def audio_stream(container: Any) -> Any:
    """The audio stream that players choose: the default one, or else the first.

    Raises `MediaError` when there is none.
    """
    streams = list(container.streams.audio)
    if not streams:
        raise MediaError("the file has no audio")
    return _default(streams)


def stream_indices(path: str | Path) -> tuple[int, int]:
    """Indices of `video_stream` and `audio_stream`. Raises `MediaError` without either."""
    with open_media(path) as container:
        return video_stream(container).index, audio_stream(container).index


def start_time(container: Any) -> float:
    """Seconds: the time of the container that every reader counts as the file's time 0."""
    return float(container.start_time or 0) / av.time_base


def _default(streams: list[Any]) -> Any:
    marked = [stream for stream in streams if int(stream.disposition) & int(_DEFAULT)]
    chosen = (marked or streams)[0]
    if chosen.codec_context is None:
        raise MediaError(f"its {chosen.type} is in a codec that is not known")
    return chosen
