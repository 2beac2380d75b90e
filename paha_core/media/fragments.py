"""Fragmented MP4: a video that can be watched while it is still being made.

    with FragmentedVideo(sink.write, (256, 256), sample_rate=16000) as video:
        for frames, wave in segments:
            video.add(frames, wave)

Each `add` is one fragment that begins with a keyframe, so that its bytes are an HLS segment too.
"""

from __future__ import annotations

from collections.abc import Callable
from fractions import Fraction
from io import BytesIO
from types import TracebackType
from typing import Any, Self

import av
import numpy as np
from av.video.reformatter import VideoReformatter

from paha_core.media import FPS
from paha_core.media.audio import Wave
from paha_core.media.video import Frames

# A fragment is written when its muxer is closed, at the time its packets say, without an index.
MOVFLAGS = "+empty_moov+default_base_moof+frag_discont+skip_trailer"


class FragmentedVideo:
    """Writes to `sink`, which takes bytes and need not seek.

    Parameters:
        size: height and width in pixels, both even.
        sample_rate: of the sound, in Hz.
        comment: in the file's metadata.

    FFmpeg's own fragments end when the next packet arrives; here each has a muxer of its own, so
    that added frames are written at once. Sound has one encoder for all fragments, since each start
    of an encoder causes a click.
    """

    def __init__(
        self,
        sink: Callable[[bytes], object],
        size: tuple[int, int],
        *,
        sample_rate: int,
        comment: str = "",
        crf: int = 20,
    ) -> None:
        self.size, self.sample_rate, self.comment, self.crf = size, sample_rate, comment, crf
        self.frames, self.samples, self.fragments, self.position = 0, 0, 0, 0
        self._sink = sink
        self._reformatter: Any = VideoReformatter()
        self._aac: Any = av.CodecContext.create("aac", "w")
        self._aac.sample_rate, self._aac.layout, self._aac.format = sample_rate, "mono", "fltp"
        self._aac.time_base = Fraction(1, sample_rate)
        header, _, _ = self._muxer()
        self._write(header.getvalue())

    def add(self, frames: Frames, wave: Wave) -> None:
        """Add uint8 RGB [T, H, W, 3] and float mono [N] in [-1, 1], which begin together."""
        packets = []
        if len(wave):
            samples = np.clip(np.asarray(wave, np.float32), -1, 1)[None]
            sound = av.AudioFrame.from_ndarray(samples, format="fltp", layout="mono")
            sound.sample_rate = self.sample_rate
            sound.pts, sound.time_base = self.samples, self._aac.time_base
            self.samples += len(wave)
            packets = self._aac.encode(sound)
        self._fragment(frames, packets)

    def close(self) -> None:
        """Write the sound that the encoder still holds."""
        self._fragment(np.zeros((0, *self.size, 3), np.uint8), self._aac.encode(None))

    def _fragment(self, frames: Frames, sound: list[Any]) -> None:
        out, video, audio = self._muxer()
        start = len(out.getvalue())
        for picture in frames:
            frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(picture), format="rgb24")
            frame = self._reformatter.reformat(
                frame, format="yuv420p", dst_colorspace="ITU709", threads=1
            )
            frame.pts, frame.time_base = self.frames, Fraction(1, FPS)
            self.frames += 1
            video.container.mux(video.encode(frame))
        video.container.mux(video.encode(None))
        for packet in sound:
            if packet.pts >= 0:  # before time 0 is the encoder's own silence
                packet.stream = audio
                audio.container.mux(packet)
        video.container.close()
        self.fragments += 1
        self._write(out.getvalue()[start:])

    def _muxer(self) -> tuple[BytesIO, Any, Any]:
        """A file in memory that holds a header, and its streams of pictures and sound."""
        out = BytesIO()
        options = {"movflags": MOVFLAGS, "fragment_index": str(self.fragments + 1)}
        options |= {"avoid_negative_ts": "disabled"}
        container: Any = av.open(out, "w", format="mp4", options=options)
        if self.comment:
            container.metadata["comment"] = self.comment
        video = container.add_stream("libx264", rate=FPS)
        video.height, video.width = self.size
        video.pix_fmt = "yuv420p"
        video.options = {
            "preset": "veryfast", "tune": "zerolatency", "crf": str(self.crf), "threads": "1",
        }  # fmt: skip
        audio = container.add_stream("aac", rate=self.sample_rate, layout="mono")
        container.start_encoding()
        return out, video, audio

    def _write(self, data: bytes) -> None:
        self._sink(data)
        self.position += len(data)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:  # fmt: skip
        if error is None:  # after an error the file remains cut off
            self.close()
