"""What a viewer notices first: a background that drifts, soft faces and hands, flicker, a lost
face.
"""

from __future__ import annotations

import numpy as np

BODY, FACE, HANDS = slice(0, 17), slice(23, 91), slice(91, 133)


def person_box(
    points: np.ndarray, scores: np.ndarray, size: tuple[int, int], *, min_score: float = 0.3
) -> tuple[int, int, int, int] | None:
    """The rectangle a person stays within over all frames: `x0, y0, x1, y1` in pixels, or None
    without points.

    `points` `[T, 133, 2]` in pixels, `scores` `[T, 133]`, `size` (height, width). PAR's body
    rectangle, joined with face and hands, grows by 15 % of its size to each side (40 % to the top,
    for the hair, and down to the edge).
    """
    keep = np.asarray(scores)[:, :133] >= min_score
    keep[:, 17:23] = False
    if not keep.any():
        return None
    # Detectors guess hips below the picture; they must not widen the margin above the head.
    kept = np.clip(np.asarray(points)[keep], 0, (size[1], size[0]))
    (x0, y0), (x1, y1) = np.percentile(kept, 0.5, axis=0), np.percentile(kept, 99.5, axis=0)
    width, height = x1 - x0, y1 - y0
    return (
        max(int(x0 - 0.15 * width), 0),
        max(int(y0 - 0.4 * height), 0),
        min(int(np.ceil(x1 + 0.15 * width)), size[1]),
        size[0],
    )


def background_mask(
    boxes: list[tuple[int, int, int, int] | None], size: tuple[int, int], *, min_share: float = 0.02
) -> np.ndarray | None:
    """True `[H, W]` outside all `boxes`; None when less than `min_share` of the picture is left."""
    mask = np.ones(size, bool)
    for box in boxes:
        if box is not None:
            mask[box[1] : box[3], box[0] : box[2]] = False
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
    min_score: float = 0.3,
) -> float | None:
    """Mean over frames of the Laplacian's variance inside the box of the region's reliable points.

    `luma` float `[T, H, W]` as `grey` returns it, `points` `[T, 133, 2]` in its pixels, `scores`
    `[T, 133]`, `region` one of this module's slices. None when no frame shows the region at 8 x 8
    pixels or more.
    """
    values = []
    for picture, frame_points, frame_scores in zip(luma, points, scores, strict=True):
        kept = frame_points[region][frame_scores[region] >= min_score]
        if len(kept) < 3:
            continue
        x0, y0 = np.maximum(np.floor(kept.min(0)).astype(int), 0)
        x1, y1 = np.ceil(kept.max(0)).astype(int)
        patch = picture[y0:y1, x0:x1]
        if min(patch.shape) < 8:
            continue
        centre = patch[1:-1, 1:-1]
        around = patch[:-2, 1:-1] + patch[2:, 1:-1] + patch[1:-1, :-2] + patch[1:-1, 2:]
        values.append(float((around - 4 * centre).var()))
    return float(np.mean(values)) if values else None


def flicker(luma: np.ndarray, mask: np.ndarray) -> float | None:
    """Mean |f[t-1] - 2 f[t] + f[t+1]| over the background, in grey levels; `luma` `[T, H, W]`,
    `mask` `[H, W]`.

    The second difference leaves slow changes of light alone. None below 3 frames.
    """
    if len(luma) < 3:
        return None
    background = luma[:, mask]
    return float(np.abs(background[:-2] - 2 * background[1:-1] + background[2:]).mean())


def face_share(scores: np.ndarray, *, min_score: float = 0.3) -> float:
    """Share of frames in which at least half of the 68 face points are reliable; `scores` `[T,
    133]`.
    """
    return float(((np.asarray(scores)[:, FACE] >= min_score).mean(1) >= 0.5).mean())
