"""Random access to the clips of shards through their index."""

from __future__ import annotations

import logging
import threading
from collections import OrderedDict
from collections.abc import Sequence
from typing import Literal

from paha_core.errors import UserError
from paha_core.shards.sample import ClipSample, SampleError, from_tar
from paha_core.shards.writer import (
    AUDIO_ENCODERS,
    VISUAL_ENCODERS,
    index_rows,
    read_packed,
    read_verified,
)
from paha_core.store import Store

log = logging.getLogger("paha")

CACHE_BYTES = 1 << 30


class ShardError(UserError):
    """A shard that is missing or does not match its index; the message names it."""

    def __init__(self, shard: str, clip_id: str, why: str) -> None:
        super().__init__(f"shard {shard} can't be used ({clip_id}: {why}); run its stage again")
        self.shard = shard


class ShardReader:
    """The clips of a split, in the order of their ids; decoded clips are kept up to `cache_bytes`.

    `rows` are the manifest's rows, `bad_shards` counts failed reads by shard. With
    `on_bad_shard="skip"` the batches leave out clips that can't be read (logged once a shard);
    `read` itself always raises. Safe to share between threads.

    Raises `UserError` when there is no clip, or when clips were made by different encoders.
    """

    def __init__(
        self,
        store: Store,
        datasets: Sequence[str],
        split: str | None = "train",
        stage: str = "training_shards",
        *,
        cache_bytes: int = CACHE_BYTES,
        on_bad_shard: Literal["stop", "skip"] = "stop",
    ) -> None:
        self.store, self.on_bad_shard = store, on_bad_shard
        rows = index_rows(store, stage, datasets)
        self.rows = [row for row in rows if split is None or row["split"] == split]
        if not self.rows:
            raise UserError(f"no clips of split {split} in {stage} of {', '.join(datasets)}")
        visual, audio = (
            {tuple(row.get(name) or "" for name in columns) for row in self.rows}
            for columns in (VISUAL_ENCODERS, ("dataset", *AUDIO_ENCODERS))
        )
        if len(visual) > 1 or len(audio) > len({dataset for dataset, *_ in audio}):
            raise UserError(f"{stage} mixes encoders: {sorted(visual)}, {sorted(audio)}")
        self.cache_bytes, self.bad_shards = cache_bytes, dict[str, int]()
        self._cache: OrderedDict[int, ClipSample] = OrderedDict()
        self._cached_bytes = 0
        self._verified: set[int] = set()
        self._lock = threading.Lock()

    def __len__(self) -> int:
        return len(self.rows)

    @property
    def frames(self) -> list[int]:
        """Each clip's length in frames."""
        return [row["frames"] for row in self.rows]

    def read(self, i: int) -> ClipSample:
        """Clip `i`. Raises `ShardError` when its shard is missing, cut short or changed."""
        with self._lock:
            if i in self._cache:
                self._cache.move_to_end(i)
                return self._cache[i]
        sample = self._load(i)
        with self._lock:
            if i not in self._cache:
                self._cache[i] = sample
                self._cached_bytes += sample.nbytes
            while self._cached_bytes > self.cache_bytes and self._cache:
                self._cached_bytes -= self._cache.popitem(last=False)[1].nbytes
        return sample

    def read_or_skip(self, i: int) -> ClipSample | None:
        """Clip `i`, or None for a bad shard where those are skipped."""
        try:
            return self.read(i)
        except ShardError as error:
            if self.on_bad_shard == "stop":
                raise
            if error.shard not in self.bad_shards:
                log.warning("skipped: %s", error)
            self.bad_shards[error.shard] = self.bad_shards.get(error.shard, 0) + 1
            return None

    def _load(self, i: int) -> ClipSample:
        row = self.rows[i]
        try:
            # The first read of a clip checks every byte; later ones do not.
            read = read_packed if i in self._verified else read_verified
            sample = from_tar(read(self.store, row))
        except (OSError, SampleError) as error:
            why = "missing" if isinstance(error, FileNotFoundError) else str(error)
            raise ShardError(row["shard"], row["clip_id"], why) from error
        if sample.key != row["key"] or sample.frames != row["frames"]:
            raise ShardError(row["shard"], row["clip_id"], f"holds {sample.key} in its place")
        self._verified.add(i)
        return sample
