"""The small picture a step leaves of its work, under `pictures/`, for whoever looks at its report.

Each function returns the path of a PNG relative to the store, or None when there is nothing to
show. A picture is drawn only when the step did something (`fresh`) or the picture is not there.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from io import BytesIO
from typing import TYPE_CHECKING, Any

from paha_core.stages import kept_rows
from paha_core.store import Store

if TYPE_CHECKING:
    import numpy as np

    from paha_core.config import Preset

SIDE = 144  # pixels of a tile
TILES = 6
Row = dict[str, Any]


def clips(store: Store, dataset: str, *, fresh: bool) -> str | None:
    """The middle frames of a few kept clips."""
    rows = _spread(kept_rows(store, "clips", [dataset]))
    return _picture(
        store, f"pictures/clips-{dataset}.png", fresh, lambda: [_middle(store, row) for row in rows]
    )


def poses(store: Store, dataset: str, *, fresh: bool) -> str | None:
    """The same, with the keypoints drawn on."""
    rows = _spread(_with_clips(store, "keypoints", dataset))
    return _picture(
        *(store, f"pictures/keypoints-{dataset}.png", fresh),
        lambda: [_drawn(store, clip, row["path"]) for clip, row in rows],
    )


def masks(store: Store, dataset: str, *, fresh: bool) -> str | None:
    """The same, with the loss weights glowing."""
    keypoints = {r["clip_id"]: r["path"] for r in kept_rows(store, "keypoints", [dataset])}
    rows = _spread(_with_clips(store, "par_masks", dataset))
    return _picture(
        *(store, f"pictures/par_masks-{dataset}.png", fresh),
        lambda: [
            _drawn(store, clip, keypoints[row["clip_id"]], row["path"])
            for clip, row in rows
            if row["clip_id"] in keypoints
        ],
    )


def generated(store: Store, preset: Preset, *, fresh: bool) -> str | None:
    """One held-out clip as each system shows it, a row of frames each."""
    from paha_core.benchmark.videos import collect_videos, load_frames

    def draw() -> list[np.ndarray]:
        from paha_core.benchmark.figures import strip

        systems = collect_videos(store, preset)
        shown = [videos[0] for videos in systems.values() if videos and videos[0].frames]
        return [strip(load_frames(store, video), TILES, SIDE) for video in shown]

    return _picture(store, "pictures/generated_clips.png", fresh, draw, upright=True)


def curve(store: Store, network: str, *, fresh: bool) -> str | None:
    """Training and held-out loss against the step, logarithmic, as a plain line drawing."""

    def draw() -> list[np.ndarray]:
        import cv2
        import numpy as np

        height, width, edge = 180, 420, 8
        canvas = np.full((height, width, 3), 255, np.uint8)
        lines = {
            "loss": (90, 120, 190),
            "validation_loss": (210, 90, 40),
        }
        log = read_log(store, network)
        found = {
            name: [(e["step"], math.log(e[name])) for e in log if e.get(name, 0) > 0]
            for name in lines
        }
        points = [point for pairs in found.values() for point in pairs]
        if len(points) < 2:
            return []
        steps, low = max(s for s, _ in points), min(v for _, v in points)
        spread = max(max(v for _, v in points) - low, 1e-9)
        for name, colour in lines.items():
            path = [
                (
                    edge + round((width - 2 * edge) * step / max(steps, 1)),
                    height - edge - round((height - 2 * edge) * (value - low) / spread),
                )
                for step, value in found[name]
            ]
            cv2.polylines(
                canvas, [np.array(path, np.int32).reshape(-1, 1, 2)], False, colour, 1, cv2.LINE_AA
            )
            for point in path if name == "validation_loss" else []:
                cv2.circle(canvas, point, 3, colour, -1, cv2.LINE_AA)
        return [canvas]

    return _picture(store, f"pictures/{network}.png", fresh, draw)


def read_log(store: Store, network: str) -> list[dict[str, float]]:
    """The lines of a network's training log; none before it was trained."""
    rel = f"checkpoints/{network}/log.jsonl"
    if not store.exists(rel):
        return []
    return [json.loads(line) for line in store.read_bytes(rel).decode().splitlines()]


def last_figures(store: Store, network: str) -> dict[str, float | str]:
    """The last value of every figure in a network's log."""
    figures: dict[str, float | str] = {}
    for line in read_log(store, network):
        figures.update(line)
    return figures


# --- drawing --------------------------------------------------------------------------------------


def _picture(
    store: Store,
    rel: str,
    fresh: bool,
    draw: Callable[[], list[np.ndarray]],
    *,
    upright: bool = False,
) -> str | None:
    if store.exists(rel) and not fresh:
        return rel
    tiles = draw()
    if not tiles:
        return None
    import numpy as np
    from PIL import Image

    out = BytesIO()
    Image.fromarray(np.concatenate(tiles, axis=0 if upright else 1)).save(out, "PNG", optimize=True)
    store.write_bytes(rel, out.getvalue())
    return rel


def _spread(rows: list[Any]) -> list[Any]:
    """At most `TILES` of the rows, evenly spread."""
    count = min(TILES, len(rows))
    return [rows[i * len(rows) // count] for i in range(count)]


def _with_clips(store: Store, stage: str, dataset: str) -> list[tuple[Row, Row]]:
    clips = {row["clip_id"]: row for row in kept_rows(store, "clips", [dataset])}
    rows = kept_rows(store, stage, [dataset])
    return [(clips[row["clip_id"]], row) for row in rows if row["clip_id"] in clips]


def _frame(store: Store, clip: Row) -> np.ndarray:
    from paha_core.media.video import iter_frames

    with store.reading(clip["path"]) as path:
        start = (clip["frames"] // 2 + 0.5) / clip["fps"]
        return next(iter_frames(path, start=start))


def _tile(picture: np.ndarray) -> np.ndarray:
    import numpy as np
    from PIL import Image

    return np.asarray(Image.fromarray(picture).resize((SIDE, SIDE), Image.Resampling.LANCZOS))


def _middle(store: Store, clip: Row) -> np.ndarray:
    return _tile(_frame(store, clip))


def _drawn(store: Store, clip: Row, keypoints_path: str, mask_path: str = "") -> np.ndarray:
    import numpy as np

    from paha_core.pose.draw import draw_pose
    from paha_core.pose.keypoints import Keypoints

    with store.reading(keypoints_path) as path:
        keypoints = Keypoints.load(path)
    weights = None
    at = len(keypoints) // 2
    if mask_path:
        with store.reading(mask_path) as path, np.load(path, allow_pickle=False) as arrays:
            weights = arrays["weights"][at].astype(np.float32)
    frame = _frame(store, clip)
    return _tile(draw_pose(frame, keypoints.points[at], keypoints.scores[at], weights=weights))
