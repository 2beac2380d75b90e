"""Squares around a face in a source's picture: the largest one, or that of the one who speaks.

To find who speaks, every face is followed over the clip's frames and its lips are read. Those who
listen hardly move them; of several who move theirs, it is the one whose lips surely fit the sound.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from paha_core.corpora.filters import ClipData, find_faces
from paha_core.corpora.filters.lips import EVERY, Lips
from paha_core.corpora.filters.sync import LipsMove, lip_motion
from paha_core.corpora.filters.sync_estimate import MIN_SHARE, estimate_sync
from paha_core.corpora.regions import Box, Crop, alone, around
from paha_core.engine.manifest_stage import Rejection
from paha_core.media import FPS
from paha_core.media.probe import MediaInfo
from paha_core.media.timeline import at_rate
from paha_core.media.video import Frames, decode_frames

VERSION = "speaking-1"
PROBES = 3  # moments of a clip at which its largest face is detected
MOST = 4  # people that are followed
MIN_MOTION = LipsMove.min_motion
# Of several who move their lips the speaker's must fit the sound for sure, in sync, and better by
# so much confidence. On filmed people the estimate is seldom sure of a clip: docs/results/cnas.md.
CLEARER, IN_SYNC = 0.1, 3  # IN_SYNC in frames


def largest_face_crop(
    path: Path, start: float, seconds: float, crop: Crop, info: MediaInfo
) -> Crop:
    """The square `crop` of a span moved to the median of its largest faces, at `PROBES` moments;
    where no face is detected it stays, and the filters say so."""
    faces: list[Box] = []
    every = seconds / PROBES
    for probe in range(PROBES):
        moment = start + (probe + 0.5) * every
        frame = next(decode_frames(path, start=moment, end=moment + every), None)
        found = find_faces(frame.to_rgb()) if frame else []
        if found:
            faces.append(max(found, key=lambda box: (box[2] - box[0]) * (box[3] - box[1])))
    return around(faces, crop, info.width, info.height)


@dataclass(frozen=True)
class Person:
    """Somebody in the picture over a clip's frames."""

    boxes: list[Box]  # of the face, as fractions, where it was detected
    opening: NDArray[np.float64]  # [T] of the lips, NaN where they are not seen

    @property
    def box(self) -> Box:
        """The median of the boxes."""
        left, top, right, bottom = np.median(self.boxes, axis=0)
        return float(left), float(top), float(right), float(bottom)


def speaking_crop(
    path: Path, start: float, frames: int, clip: ClipData, crop: Crop
) -> tuple[Crop, int]:
    """The square of the source's picture around the person who speaks in the clip, and the number
    of people in it.

    `start`: seconds in the source of the clip's first frame; `crop`: a square of the wanted size.
    Raises `Rejection` where nobody speaks, or more than one may.
    """
    decoded = decode_frames(path, start=max(0.0, start - 1 / FPS), end=start + (frames + 1) / FPS)
    shown = at_rate(((frame.time - start, frame) for frame in decoded), FPS, frames)
    size = (0, 0)

    def pictures() -> Iterable[Frames]:
        nonlocal size
        for frame in shown:
            picture = frame.to_rgb()
            size = picture.shape[1], picture.shape[0]
            yield picture

    people = follow_people(pictures())
    speaker = who_speaks(people, clip)
    others = [person.box for person in people if person is not speaker]
    moved = around([speaker.box], crop, *size)
    return alone(speaker.box, others, moved, *size), len(people)


def follow_people(frames: Iterable[Frames]) -> list[Person]:
    """The people whose faces are seen most of the time in RGB frames [H, W, 3] of one clip."""
    boxes: list[list[Box]] = []
    lips: list[Lips] = []
    begun: list[int] = []  # the first frame of each
    count = 0
    for count, frame in enumerate(frames, 1):
        if (count - 1) % EVERY == 0:
            for place, box in _assigned(find_faces(frame), [each[-1] for each in boxes]):
                if place == len(boxes) < MOST:
                    boxes.append([])
                    lips.append(Lips(place))
                    begun.append(count - 1)
                if place < len(boxes):
                    boxes[place].append(box)
                    lips[place].follow(box, frame)
        for each in lips:
            each.read(frame)
    openings = [
        np.concatenate([np.full(first, np.nan), each.mesh.opening])
        for first, each in zip(begun, lips, strict=True)
    ]
    detections = -(-count // EVERY)
    return [
        Person(own, opening)
        for own, opening in zip(boxes, openings, strict=True)
        if len(own) >= MIN_SHARE * detections
    ]


def who_speaks(people: Sequence[Person], clip: ClipData) -> Person:
    """The person whose lips move with the clip's speech. Raises `Rejection` where there is none,
    and where that is not clear."""
    if not people:
        raise Rejection("no face is seen long enough to find out who speaks")
    if len(people) == 1:
        return people[0]
    moving = [
        person
        for person in people
        if lip_motion(person.opening, clip.speech_probability)[0] >= MIN_MOTION
    ]
    if not moving:
        raise Rejection(f"none of the {len(people)} people in the picture moves the lips in speech")
    if len(moving) == 1:
        return moving[0]
    found = [estimate_sync(person.opening, clip.speech) for person in moving]
    fits = [-np.inf if sync is None else sync.confidence for sync in found]
    best = int(np.argmax(fits))
    sync = found[best]
    clear = sync is not None and sync.is_sure and abs(sync.offset) <= IN_SYNC
    if not clear or fits[best] < sorted(fits)[-2] + CLEARER:
        raise Rejection("several people move their lips: who of them speaks is not clear")
    return moving[best]


def _assigned(found: Sequence[Box], last: Sequence[Box]) -> list[tuple[int, Box]]:
    """Each of the boxes `found` with the place of the nearest of the `last` ones that is within a
    width of it, larger ones first; with the next free place where none is."""
    taken: set[int] = set()
    pairs = []
    for box in sorted(found, key=lambda box: box[0] - box[2]):
        near = sorted((_distance(box, other), n) for n, other in enumerate(last) if n not in taken)
        place = len(last) + sum(n >= len(last) for n in taken)
        if near and near[0][0] < box[2] - box[0]:
            place = near[0][1]
        taken.add(place)
        pairs.append((place, box))
    return pairs


def _distance(a: Box, b: Box) -> float:
    return float(np.hypot((a[0] + a[2] - b[0] - b[2]) / 2, (a[1] + a[3] - b[1] - b[3]) / 2))
