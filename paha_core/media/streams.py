"""Which streams of a container are used, and where its time 0 is."""

from __future__ import annotations

from typing import Any

import av

from paha_core.media.ffmpeg import MediaError


def video_stream(container: Any) -> Any:
    """The first video stream that is not a cover picture. Raises `MediaError` without one."""
    for stream in container.streams.video:
        if not int(stream.disposition) & int(av.stream.Disposition.attached_pic):
            return stream
    content = "only audio" if container.streams.audio else "neither picture nor sound"
    raise MediaError(f"the file holds no video: {content}")


def start_time(container: Any) -> float:
    """Seconds: the time of the container that every reader counts as the file's time 0."""
    return float(container.start_time or 0) / av.time_base
