"""Batches of windows of clips, as a pure function of (seed, step, rank, world size).

The clips form an endless stream: epoch after epoch, each a new permutation. Step s of a world of W
ranks with B clips each takes the stream's positions s*W*B on; rank r the r-th part of them. So
every epoch has each clip once over all ranks, W ranks get the batches of one rank with W*B clips,
and resuming needs only the step.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields, replace
from typing import Any, Protocol

import numpy as np
import torch

from paha_core.errors import UserError
from paha_core.models.audio_encoder import audio_windows
from paha_core.shards.reader import ShardError, ShardReader
from paha_core.shards.sample import ClipSample

log = logging.getLogger("paha")

_SERIAL = 32_000  # elements that torch handles in one thread
_ORDER, _WINDOW = range(2)  # part of the seed: the purpose of a random draw
LEAST_SHIFT = 4  # frames: 160 ms, an offset that every viewer notices


@dataclass(frozen=True, eq=False)
class Batch:
    """Windows of F frames from B clips; float32 unless noted.

    `latents` `[B, C, F, h, w]`; `par` `[B, F, h, w]`; `regions` uint8 `[B, F, h, w]`; `audio`
    `[B, F, 2*margin+1, layers, width]`, frame f in the middle of its window; `reference_latents`
    `[B, C, h, w]`; `reference_embedding` `[B, width]`; `first_frame` `[B, C, h, w]`, the window's
    frame 0; `face_mask` `[B, h, w]`, 1 where a face box of the window touches the cell.
    `mismatched_audio` as `audio`, the same voice out of sync, where `has_mismatch` bool `[B]` is
    true; elsewhere it repeats `audio`.
    """

    latents: torch.Tensor
    par: torch.Tensor
    regions: torch.Tensor
    audio: torch.Tensor
    reference_latents: torch.Tensor
    reference_embedding: torch.Tensor
    first_frame: torch.Tensor
    face_mask: torch.Tensor
    mismatched_audio: torch.Tensor
    has_mismatch: torch.Tensor
    keys: list[str]

    def to(self, device: str | torch.device) -> Batch:
        """On `device`; from pinned memory without waiting for the copy."""
        return self.each(lambda value: value.to(device, non_blocking=True))

    def pin_memory(self) -> Batch:
        return self.each(lambda value: value.pin_memory())

    def rows(self, index: torch.Tensor) -> Batch:
        """The windows selected by `index`, bool `[B]`."""
        keys = [key for key, keep in zip(self.keys, index.tolist(), strict=True) if keep]
        return replace(self.each(lambda value: value[index]), keys=keys)

    def each(self, change: Callable[[torch.Tensor], torch.Tensor]) -> Batch:
        """Apply `change` to every tensor."""
        names = [field.name for field in fields(self) if field.name != "keys"]
        changed: dict[str, Any] = {name: change(getattr(self, name)) for name in names}
        return replace(self, **changed)


@dataclass(frozen=True)
class Window:
    """Frames `start` to `start + frames` of clip `clip` (a reader's index); `reference` a frame.

    `mismatch`: the clip and first frame of the mismatched audio, if there is one.
    """

    clip: int
    start: int
    frames: int
    reference: int
    mismatch: tuple[int, int] | None = None


class Stream:
    """An endless, seeded order of some clips of a reader, each with a window of `frames` frames.

    Mismatched audio is another moment of the same clip, at least `LEAST_SHIFT` frames away; where a
    clip is too short for that, a moment of another such clip of its speaker; else there is none. It
    never wraps round a clip's end, and its start is distributed as that of the window itself:
    otherwise the sound alone, by a seam or its position in the clip, would give the label away.
    """

    def __init__(self, reader: ShardReader, frames: int, seed: int) -> None:
        self.lengths, self.frames, self.seed = reader.frames, frames, seed
        self.clips = [i for i, length in enumerate(self.lengths) if length >= frames]
        self.too_short = len(self.lengths) - len(self.clips)
        self._short = self._short_clips(reader)
        # The latest epoch's order, with its epoch in one value because threads share it.
        self._permutation = (-1, np.array([], int))

    def window(self, position: int) -> Window:
        """The window at `position` of the stream."""
        epoch, place = divmod(position, len(self.clips))
        clip = int(self._order(epoch)[place])
        rng = np.random.default_rng([self.seed, _WINDOW, self.frames, position])
        start = int(rng.integers(self._starts(clip)))
        return self.window_at(clip, start, rng)

    def window_at(self, clip: int, start: int, rng: np.random.Generator) -> Window:
        """The window at `start` of `clip`, with a random reference and mismatch."""
        reference = self._reference(rng, self.lengths[clip], start)
        return Window(clip, start, self.frames, reference, self._mismatch(rng, clip, start))

    def _starts(self, clip: int) -> int:
        """The number of windows in a clip."""
        return self.lengths[clip] - self.frames + 1

    def _mismatch(self, rng: np.random.Generator, clip: int, start: int) -> tuple[int, int] | None:
        """Rotates the clip's starts (or the speaker's short clips) by a random number: a mismatched
        start is then as likely anywhere as a true one."""
        starts = self._starts(clip)
        if starts >= 2 * LEAST_SHIFT:
            rotation = int(rng.integers(LEAST_SHIFT, starts - LEAST_SHIFT + 1))
            return clip, (start + rotation) % starts
        clips = self._short[clip]
        if len(clips) < 2:
            return None
        rotation = int(rng.integers(1, len(clips)))
        other = clips[(clips.index(clip) + rotation) % len(clips)]
        return other, int(rng.integers(self._starts(other)))

    def _short_clips(self, reader: ShardReader) -> dict[int, list[int]]:
        """Clip -> all clips of its speaker that are too short for another moment, itself
        included."""
        by_speaker: dict[tuple[str, str], list[int]] = {}
        for clip in self.clips:
            if self._starts(clip) < 2 * LEAST_SHIFT:
                row = reader.rows[clip]
                by_speaker.setdefault((row["dataset"], row["speaker"]), []).append(clip)
        return {clip: clips for clips in by_speaker.values() for clip in clips}

    def _order(self, epoch: int) -> np.ndarray:
        known, order = self._permutation
        if epoch != known:
            rng = np.random.default_rng([self.seed, _ORDER, self.frames, epoch])
            order = rng.permutation(self.clips)
            self._permutation = (epoch, order)
        return order

    def _reference(self, rng: np.random.Generator, length: int, start: int) -> int:
        """A frame outside the window; where the window is the whole clip, any but its first."""
        outside = length - self.frames
        if outside:
            frame = int(rng.integers(outside))
            return frame if frame < start else frame + self.frames
        return int(rng.integers(1, length)) if length > 1 else 0


class Batches(Protocol):
    def batch_at(self, step: int) -> Batch: ...


class WindowBatches:
    """Batches of `batch` windows of `frames` frames; `too_short` clips are left out and logged.

    `batch_at(step)` is a pure function of (seed, step, rank, world_size). Raises `UserError`
    when no clip has `frames` frames.
    """

    def __init__(
        self,
        reader: ShardReader,
        batch: int,
        frames: int,
        margin: int,
        seed: int,
        rank: int = 0,
        world_size: int = 1,
    ) -> None:
        self.reader, self.batch, self.margin = reader, batch, margin
        self.rank, self.world_size = rank, world_size
        self.stream = Stream(reader, frames, seed)
        self.too_short = self.stream.too_short
        if not self.stream.clips:
            raise UserError(f"none of {len(reader)} clips has {frames} frames")
        if self.too_short:
            log.info("%d clips are shorter than %d frames", self.too_short, frames)

    def windows_at(self, step: int) -> list[Window]:
        """The windows of `batch_at`, without reading them."""
        first = (step * self.world_size + self.rank) * self.batch
        return [self.stream.window(first + i) for i in range(self.batch)]

    def batch_at(self, step: int) -> Batch:
        first = (step * self.world_size + self.rank) * self.batch
        return _gather(self.reader, self.stream, range(first, first + self.batch), self.margin)


def face_mask(boxes: np.ndarray, found: np.ndarray, height: int, width: int) -> np.ndarray:
    """Union of the boxes (float `[F, 4]`, xyxy in units of the side) whose `found` `[F]` is true.

    Float32 `[height, width]`, 1 in each cell that a box touches.
    """
    mask = np.zeros((height, width), np.float32)
    grid = np.array([width, height, width, height], np.float32)
    for x0, y0, x1, y1 in boxes[found] * grid:
        rows = slice(max(0, int(np.floor(y0 + 1e-4))), max(0, int(np.ceil(y1 - 1e-4))))
        columns = slice(max(0, int(np.floor(x0 + 1e-4))), max(0, int(np.ceil(x1 - 1e-4))))
        mask[rows, columns] = 1
    return mask


Cut = dict[str, np.ndarray | str]
"""One clip's part of a batch, in its stored types."""


def batch_of(reader: ShardReader, windows: Sequence[Window], margin: int) -> Batch:
    """The batch of just these windows. Raises `ShardError` for a clip that can't be read."""
    return stack([cut(reader, reader.read(window.clip), window, margin) for window in windows])


def _gather(reader: ShardReader, stream: Stream, positions: range, margin: int) -> Batch:
    return stack([cut(reader, *_readable(reader, stream, p), margin) for p in positions])


def stack(parts: Sequence[Cut]) -> Batch:
    """A batch of single windows."""
    stacked = {
        name: _widened(np.stack([part[name] for part in parts]))
        for name in parts[0]
        if name != "key"
    }
    return Batch(
        **stacked,
        first_frame=stacked["latents"][:, :, 0],
        keys=[str(part["key"]) for part in parts],
    )


def joined(parts: Sequence[Batch]) -> Batch:
    """One batch of the windows of several."""
    names = [field.name for field in fields(Batch) if field.name != "keys"]
    tensors = {name: torch.cat([getattr(part, name) for part in parts]) for name in names}
    return Batch(**tensors, keys=[key for part in parts for key in part.keys])


def _widened(values: np.ndarray) -> torch.Tensor:
    """Floats as float32, other types unchanged.

    Torch widens float16 ten times faster than numpy, but uses threads for large tensors, which
    would take cores from the training step that runs meanwhile. So it gets small pieces.
    """
    tensor = torch.from_numpy(np.ascontiguousarray(values))
    if values.dtype != np.float16:
        return tensor
    wide = torch.empty(tensor.shape)
    for piece, target in zip(tensor.view(-1).split(_SERIAL), wide.view(-1).split(_SERIAL)):
        target.copy_(piece)
    return wide


def _readable(reader: ShardReader, stream: Stream, position: int) -> tuple[ClipSample, Window]:
    """The window at `position`; if its clip is skipped, the next one whose clip can be read."""
    for candidate in range(position, position + len(stream.clips)):
        window = stream.window(candidate)
        sample = reader.read_or_skip(window.clip)
        if sample is not None:
            return sample, window
    shards = ", ".join(sorted(reader.bad_shards))
    raise ShardError(shards, f"{len(stream.clips)} clips", "none of them can be read")


def _mismatched(
    reader: ShardReader, sample: ClipSample, window: Window, margin: int
) -> np.ndarray | None:
    """The mismatched audio windows, or None where there are none (or none can be read)."""
    if window.mismatch is None:
        return None
    clip, start = window.mismatch
    source = sample if clip == window.clip else reader.read_or_skip(clip)
    if source is None:
        return None
    return audio_windows(source.audio, margin, start, start + window.frames)


def cut(reader: ShardReader, sample: ClipSample, window: Window, margin: int) -> Cut:
    """The window of `sample`, clip `window.clip` of the reader."""
    start, stop = window.start, window.start + window.frames
    audio = audio_windows(sample.audio, margin, start, stop)
    mismatched = _mismatched(reader, sample, window, margin)
    nearest = np.abs(sample.reference_index - window.reference).argmin()
    latents = sample.latents[start:stop]
    reference = sample.latents[window.reference]
    if sample.reference_latents is not None:
        reference = sample.reference_latents[nearest]
    found = sample.face_found[start:stop]
    return {
        "latents": latents.swapaxes(0, 1),  # T C h w -> C T h w
        "par": sample.par[start:stop],
        "regions": sample.regions[start:stop],
        "audio": audio,
        "mismatched_audio": audio if mismatched is None else mismatched,
        "has_mismatch": np.bool_(mismatched is not None),
        "reference_latents": reference,
        "reference_embedding": sample.reference[nearest],
        "face_mask": face_mask(sample.faces[start:stop], found, *latents.shape[-2:]),
        "key": sample.key,
    }
