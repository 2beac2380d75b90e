"""Keypoints of the studio's clips as they were drawn, in place of a detector's.

A detector takes some 60 ms a frame of one core, the drawn truth nothing, and it has no misses. The
base learns from it; whatever compares real with generated keypoints needs a detector for both.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from io import BytesIO
from pathlib import PurePosixPath
from typing import Any

import numpy as np

from paha_core.errors import UserError
from paha_core.media import FPS
from paha_core.pose.keypoints import Keypoints
from paha_core.store import Store

NAME, VERSION = "drawn", "1"


def truth_path(clip: Mapping[str, Any] | None) -> str:
    """The side file of a studio clip's programme; empty for a clip without a programme."""
    if clip is None or not clip.get("source_id"):
        return ""
    return f"sources/truth/{clip['speaker']}/{PurePosixPath(str(clip['source_id'])).stem}.npz"


def clip_start(clip: Mapping[str, Any]) -> float:
    """Seconds in the programme at which the clip's first frame begins."""
    return float(clip["start"] if clip.get("cut_start") is None else clip["cut_start"])


def drawn_keypoints(store: Store, clip: Mapping[str, Any]) -> Keypoints:
    """The true points of a row of the stage `clips`, each frame's taken at its centre in time.

    Raises `UserError` for a clip that the studio has not drawn.
    """
    rel = truth_path(clip)
    if not rel or not store.exists(rel):
        raise UserError(
            f"{clip['clip_id']} has no drawn truth: pose.keypoints_source drawn is for the "
            "studio's footage alone; use detector"
        )
    with np.load(BytesIO(store.read_bytes(rel)), allow_pickle=False) as truth:
        points, visible, fps = truth["keypoints"], truth["visible"], float(truth["fps"])
    frames, size = int(clip["frames"]), int(clip["size"])
    left, top, side = json.loads(clip["crop"])
    # frame i of the programme spans i/fps to (i + 1)/fps
    at = (clip_start(clip) + (np.arange(frames) + 0.5) / FPS) * fps - 0.5
    before = np.clip(np.floor(at).astype(int), 0, len(points) - 1)
    after = np.clip(before + 1, 0, len(points) - 1)
    share = np.clip(at - before, 0, 1)[:, None, None]
    moved = points[before] * (1 - share) + points[after] * share
    seen = visible[before] & visible[after]
    placed = np.where(seen[..., None], (moved - (left, top)) * (size / side), 0.0)
    return Keypoints(
        placed.astype(np.float32), seen.astype(np.float32), (size, size), NAME, VERSION, ""
    )
