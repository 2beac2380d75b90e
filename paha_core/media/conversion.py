"""Conversion of decoded frames to upright, progressive, opaque SDR with square pixels.

Most files need none, or quarter turns. The others go through ffmpeg's filters, in ingestion
(`Conversion.apply`) as in `media.video`:

- frames flagged as interlaced are deinterlaced (bwdif, one frame for two fields);
- HDR (HLG, PQ) is tone-mapped to bt709: 203 cd/m2 becomes white (BT.2408), what is brighter is
  compressed;
- transparent video is composited on white, as pictures are (`media.picture`);
- non-square pixels are scaled in width; mirrored and tilted display matrices are ffmpeg's own.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cache
from typing import Any

import av
import ffmpeg
import numpy as np
from av.sidedata.sidedata import Type

PQ, HLG = 16, 18  # `color_trc` of SMPTE 2084 and ARIB STD-B67
UNSPECIFIED = 2
BT2020 = {"pin": "bt2020", "min": "bt2020nc"}  # options of zscale
WHITE_NITS, PEAK_NITS = 203, 1000  # of HDR: diffuse white, and the brightest highlight expected
GROUND = "white"  # behind transparent video


@dataclass(frozen=True)
class Conversion:
    """The filters that the frames of one file need."""

    interlaced: bool = False
    hdr: bool = False
    alpha: bool = False
    matrix: bool = False  # the display matrix mirrors or tilts: ffmpeg applies it by itself
    aspect: float = 1.0  # width of a stored pixel over its height
    turned: bool = False  # by a quarter: stored rows are shown as columns (matters with `aspect`)
    untagged: tuple[str, ...] = ()  # of HDR: what is not declared is assumed to be bt2020

    @property
    def needed(self) -> bool:
        return self.interlaced or self.hdr or self.alpha or self.matrix or self.aspect != 1.0

    def apply(self, stream: Any) -> Any:
        """`stream` of ffmpeg-python with these filters on it."""
        if self.interlaced:
            stream = stream.filter("bwdif", mode="send_frame", deint="interlaced")
        if self.hdr:
            tags = {name: BT2020[name] for name in self.untagged}
            stream = (
                stream.filter("zscale", t="linear", npl=WHITE_NITS, p="bt709", **tags)
                .filter("format", "gbrpf32le")
                .filter("tonemap", "mobius", param=0.8, desat=0, peak=PEAK_NITS / WHITE_NITS)
                .filter("zscale", t="bt709", m="bt709", r="tv")
                .filter("format", "yuv420p")
            )
        if self.alpha:
            both = stream.filter("format", "rgba").filter_multi_output("split")
            ground = both[1].filter("drawbox", color=GROUND, t="fill", replace=1)
            stream = ffmpeg.overlay(ground, both[0], format="auto")
        if self.aspect != 1.0:
            width, height = f"trunc(iw*{self.aspect:.6f}+0.5)", "ih"
            if self.turned:  # ffmpeg has turned the picture before its first filter
                width, height = "iw", f"trunc(ih*{self.aspect:.6f}+0.5)"
            stream = stream.filter("scale", width, height).filter("setsar", 1)
        return stream


def conversion_of(frame: Any, stream: Any) -> Conversion:
    """What `frame` (PyAV's), decoded from `stream`, needs."""
    hdr = int(frame.color_trc) in (PQ, HLG)
    tags = {"pin": int(frame.color_primaries), "min": int(frame.colorspace)}
    aspect = float(stream.sample_aspect_ratio or 1) or 1.0
    return Conversion(
        interlaced=bool(frame.interlaced_frame),
        hdr=hdr,
        alpha=_has_alpha(frame.format.name),
        matrix=not _plain_rotation(frame),
        aspect=aspect if abs(aspect - 1) >= 1e-3 else 1.0,
        turned=bool(int(frame.rotation) % 180),
        untagged=tuple(name for name, tag in tags.items() if hdr and tag == UNSPECIFIED),
    )


@cache
def _has_alpha(pixel_format: str) -> bool:
    return any(component.is_alpha for component in av.VideoFormat(pixel_format).components)


def _plain_rotation(frame: Any) -> bool:
    """Whether the display matrix only turns, by quarters."""
    data = frame.side_data.get(Type.DISPLAYMATRIX)
    if data is None:
        return True
    a, b, _, c, d = (x / 65536 for x in np.frombuffer(data, np.int32)[:5])
    mirrored = a * d - b * c < 0
    angle = math.degrees(math.atan2(b, a)) if (a, b) != (0, 0) else 0.0
    return not mirrored and abs(angle / 90 - round(angle / 90)) < 0.01
