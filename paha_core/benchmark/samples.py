"""The videos behind the tables: generated once for each setting, seed and set of networks.

Tables share them: the unguided row of table 2 is generated once for SG and DG, table 1's PAHA-SG is
table 2's SG 50 %. A batch's key is a hash of everything it depends on.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import pyarrow as pa

from paha_core.benchmark.suites import SuiteRow
from paha_core.benchmark.videos import Video, generated_video
from paha_core.config import Preset
from paha_core.inference.generate import (
    GENERATED_SCHEMA,
    HeldOut,
    choose,
    conditions_of,
    publish,
)
from paha_core.inference.pipeline import PahaPipeline
from paha_core.stages import KEPT, clip_key
from paha_core.store import Store, sha256_json

CODE_VERSION = "2"
NETWORKS = {"unguided": ("univdm",)}
GUIDED = ("univdm", "face_classifier", "non_face_classifier")
# What of the guidance's settings a mode reads: the rest must not make it generate anew.
READS = {
    "unguided": (),
    "sequential": ("face", "non_face", "rate"),
    "differential": ("face", "non_face", "rate", "differential", "form"),
}


class Sampler:
    """Generates rows of tables; networks are opened once, and only when something is missing.

    `store` holds clips and results, `networks` (the same one, or an overlay) the checkpoints.
    """

    def __init__(self, store: Store, networks: Store, preset: Preset, device: str = "cpu") -> None:
        self.store, self.networks, self.preset, self.device = store, networks, preset, device
        self.clips = choose(store, preset)
        self._pipeline: PahaPipeline | None = None

    @property
    def pipeline(self) -> PahaPipeline:
        if self._pipeline is None:
            self._pipeline = PahaPipeline.from_store(self.networks, self.preset, self.device)
        return self._pipeline

    def videos(self, row: SuiteRow, seeds: list[int]) -> list[Video]:
        """The row's videos of every clip and seed."""
        made = []
        for seed in seeds:
            rows = self.batch(row, seed)
            made += [generated_video(row.name, one, seed) for one in rows]
        return made

    def batch(self, row: SuiteRow, seed: int) -> list[dict[str, Any]]:
        """Manifest rows of one seed's videos, generated if they are not there."""
        key = self.key(row, seed)
        rel = f"manifests/suite_samples/{key}.parquet"
        if self.store.exists(rel):
            rows = self.store.read_table(rel).to_pylist()
            if all(self.store.exists(one["path"]) for one in rows):
                return rows
        rows = self._generate(row, seed, key)
        self.store.write_table(rel, pa.Table.from_pylist(rows, schema=GENERATED_SCHEMA))
        return rows

    def key(self, row: SuiteRow, seed: int) -> str:
        names = NETWORKS.get(row.mode, GUIDED)
        final = "checkpoints/{}/final/training.json"
        networks = [self.networks.read_json(final.format(name))["fingerprint"] for name in names]
        settings = self.preset.generation.settings()
        guidance = self._guidance(row)
        for ignored in ("modes", "clips", "guidance", "seed"):
            settings.pop(ignored)
        clips = [clip.row["fingerprint"] for clip in self.clips]
        used = {name: guidance[name] for name in READS[row.mode]}
        return sha256_json([CODE_VERSION, row.mode, used, settings, seed, networks, clips])[:20]

    def _guidance(self, row: SuiteRow) -> dict[str, Any]:
        return self.preset.generation.guidance.settings() | dict(row.guidance)

    def _generate(self, row: SuiteRow, seed: int, key: str) -> list[dict[str, Any]]:
        frames = max(clip.frames for clip in self.clips)
        settings = self.preset.generation.guidance
        made = self.pipeline.generate(
            conditions_of(self.clips, frames, self.preset.audio.margin),
            np.stack([clip.sample.faces[clip.reference_frame] for clip in self.clips]),
            mode=row.mode,
            seed=seed,
            guidance=type(settings)(**self._guidance(row)),
        )
        cost = {
            "seconds": made.seconds,
            "seconds_solver": made.trace.solver,
            "seconds_classifiers": made.trace.classifiers,
            "seconds_codec": made.trace.codec,
        }
        shared: dict[str, Any] = {name: seconds / len(self.clips) for name, seconds in cost.items()}
        shared |= {"segments": made.trace.segments, "seed": seed, "mode": row.mode}
        pairs = zip(self.clips, made.frames, strict=True)
        return [self._publish(clip, video, key, shared) for clip, video in pairs]

    def _publish(
        self, clip: HeldOut, video: np.ndarray, key: str, shared: Mapping[str, Any]
    ) -> dict[str, Any]:
        path = f"suites/samples/{key}/{clip_key(clip.clip_id)}.mp4"
        sha256 = publish(self.store, self.preset, clip, video[: clip.frames], path)
        row = {name: clip.row[name] for name in ("clip_id", "dataset", "speaker", "split")}
        row |= {"status": KEPT, "reason": "", "fingerprint": key, "path": path, "sha256": sha256}
        row |= {"frames": clip.frames, "audio_path": f"{clip.stem}.wav"}
        row |= {"real_path": clip.real_path, "reference": f"{clip.stem}.reference.png"}
        row |= {"reference_frame": clip.reference_frame} | dict(shared)
        return {name: row.get(name) for name in GENERATED_SCHEMA.names}
