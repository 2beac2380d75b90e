"""Long sources, such as news programmes: listing them, and finding the clips in each.

A source is decoded once, at low resolution: its scene cuts give the clips' starts, and its faces
the speaker's place in each.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import numpy as np
from numpy.typing import NDArray

from paha_core.config import CnasConfig
from paha_core.corpora.filters import find_faces
from paha_core.corpora.filters.picture import APART, changes
from paha_core.corpora.names import slug, unique
from paha_core.corpora.regions import Box, around, centre_crop
from paha_core.corpora.source_files import SourceFile, list_sources, relative_parts
from paha_core.corpora.source_manifest import SourceRow, SourceTask, inspect_source, source_of
from paha_core.engine.manifest_stage import Rejection
from paha_core.errors import UserError
from paha_core.media import FPS
from paha_core.media.ffmpeg import MediaError
from paha_core.media.video import decode_frames

FACES_A_CLIP = 3  # moments of a clip at which the face is detected
CODE_VERSION = "programmes-1"
THUMBNAIL = 32  # pixels
UNSURE = 5  # frames around a break of the clock that belong to no clip
STRAY = "unsorted"  # the speaker of files outside any speaker's folder


@dataclass(frozen=True)
class LongSource:
    """One raw file and its names in ids; `problem`: why it can't be used."""

    path: SourceFile
    speaker: str
    name: str
    problem: str = ""


def list_long_sources(folder: str | Path, speaker: str | None = None) -> list[LongSource]:
    """Every visible file below the folder, in order of its path: `<speaker>/<name>.*`, or in any
    place when all are of one `speaker`.

    Raises `UserError` when there is none.
    """
    files = {file: relative_parts(file, folder) for file in list_sources(folder)}
    if not files:
        raise UserError(f"no videos in {folder}: put them in a folder for each speaker")
    listed = [_long_source(file, parts, speaker) for file, parts in files.items()]
    names = unique(f"{p.speaker}/{p.name}" for p in listed)
    return [
        LongSource(p.path, p.speaker, name.split("/")[1], p.problem)
        for p, name in zip(listed, names, strict=True)
    ]


def _long_source(file: SourceFile, parts: Sequence[str], speaker: str | None) -> LongSource:
    if speaker is not None:
        return LongSource(file, slug(speaker), slug(file.stem))
    if len(parts) == 2:
        return LongSource(file, slug(parts[0]), slug(file.stem))
    place = "in no speaker's folder" if len(parts) == 1 else "below a speaker's folder, not in it"
    problem = f"lies {place}: move it there, or name the `--speaker` of all files"
    return LongSource(file, STRAY, slug(file.stem), problem)


def inspection_settings(settings: CnasConfig) -> dict[str, Any]:
    """The settings that `inspect_long_source` depends on."""
    return {
        "clip_frames": settings.clip_frames,
        "region": list(settings.region),
        "max_frame_change": settings.max_frame_change,
        "code": CODE_VERSION,
    }


def inspect_long_source(task: SourceTask) -> dict[str, Any]:
    """The columns of `inspect_source`, and `spans`: first frame, left edge, top edge and side of
    each clip.

    Raises `Rejection` when the source is too short for a clip, or holds no face.
    """
    row, length = inspect_source(task), task.settings["clip_frames"]
    source = source_of(task.file, cast(SourceRow, row))
    needed = length / FPS
    if row["duration"] + 0.5 / FPS < needed:
        raise Rejection(f"too short: {row['duration']:.2f} s, one clip takes {needed:.2f} s")
    try:
        with source.opened(task.limits.cache_bytes) as path:
            thumbnails, faces = scan(path, needed / FACES_A_CLIP, task.limits.max_source_seconds)
    except MediaError as error:
        raise Rejection(f"source: {error}") from None
    if not faces:
        raise Rejection("no face was detected anywhere in the source")
    count = int(row["duration"] * FPS + 0.5)
    crop = centre_crop(row["width"], row["height"], task.settings["region"])
    spans = []
    max_change, breaks = task.settings["max_frame_change"], source.breaks or ()
    for first in clip_starts(thumbnails, count, length, max_change, breaks):
        start, end = first / FPS, (first + length) / FPS
        inside = [box for time, box in faces if start <= time < end]
        at = around(inside, crop, row["width"], row["height"])
        spans.append([first, at.left, at.top, at.side])
    return row | {"spans": json.dumps(spans)}


def scan(path: Path, every: float, end: float) -> tuple[NDArray[np.uint8], list[tuple[float, Box]]]:
    """A whole video up to `end` seconds: thumbnails [T, 32, 32] in grey at 25 fps, and the time
    (seconds) and box (fractions) of the largest face each `every` seconds, where there is one."""
    thumbnails: list[NDArray[np.uint8]] = []
    found: list[tuple[float, Box]] = []
    due = every / 2
    for frame in decode_frames(path, end=end, all_cores=True):
        behind = round(frame.time * FPS) - len(thumbnails)
        if behind >= 0:
            thumbnails += [thumbnails[-1]] * behind if thumbnails else []
            thumbnails.append(frame.to_gray(THUMBNAIL))
        if frame.time >= due:
            due += every
            faces = find_faces(frame.to_rgb())
            if faces:
                largest = max(faces, key=lambda box: (box[2] - box[0]) * (box[3] - box[1]))
                found.append((frame.time, largest))
    return np.asarray(thumbnails, dtype=np.uint8), found


def clip_starts(
    thumbnails: NDArray[np.uint8],
    count: int,
    length: int,
    max_change: float | None,
    breaks: Sequence[float] = (),
) -> list[int]:
    """The first frame of each clip of `length` frames among `count`, one behind the other; a clip
    with a scene cut in it, or a break of the clock (seconds), begins behind that instead."""
    limit = np.inf if max_change is None else max_change
    cuts = np.flatnonzero(changes(thumbnails) > limit)  # each within APART frames from there
    around_breaks = [
        frame for at in breaks for frame in range(int(at * FPS) - UNSURE, int(at * FPS) + UNSURE)
    ]
    broken = np.array(around_breaks, dtype=int)
    found, first = [], 0
    while first + length <= count:
        stops = [
            *cuts[(cuts >= first) & (cuts < first + length - APART)],
            *broken[(broken >= first) & (broken < first + length)],
        ]
        if stops:
            first = int(max(stops)) + 1
        else:
            found.append(first)
            first += length
    return found
