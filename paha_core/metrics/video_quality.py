"""What a viewer notices first: a background that drifts, soft faces and hands, flicker, a lost
face.
"""

from __future__ import annotations

import numpy as np

from paha_core.metrics.protocol import PROTOCOL
from paha_core.pose.layout import FACE, HANDS

LEFT_SHOULDER, RIGHT_SHOULDER = 5, 6
LIMBS = ((5, 6), (5, 7), (7, 9), (6, 8), (8, 10))  # shoulders, upper arms, forearms
GRID = 64


def person_cells(
    points: np.ndarray,
    scores: np.ndarray,
    size: tuple[int, int],
    *,
    min_score: float = PROTOCOL.min_score,
) -> np.ndarray | None:
    """Cells `[64, 64]` of the picture that the person touches in any frame; None without shoulders.

    `points` `[T, 133, 2]` in pixels, `scores` `[T, 133]`, `size` (height, width). PAR's body
    rectangle fills a close shot from edge to edge, so the parts are drawn with flesh on: a head
    with hair, a trunk down to the bottom edge, arms and hands; their widths are shares of the
    shoulders'.
    """
    good = np.asarray(scores) >= min_score
    seen = good[:, LEFT_SHOULDER] & good[:, RIGHT_SHOULDER]
    if not seen.any():
        return None
    points = np.asarray(points, np.float64) / np.array((size[1], size[0]))
    width = np.linalg.norm(points[seen, LEFT_SHOULDER] - points[seen, RIGHT_SHOULDER], axis=-1)
    shoulders = float(np.median(width))
    centres = (np.arange(GRID) + 0.5) / GRID
    cells = np.stack(np.meshgrid(centres, centres), -1)  # [64, 64, 2], x and y
    found = np.zeros((GRID, GRID), bool)
    for frame, sure in zip(points[::2], good[::2], strict=True):  # nobody moves far in 0.04 s
        for a, b in LIMBS:
            if sure[a] and sure[b]:
                found |= _distance(cells, frame[a], frame[b]) < 0.2 * shoulders
        hands = frame[HANDS][sure[HANDS]]
        across, down = ((centres - hands[:, axis, None]) ** 2 for axis in (0, 1))
        found |= (across[:, None] + down[..., None] < (0.15 * shoulders) ** 2).any(0)
        face = frame[FACE][sure[FACE]]
        if len(face):
            found |= _inside(cells, face.min(0), face.max(0), side=0.4, top=0.9, bottom=0.6)
        if sure[LEFT_SHOULDER] and sure[RIGHT_SHOULDER]:
            pair = frame[[LEFT_SHOULDER, RIGHT_SHOULDER]]
            left, right = pair[:, 0].min() - 0.2 * shoulders, pair[:, 0].max() + 0.2 * shoulders
            trunk = (cells[..., 0] > left) & (cells[..., 0] < right)
            found |= trunk & (cells[..., 1] > pair[:, 1].min() - 0.15 * shoulders)
    return found


def _distance(cells: np.ndarray, a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Distance `[64, 64]` of the cells to the line from a to b."""
    along = b - a
    share = np.clip(((cells - a) @ along) / max(float(along @ along), 1e-12), 0, 1)
    return np.asarray(np.linalg.norm(cells - a - share[..., None] * along, axis=-1))


def _inside(
    cells: np.ndarray, low: np.ndarray, high: np.ndarray, *, side: float, top: float, bottom: float
) -> np.ndarray:
    """Cells in the box from `low` to `high`, grown by shares of its width and height."""
    width, height = high - low
    x, y = cells[..., 0], cells[..., 1]
    across = (x > low[0] - side * width) & (x < high[0] + side * width)
    return np.asarray(across & (y > low[1] - top * height) & (y < high[1] + bottom * height))


def background_mask(
    people: list[np.ndarray], size: tuple[int, int], *, min_share: float = 0.02
) -> np.ndarray | None:
    """True `[H, W]` where none of `people` (cells `[64, 64]`) is; None when too little is left."""
    rows, columns = (np.arange(n) * GRID // n for n in size)
    mask = ~np.any(people, axis=0)[rows[:, None], columns[None]]
    return mask if mask.mean() >= min_share else None


def background_psnr(frames: np.ndarray, reference: np.ndarray, mask: np.ndarray) -> float:
    """Peak signal-to-noise ratio in dB of uint8 `frames` `[T, H, W, 3]` against `reference` `[H, W,
    3]` in `mask`.

    From the mean squared error over all frames, so one bad frame counts. Equal pictures: 100 dB,
    the cap.
    """
    error = (frames[:, mask].astype(np.float32) - reference[mask].astype(np.float32)) ** 2
    return float(min(10 * np.log10(255.0**2 / max(float(error.mean()), 1e-12)), 100.0))


def grey(frames: np.ndarray) -> np.ndarray:
    """uint8 RGB `[..., 3]` to float32 luma `[...]`, 0 to 255 (ITU-R 601)."""
    weights = np.array([0.299, 0.587, 0.114], np.float32)
    return np.asarray(frames.astype(np.float32) @ weights)


def sharpness(
    luma: np.ndarray,
    points: np.ndarray,
    scores: np.ndarray,
    region: slice,
    *,
    min_score: float = PROTOCOL.min_score,
) -> float | None:
    """Mean over frames of the Laplacian's variance inside the box of the region's reliable points.

    `luma` float `[T, H, W]` as `grey` returns it, `points` `[T, 133, 2]` in its pixels, `scores`
    `[T, 133]`, `region` a slice of the layout. None when no frame shows the region at 8 x 8 pixels
    or more.
    """
    values = []
    for picture, at, sure in zip(luma, points, scores, strict=True):
        box = _box(at[region][sure[region] >= min_score])
        if box is None:
            continue
        patch = picture[box]
        if min(patch.shape) < 8:
            continue
        centre = patch[1:-1, 1:-1]
        around = patch[:-2, 1:-1] + patch[2:, 1:-1] + patch[1:-1, :-2] + patch[1:-1, 2:]
        values.append(float((around - 4 * centre).var()))
    return float(np.mean(values)) if values else None


def _box(points: np.ndarray) -> tuple[slice, slice] | None:
    """Rows and columns that points `[n, 2]` span; None below 3 points."""
    if len(points) < 3:
        return None
    x0, y0 = np.maximum(np.floor(points.min(0)).astype(int), 0)
    x1, y1 = np.maximum(np.ceil(points.max(0)).astype(int), 0)
    return slice(y0, y1), slice(x0, x1)


def flicker(luma: np.ndarray, mask: np.ndarray) -> float | None:
    """Mean |f[t-1] - 2 f[t] + f[t+1]| over the background, in grey levels; `luma` `[T, H, W]`,
    `mask` `[H, W]`.

    The second difference leaves slow changes of light alone. None below 3 frames.
    """
    if len(luma) < 3:
        return None
    return float(_second_difference(luma[:, mask]).mean())


def region_flicker(
    luma: np.ndarray,
    points: np.ndarray,
    scores: np.ndarray,
    region: slice,
    *,
    min_score: float = PROTOCOL.min_score,
) -> float | None:
    """`flicker` inside the box of a region's reliable points in the middle frame, averaged over
    frames. Motion causes some flicker too, so compare it with a real video's.
    """
    values = []
    for t in range(1, len(luma) - 1):
        box = _box(points[t, region][scores[t, region] >= min_score])
        patch = luma[t - 1 : t + 2, *box] if box is not None else luma[:0]
        if patch.size:
            values.append(float(_second_difference(patch).mean()))
    return float(np.mean(values)) if values else None


def _second_difference(luma: np.ndarray) -> np.ndarray:
    return np.abs(luma[:-2] - 2 * luma[1:-1] + luma[2:])


def face_share(scores: np.ndarray, *, min_score: float = PROTOCOL.min_score) -> float:
    """Share of frames in which at least half of the 68 face points are reliable; `scores` `[T,
    133]`.
    """
    return float(((np.asarray(scores)[:, FACE] >= min_score).mean(1) >= 0.5).mean())
