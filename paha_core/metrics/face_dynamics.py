"""How lips, head and brows move: THEval's four motion metrics (Newbyl/THEval, CVPR 2026), from 68
points in place of FaceMesh's vertices.

Each is judged by its distance to the real clips' value: THEval scores 1 - |value - real| / |real|.
Lip dynamics and lip sync follow its code from points that we have (over six videos r = 0.97 and
0.98 with it); brows have fewer points (r = 0.86), and the head's angles come from a fixed face
model where THEval uses a network. All deviations are population ones (ddof 0), as there.
"""

from __future__ import annotations

from itertools import combinations

import numpy as np

from paha_core.metrics.protocol import PROTOCOL
from paha_core.pose.layout import FACE

LIPS = slice(48, 68)
UPPER, LOWER = [61, 62, 63], [67, 66, 65]  # the inner lips
EYES = ([36, 39], [42, 45])  # outer and inner corner: the right eye, the left
BROWS = (slice(17, 22), slice(22, 27))
EYE_RINGS = (slice(36, 42), slice(42, 48))
SIDE = 256.0  # THEval squeezes every frame to 256 x 256

# Nose tip, chin, outer eye corners and mouth corners of a generic head, in millimetres: x to the
# person's left, y down, z away from the camera.
HEAD_POINTS = [30, 8, 36, 45, 48, 54]
HEAD_MODEL = np.array(
    [
        (0, 0, 0),
        (0, 63.6, 12.5),
        (-43.3, -32.7, 26),
        (43.3, -32.7, 26),
        (-28.9, 28.9, 24.1),
        (28.9, 28.9, 24.1),
    ],
    np.float64,
)


def face_points(
    points: np.ndarray, scores: np.ndarray, *, min_score: float = PROTOCOL.min_score
) -> tuple[np.ndarray, np.ndarray] | None:
    """The 68 points `[n, 68, 2]` of the frames that show them all, and those frames' numbers `[n]`.

    `points` `[T, 133, 2]` in pixels, `scores` `[T, 133]`. None when they are fewer than half.
    """
    seen = (np.asarray(scores)[:, FACE] >= min_score).all(1)
    if not len(seen) or seen.mean() < PROTOCOL.lip_min_share:
        return None
    return np.asarray(points, np.float64)[:, FACE][seen], np.flatnonzero(seen)


def lip_dynamics(face: np.ndarray, size: tuple[int, int]) -> float:
    """Mean over all pairs of lip points of their distance's deviation over time, in pixels of a
    frame squeezed to 256 x 256. `face` `[n, 68, 2]` in pixels, `size` (height, width).
    """
    lips = face[:, LIPS] * SIDE / np.array((size[1], size[0]))
    first, second = zip(*combinations(range(lips.shape[1]), 2), strict=True)
    distances = np.linalg.norm(lips[:, list(first)] - lips[:, list(second)], axis=-1)
    return float(distances.std(0).mean())


def lip_openness(face: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """Gap of the inner lips over the eyes' distance `[n]`, y by the height and x by the width."""
    unit = face / np.array((size[1], size[0]))
    gap = unit[:, LOWER, 1].mean(1) - unit[:, UPPER, 1].mean(1)
    right, left = (unit[:, eye, 0].mean(1) for eye in EYES)
    return np.asarray(gap / np.maximum(np.abs(left - right), 1e-9))


def lip_loudness_error(
    openness: np.ndarray,
    frames: np.ndarray,
    wave: np.ndarray,
    speech: np.ndarray,
    *,
    fps: float = PROTOCOL.fps,
    sample_rate: int = PROTOCOL.sample_rate,
) -> float | None:
    """Mean difference of openness and loudness, each scaled from 0 to 1 over the frames of speech.

    `openness` `[n]` of the frames `frames` `[n]`; `wave` `[N]`; `speech` bool `[T]`: whether
    somebody speaks in each frame. Loudness: root mean square of the 50 ms that begin at i/fps, hop
    50 ms as in THEval. None when less than a tenth of the frames is speech.
    """
    used = speech[np.minimum(frames, len(speech) - 1)] if len(speech) else np.zeros(0, bool)
    if not len(used) or used.mean() < 0.1 or used.sum() < 2:
        return None
    step = round(0.05 * sample_rate)
    blocks = np.asarray(wave, np.float64)[: len(wave) // step * step].reshape(-1, step)
    loudness = np.sqrt((blocks**2).mean(1))
    if not len(loudness):
        return None
    at = np.minimum((frames / fps / 0.05).astype(int), len(loudness) - 1)
    a, b = openness[used], loudness[at][used]
    return float(np.abs(_unit_range(a) - _unit_range(b)).mean())


def _unit_range(values: np.ndarray) -> np.ndarray:
    spread = values.max() - values.min()
    return np.asarray((values - values.min()) / spread if spread > 1e-9 else np.zeros_like(values))


def head_angles(face: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """Pitch, yaw and roll of each frame in degrees `[n, 3]`: six points on a generic head, a camera
    whose focal length is the picture's width."""
    import cv2

    height, width = size
    camera = np.array([[width, 0, width / 2], [0, width, height / 2], [0, 0, 1]], np.float64)
    angles = []
    for points in face:
        marks = np.ascontiguousarray(points[HEAD_POINTS])
        _, turn, _ = cv2.solvePnP(HEAD_MODEL, marks, camera, np.zeros(4), flags=cv2.SOLVEPNP_SQPNP)
        matrix, _ = cv2.Rodrigues(turn)
        angles.append(cv2.RQDecomp3x3(matrix)[0])
    return np.unwrap(np.asarray(angles, np.float64), axis=0, period=360.0)


def head_motion(face: np.ndarray, size: tuple[int, int]) -> float | None:
    """sqrt(mean deviation of the angles x mean variance of their differences + mean variance of the
    face's place), in THEval's mixture of degrees and pixels. None below 3 frames.
    """
    if len(face) < 3:
        return None
    angles = head_angles(face, size)
    centre = (face.min(1) + face.max(1)) / 2
    turning = angles.std(0).mean() * np.diff(angles, axis=0).var(0).mean()
    return float(np.sqrt(turning + centre.var(0).mean()))


def eyebrow_motion(face: np.ndarray) -> float | None:
    """Mean frame-to-frame change of the distance of brow and eye over the distance of the eyes, of
    both sides. None below 2 frames."""
    if len(face) < 2:
        return None
    right, left = (face[:, ring].mean(1) for ring in EYE_RINGS)
    between = np.maximum(np.linalg.norm(right - left, axis=-1), 1e-9)
    raised = [
        np.linalg.norm(face[:, brow].mean(1) - eye, axis=-1) / between
        for brow, eye in zip(BROWS, (right, left), strict=True)
    ]
    return float(np.mean([np.abs(np.diff(one)).mean() for one in raised]))
