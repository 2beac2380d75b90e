"""The stage `par_masks`: the loss weights of every clip with keypoints."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from typing import TypedDict

import numpy as np
import pyarrow as pa

from paha_core.config import ParConfig
from paha_core.engine.manifest_stage import (
    ClipWork,
    StageResult,
    clip_key,
    kept_rows,
    update_manifest,
)
from paha_core.engine.workers import Workers
from paha_core.par.mask import BODY_BIT, FACE_BIT, HANDS_BIT, par_weights, region_masks
from paha_core.pose import Keypoints
from paha_core.store import Store, sha256_file, sha256_json

PAR_MASKS = "par_masks"
CODE_VERSION = 1  # raise it when the masks change
PAR_SCHEMA = pa.schema(
    [
        ("frames", pa.int32()),
        ("grid", pa.int32()),
        ("mean_weight", pa.float32()),
        ("max_weight", pa.float32()),
        ("face_share", pa.float32()),  # mean share of cells in each Awareness Area
        ("hands_share", pa.float32()),
        ("body_share", pa.float32()),
    ]
)


class MaskColumns(TypedDict):
    """What `make_masks` adds to a row: `PAR_SCHEMA`, and the file it wrote."""

    path: str
    sha256: str
    frames: int
    grid: int
    mean_weight: float
    max_weight: float
    face_share: float
    hands_share: float
    body_share: float


def par_masks_stage(
    store: Store,
    dataset: str,
    par: ParConfig,
    grid: int,
    *,
    workers: Workers,
    speakers: Collection[str] = (),
) -> StageResult:
    """The masks of every clip with keypoints (of these `speakers`), as `par_masks/<clip key>.npz`.

    Each contains `weights` float16 [T, grid, grid] and `regions` uint8 [T, grid, grid]; equal
    keypoints and settings give equal bytes. Float16 has a relative error of 0.05 % at most and is
    an eighth of a 512-pixel sample; logarithmic bytes would be a sixteenth, with an error of 0.7 %
    (`benchmarks/shards.py`).
    """
    jobs = []
    for row in kept_rows(store, "keypoints", [dataset]):
        target = f"{PAR_MASKS}/{clip_key(row['clip_id'])}.npz"
        parts = [PAR_MASKS, CODE_VERSION, par.settings(), grid, row["sha256"]]
        columns = {"speaker": row["speaker"], "split": row["split"]}
        task = MaskTask(store, row["path"], row["sha256"], target, par, grid)
        jobs.append(ClipWork(row["clip_id"], sha256_json(parts), task, columns))
    return update_manifest(
        *(store, PAR_MASKS, dataset, jobs, make_masks),
        extra_schema=PAR_SCHEMA,
        workers=workers,
        speakers=speakers,
    )


@dataclass(frozen=True)
class MaskTask:
    """Input of `make_masks`: paths in the store and the settings of PAR."""

    store: Store
    keypoints: str
    keypoints_sha256: str
    target: str
    par: ParConfig
    grid: int


def make_masks(task: MaskTask) -> MaskColumns:
    """Process one clip; returns its columns."""
    with task.store.reading(task.keypoints, task.keypoints_sha256) as path:
        keypoints = Keypoints.load(path)
    scene = (keypoints.points, keypoints.scores, keypoints.size, task.par, task.grid)
    weights, regions = par_weights(*scene), region_masks(*scene)
    with task.store.writing(task.target) as path:
        np.savez(path, weights=weights.astype(np.float16), regions=regions)
        sha256 = sha256_file(path)
    return {
        "path": task.target,
        "sha256": sha256,
        "frames": len(weights),
        "grid": task.grid,
        "mean_weight": float(weights.mean()),
        "max_weight": float(weights.max()),
        "face_share": float((regions & FACE_BIT > 0).mean()),
        "hands_share": float((regions & HANDS_BIT > 0).mean()),
        "body_share": float((regions & BODY_BIT > 0).mean()),
    }
