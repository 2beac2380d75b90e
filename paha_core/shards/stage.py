"""The stage `training_shards`: every kept clip, encoded, in shards.

A shard whose clips are all unchanged is kept. If one of them changed or was removed, that shard
alone is written again, with the bytes of the others copied. New clips go to new shards.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from contextlib import closing
from dataclasses import dataclass, field
from typing import Any, cast

import numpy as np
import pyarrow as pa

from paha_core.config import ShardConfig
from paha_core.engine.manifest_files import Row
from paha_core.engine.manifest_stage import KEPT, REJECTED, Rejection, StageResult, read_manifest
from paha_core.engine.prefetch import ahead, in_background
from paha_core.engine.progress import Progress
from paha_core.media import FPS
from paha_core.models.audio_encoder import SAMPLE_RATE
from paha_core.models.protocols import AudioEncoder, LatentCodec, ReferenceEncoder
from paha_core.shards.encode import ClipJob, Encoders, LoadedClip, encode_clip, load_clip
from paha_core.shards.writer import (
    INDEX_SCHEMA,
    IndexRow,
    Packed,
    is_intact,
    pack,
    read_packed,
    write_index,
    write_packed,
)
from paha_core.store import Store, sha256_json

STAGE = "training_shards"
INPUTS = ("keypoints", "par_masks", "face_boxes")


def training_shards_stage(
    store: Store,
    shards: ShardConfig,
    size: int,
    codec: LatentCodec,
    audio: Mapping[str, AudioEncoder],
    reference: ReferenceEncoder,
    workers: int = 1,
) -> dict[str, StageResult]:
    """Bring shards and manifest of each dataset up to date with `clips`, `par_masks`, `face_boxes`.

    `audio`: dataset -> its audio encoder. `workers`: threads that decode clips ahead of the
    networks, which encode in one thread while another writes shards.
    `size` is the side of the codec's frames (`CodecConfig.size`). Each kept clip gets a row: kept,
    or rejected with an earlier stage's reason, or because its parts are not equally long. A kill
    loses the shard in progress. Shards that no row names any more are removed at the end.
    """
    results = {}
    for dataset, audio_encoder in audio.items():
        encoders = Encoders(codec, audio_encoder, reference, size, shards.reference_frames)
        limits = shards.clips_per_shard, shards.shard_bytes
        results[dataset] = _Run(store, dataset, encoders, *limits, workers).run()
    return results


@dataclass(frozen=True)
class ShardTask:
    """Shards to write: each clip with its row in an older shard, if that still holds it.

    Either one shard (`whole`), to replace an older one, or new ones, numbered from `number` on.
    """

    split: str
    number: int
    clips: list[tuple[ClipJob, IndexRow | None]]
    whole: bool


@dataclass
class _Run:
    """One dataset's run; `rows`: clip -> manifest row, of the clips done so far."""

    store: Store
    dataset: str
    encoders: Encoders
    clips_per_shard: int
    shard_bytes: int
    workers: int = 1
    rows: dict[str, IndexRow] = field(default_factory=dict)
    computed: int = 0

    def run(self) -> StageResult:
        clips = [r for r in read_manifest(self.store, "clips", self.dataset) if r["status"] == KEPT]
        index = cast(list[IndexRow], read_manifest(self.store, STAGE, self.dataset))
        before = {row["clip_id"]: row for row in index}
        jobs, rejected = self._jobs(clips)
        self.rows = dict(rejected)
        tasks = self._plan(jobs, before)
        order = [row["clip_id"] for row in clips]
        todo = [job for task in tasks for job, old in task.clips if old is None]
        if todo:
            # What an encoder imports when it is first used is imported before there are threads:
            # librosa parses its own stubs, and Python 3.11 can't parse in two threads at once.
            self.encoders.audio.encode(np.zeros(SAMPLE_RATE, np.float32), FPS)
        with (
            closing(ahead(self._load, todo, self.workers + 1, self.workers)) as loaded,
            Progress(len(todo), f"{STAGE} {self.dataset}") as progress,
        ):
            for task in tasks:
                packed = in_background(self._packed(task, loaded, progress))
                stem = f"shards/{self.dataset}/{task.split}"
                most_clips = len(task.clips) if task.whole else self.clips_per_shard
                most_bytes = None if task.whole else self.shard_bytes
                with closing(packed):
                    for rows in write_packed(
                        self.store, stem, packed, most_clips, most_bytes, task.number
                    ):
                        self.rows |= {row["clip_id"]: row for row in rows}
                        self._publish(order)
                self._publish(order)  # rows that were rejected after the last shard
        if self.rows != before or not before:
            self._publish(order)
        self._remove_unused()
        table = self._table(order)
        return StageResult(table, computed=self.computed, reused=len(order) - self.computed)

    def _jobs(self, clips: list[Row]) -> tuple[dict[str, ClipJob], dict[str, IndexRow]]:
        """Clips that can be encoded, and rejected rows of those that an earlier stage rejected."""
        inputs = {
            stage: {row["clip_id"]: row for row in read_manifest(self.store, stage, self.dataset)}
            for stage in INPUTS
        }
        jobs: dict[str, ClipJob] = {}
        rejected: dict[str, IndexRow] = {}
        for clip in clips:
            points, par, faces = (inputs[stage].get(clip["clip_id"]) for stage in INPUTS)
            # Without keypoints there is no row in par_masks: keypoints has the reason.
            reason = _rejection_reason(points, "keypoints") if points else ""
            reason = (
                reason
                or _rejection_reason(par, "par_masks")
                or _rejection_reason(faces, "face_boxes")
            )
            if reason or par is None or faces is None:
                row = _rejected(clip, reason, sha256_json([reason, clip["split"]]))
                rejected[clip["clip_id"]] = row
                continue
            # The sound has no hash of its own in every manifest; the clip's fingerprint covers it.
            content = [clip["sha256"], clip.get("audio_sha256") or clip["fingerprint"]]
            content += [par["sha256"], faces["sha256"], clip["split"], clip["speaker"]]
            fingerprint = sha256_json([content, self.encoders.settings()])
            jobs[clip["clip_id"]] = ClipJob(clip, par, faces, fingerprint)
        return jobs, rejected

    def _plan(self, jobs: dict[str, ClipJob], before: dict[str, IndexRow]) -> list[ShardTask]:
        """The shards to write. Takes over the rows of unchanged clips."""
        old_shards: dict[str, list[IndexRow]] = {}
        for row in before.values():
            job = jobs.get(row["clip_id"])
            if row["status"] == KEPT:
                old_shards.setdefault(row["shard"], []).append(row)
            elif job is not None and row["fingerprint"] == job.fingerprint:
                self.rows[row["clip_id"]] = row
        tasks: list[ShardTask] = []
        placed: set[str] = set(self.rows)
        for shard, members in old_shards.items():
            members.sort(key=lambda row: row["offset"])
            same = [r for r in members if _unchanged(r, jobs)] if self.store.exists(shard) else []
            self.rows |= {row["clip_id"]: row for row in same}
            if len(same) < len(members):
                remaining = [r for r in members if keep_row(r, jobs)]
                kept = [(jobs[r["clip_id"]], r if r in same else None) for r in remaining]
                if kept:
                    tasks.append(
                        ShardTask(kept[0][0].clip["split"], _number(shard), kept, whole=True)
                    )
            placed |= {r["clip_id"] for r in members if keep_row(r, jobs)}
        new = [job for clip_id, job in jobs.items() if clip_id not in placed]
        return tasks + self._new_shards(new, old_shards)

    def _new_shards(self, new: list[ClipJob], old_shards: dict[str, Any]) -> list[ShardTask]:
        tasks = []
        for split in sorted({job.clip["split"] for job in new}):
            taken = [_number(s) for s in old_shards if s.split("/")[-1].startswith(f"{split}-")]
            number = max(taken, default=-1) + 1
            clips: list[tuple[ClipJob, IndexRow | None]]
            clips = [(job, None) for job in new if job.clip["split"] == split]
            tasks.append(ShardTask(split, number, clips, whole=False))
        return tasks

    def _packed(
        self, task: ShardTask, loaded: Iterator[LoadedClip | Rejection], progress: Progress
    ) -> Iterator[Packed]:
        """The task's clips in order, copied or encoded; rejections become rows."""
        for job, old in task.clips:
            if old is not None:
                copied = self._copy(old)
                if copied is not None:
                    yield copied
                    continue
            clip = next(loaded) if old is None else self._load(job)
            self.computed += 1
            if isinstance(clip, Rejection):
                self.rows[job.clip_id] = _rejected(job.clip, str(clip), job.fingerprint)
            else:
                yield pack(encode_clip(clip, self.encoders))
            progress.update()

    def _copy(self, row: IndexRow) -> Packed | None:
        """A clip's bytes from its older shard; None when that is damaged."""
        try:
            data = read_packed(self.store, row)
        except OSError:
            return None
        return Packed(data, dict(row)) if is_intact(data, row) else None

    def _load(self, job: ClipJob) -> LoadedClip | Rejection:
        try:
            return load_clip(self.store, job, self.encoders.size)
        except Rejection as rejection:
            return rejection

    def _table(self, order: list[str]) -> pa.Table:
        rows = [self.rows[clip_id] for clip_id in order if clip_id in self.rows]
        filled = [{name: row.get(name) for name in INDEX_SCHEMA.names} for row in rows]
        return pa.Table.from_pylist(filled, schema=INDEX_SCHEMA)

    def _publish(self, order: list[str]) -> None:
        rows = [self.rows[clip_id] for clip_id in order if clip_id in self.rows]
        write_index(self.store, STAGE, self.dataset, rows)

    def _remove_unused(self) -> None:
        used = {row["shard"] for row in self.rows.values()}
        for shard in self.store.glob(f"shards/{self.dataset}/*.tar"):
            if shard not in used:
                self.store.remove(shard)


def _unchanged(row: IndexRow, jobs: dict[str, ClipJob]) -> bool:
    job = jobs.get(row["clip_id"])
    return job is not None and job.fingerprint == row["fingerprint"]


def keep_row(row: IndexRow, jobs: dict[str, ClipJob]) -> bool:
    """Whether the clip stays in its shard: its content may have changed, but not its split."""
    job = jobs.get(row["clip_id"])
    return job is not None and job.clip["split"] == row["split"]


def _rejection_reason(row: Row | None, stage: str) -> str:
    if row is None:
        return f"no {stage} for it yet"
    return f"{stage}: {row['reason']}" if row["status"] == REJECTED else ""


def _rejected(clip: Row, reason: str, fingerprint: str) -> IndexRow:
    base = {name: clip[name] for name in ("clip_id", "dataset", "speaker", "split")}
    nothing = dict.fromkeys(INDEX_SCHEMA.names) | {"path": "", "sha256": "", "shard": ""}
    why = {"status": REJECTED, "reason": reason, "fingerprint": fingerprint}
    return cast(IndexRow, nothing | base | why)


def _number(shard: str) -> int:
    match = re.search(r"-(\d+)-[0-9a-f]{8}\.tar$", shard)
    if match is None:
        raise ValueError(f"{shard} is not a shard of this stage")
    return int(match[1])
