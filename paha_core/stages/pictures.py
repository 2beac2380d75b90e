"""A small picture of each stage's results, under `pictures/`, for the stage's report.

Each function returns the path of a PNG relative to the store, or None when there is nothing to
show. A picture is drawn only when the stage did something (`fresh`) or the picture is not there.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from io import BytesIO
from typing import TYPE_CHECKING, Any

from paha_core.engine.manifest_files import Row
from paha_core.engine.manifest_stage import kept_rows
from paha_core.store import Store
from paha_core.trained import read_log

if TYPE_CHECKING:
    import numpy as np

SIDE = 144  # pixels of a tile
TILES = 6  # in a row
GENERATED = "pictures/generated_clips.png"
STRIPS = 4  # clips that are shown as a row of frames


def clips(store: Store, dataset: str, *, fresh: bool) -> str | None:
    """The middle frames of a few kept clips."""
    rows = _spread(kept_rows(store, "clips", [dataset]))
    return _picture(
        store, f"pictures/clips-{dataset}.png", fresh, lambda: [_middle(store, row) for row in rows]
    )


def poses(store: Store, dataset: str, *, fresh: bool) -> str | None:
    """A strip of each of a few clips, with the keypoints drawn on: a row of frames a clip."""
    return _strips(store, "keypoints", dataset, fresh, ("keypoints",))


def faces(store: Store, dataset: str, *, fresh: bool) -> str | None:
    """The same, with the face boxes."""
    return _strips(store, "face_boxes", dataset, fresh, ("face_boxes",))


def masks(store: Store, dataset: str, *, fresh: bool) -> str | None:
    """The same, with keypoints, face boxes (if they are made already) and glowing loss weights."""
    return _strips(
        store, "par_masks", dataset, fresh, ("par_masks", "keypoints"), optional=("face_boxes",)
    )


def generated(store: Store, modes: Sequence[str], *, fresh: bool) -> str | None:
    """One held-out clip, a row of frames each: real, then as each mode shows it."""

    def draw() -> list[np.ndarray]:
        from paha_core.media.frames import read_first, strip

        rows = [row for mode in modes for row in kept_rows(store, "generated_clips", [mode])[:1]]
        paths = [row["real_path"] for row in rows[:1]] + [row["path"] for row in rows]
        shown = []
        for rel in paths:
            with store.reading(rel) as path:
                shown.append(strip(read_first(path, rows[0]["frames"]), TILES, SIDE))
        return shown

    return _picture(store, GENERATED, fresh, draw, upright=True)


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
            name: [(e["step"], math.log(e[name])) for e in log if (e.get(name) or 0) > 0]
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


def _spread(rows: list[Any], most: int = TILES) -> list[Any]:
    """At most `most` of the rows, evenly spread."""
    count = min(most, len(rows))
    return [rows[i * len(rows) // count] for i in range(count)]


def _frame(store: Store, clip: Row) -> np.ndarray:
    return _frames(store, clip, [clip["frames"] // 2])[0]


def _frames(store: Store, clip: Row, indices: list[int]) -> list[np.ndarray]:
    """The frames of those indices, which ascend; the clip is decoded once."""
    from itertools import islice

    from paha_core.media.video import iter_frames

    with store.reading(clip["path"]) as path:
        frames = enumerate(islice(iter_frames(path), indices[-1] + 1))
        return [frame for i, frame in frames for _ in range(indices.count(i))]


def _tile(picture: np.ndarray) -> np.ndarray:
    import numpy as np
    from PIL import Image

    return np.asarray(Image.fromarray(picture).resize((SIDE, SIDE), Image.Resampling.LANCZOS))


def _middle(store: Store, clip: Row) -> np.ndarray:
    return _tile(_frame(store, clip))


def _strips(
    store: Store,
    stage: str,
    dataset: str,
    fresh: bool,
    needed: tuple[str, ...],
    optional: tuple[str, ...] = (),
) -> str | None:
    """`STRIPS` clips that all `needed` stages kept, drawn with the results of those and of the
    `optional` ones."""
    made = {
        name: {row["clip_id"]: row["path"] for row in kept_rows(store, name, [dataset])}
        for name in (*needed, *optional)
    }
    clips = [
        clip
        for clip in kept_rows(store, "clips", [dataset])
        if all(clip["clip_id"] in made[name] for name in needed)
    ]

    def draw() -> list[np.ndarray]:
        return [
            _strip(store, clip, {name: paths.get(clip["clip_id"]) for name, paths in made.items()})
            for clip in _spread(clips, STRIPS)
        ]

    return _picture(store, f"pictures/{stage}-{dataset}.png", fresh, draw, upright=True)


def _strip(store: Store, clip: Row, made: dict[str, str | None]) -> np.ndarray:
    """`TILES` frames of a clip side by side, with what the stages in `made` found drawn on."""
    import numpy as np

    from paha_core.pose.draw import draw_pose
    from paha_core.pose.face import FaceBoxes
    from paha_core.pose.keypoints import Keypoints
    from paha_core.pose.layout import POINTS

    count = clip["frames"]
    points = np.zeros((count, POINTS, 2), np.float32)
    scores = np.zeros((count, POINTS), np.float32)
    boxes, weights = np.zeros((count, 4), np.float32), None
    if rel := made.get("keypoints"):
        with store.reading(rel) as path:
            keypoints = Keypoints.load(path)
        points, scores = keypoints.points, keypoints.scores
    if rel := made.get("face_boxes"):
        with store.reading(rel) as path:
            boxes = FaceBoxes.load(path).boxes
    if rel := made.get("par_masks"):
        with store.reading(rel) as path, np.load(path, allow_pickle=False) as arrays:
            weights = arrays["weights"].astype(np.float32)
    chosen = [round(i * (count - 1) / (TILES - 1)) for i in range(TILES)]
    tiles = [
        _tile(
            draw_pose(
                *(frame, points[i], scores[i]),
                face_box=boxes[i],
                weights=None if weights is None else weights[i],
            )
        )
        for i, frame in zip(chosen, _frames(store, clip, chosen), strict=True)
    ]
    return np.concatenate(tiles, axis=1)
