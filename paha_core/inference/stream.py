"""Streams a video while it is generated: fragmented MP4, segment by segment. A stream has no
content credentials: they would bind bytes that do not exist yet. Its metadata mark it as generated.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import BinaryIO

import numpy as np

from paha_core.inference.marks import comment_of, mark_of
from paha_core.inference.pipeline import OnSegment, PahaPipeline, Settings
from paha_core.inference.precision import repeatable
from paha_core.inference.trace import Trace
from paha_core.inference.video_file import Request
from paha_core.media import FPS
from paha_core.media.audio import read_audio
from paha_core.media.fragments import FragmentedVideo
from paha_core.media.frames import resize
from paha_core.media.video import Frames
from paha_core.models.audio_encoder import SAMPLE_RATE

SOUND_RATE = 48_000  # of a voice that is a file
CHUNK = 3200  # bytes of 16-bit PCM: 0.1 s

Sink = Callable[[bytes], object]


class StreamedCopy:
    """The video of `request` as a stream to `sink`, while `make_video` makes it: pass `add` as its
    `on_frames`. `on_segment` takes the frames that were added and the bytes after them."""

    def __init__(
        self,
        pipeline: PahaPipeline,
        request: Request,
        sink: Sink,
        on_segment: Callable[[int, int], None] = lambda frames, position: None,
    ) -> None:
        size = request.size or pipeline.preset.corpora.clip.size
        self.wave = read_audio(request.audio, SOUND_RATE, request.settings.max_seconds)
        self.on_segment = on_segment
        self.video = opened(pipeline, sink, size, SOUND_RATE, request.mark)
        on_segment(0, self.video.position)

    def add(self, frames: Frames) -> None:
        start, per_frame = self.video.frames, SOUND_RATE // FPS
        self.video.add(frames, self.wave[start * per_frame : (start + len(frames)) * per_frame])
        self.on_segment(len(frames), self.video.position)

    def close(self) -> None:
        self.video.close()


def opened(
    pipeline: PahaPipeline, sink: Sink, size: int, sample_rate: int, mark: bool
) -> FragmentedVideo:
    comment = comment_of(mark_of(pipeline.preset, pipeline.networks)) if mark else ""
    return FragmentedVideo(sink, (size, size), sample_rate=sample_rate, comment=comment)


def stream_video(
    pipeline: PahaPipeline, request: Request, sink: Sink, on_segment: OnSegment
) -> None:
    """Generate the video of `request` as a stream alone: no file, no sidecar. Raises what
    `make_video` raises."""
    settings = request.settings
    conditions, box, _ = pipeline.conditions(request.image, request.audio, settings)
    pieces = pipeline.stream(conditions, box[None], settings, Trace(), on_segment)
    copy = StreamedCopy(pipeline, request, sink)
    with copy.video, repeatable(pipeline.device, pipeline.precision(settings)):
        for piece in pieces:
            copy.add(resize(piece[0], request.size or pipeline.preset.corpora.clip.size))


def stream_live(
    pipeline: PahaPipeline,
    image: Path,
    chunks: Iterable[np.ndarray],
    settings: Settings,
    sink: Sink,
    *,
    size: int | None = None,
    mark: bool = True,
    on_segment: OnSegment = lambda done, total: None,
) -> None:
    """Stream the video of a voice that is being spoken (`PahaPipeline.stream_live`)."""
    side = size or pipeline.preset.corpora.clip.size
    pieces = pipeline.stream_live(image, chunks, settings, Trace(), on_segment)
    with repeatable(pipeline.device, pipeline.precision(settings)):
        with opened(pipeline, sink, side, SAMPLE_RATE, mark) as video:
            for frames, wave in pieces:
                video.add(resize(frames, side), wave)


def read_pcm(file: BinaryIO) -> Iterator[np.ndarray]:
    """The sound of a pipe as it arrives: 16-bit little-endian mono PCM at 16 kHz to float [N]."""
    rest = b""
    while data := file.read1(CHUNK):  # type: ignore[attr-defined]  # what is there, not all of it
        data = rest + data
        whole = len(data) // 2 * 2
        rest = data[whole:]
        yield np.frombuffer(data[:whole], "<i2").astype(np.float32) / 32768
