"""A presenter's geometry at one moment: named outlines and the 133 COCO-WholeBody keypoints.

Coordinates are shares of the crop's side with (0, 0) at its upper left corner, y down. "Left" in
keypoints is the person's left, which is at the image's right.
"""

from dataclasses import dataclass
from functools import cache

import numpy as np

from paha_core.corpora.studio.identities import Identity
from paha_core.corpora.studio.look import Look
from paha_core.corpora.studio.motion import Motion

KEYPOINTS = 133
MIDLINE = np.array([0.5, 0.0])
_PIVOT = np.array([0.5, 0.47])  # the head turns about the top of the neck
_MOUTH_Y = 0.372
_EYE = (0.068, 0.238)  # from the midline, from the top
_STEPS = 8  # samples between two control points of an outline

# Right half of a face from the ear down to the chin, as (x from the midline, y, share of jaw drop).
_JAW = ((0.153, 0.23, 0.0), (0.150, 0.30, 0.05), (0.134, 0.37, 0.3), (0.084, 0.437, 0.75))
_CHIN = (0.0, 0.470, 1.0)
_CRANIUM = ((0.138, 0.14), (0.0, 0.085), (-0.138, 0.14))

# The person's right hand, palm to the camera: wrist, then thumb to little finger, four joints each;
# 1 is the distance from the wrist to the middle fingertip, thumb towards the image's right.
HAND = np.array(
    [
        (0.0, 0.0),
        (0.14, -0.10),
        (0.27, -0.21),
        (0.36, -0.32),
        (0.43, -0.42),
        (0.17, -0.47),
        (0.21, -0.66),
        (0.235, -0.79),
        (0.255, -0.90),
        (0.04, -0.51),
        (0.05, -0.73),
        (0.055, -0.87),
        (0.06, -1.0),
        (-0.08, -0.48),
        (-0.115, -0.68),
        (-0.135, -0.81),
        (-0.15, -0.93),
        (-0.19, -0.42),
        (-0.26, -0.56),
        (-0.30, -0.66),
        (-0.335, -0.75),
    ]
)
FINGERS = tuple(tuple(range(1 + 4 * i, 5 + 4 * i)) for i in range(5))


@dataclass(frozen=True)
class Figure:
    """Points of one frame, each array [N, 2].

    `face` is the closed outline of the skin, `mouth_outer` and `mouth_inner` closed lip outlines,
    `eyes` [2, 6] and `brows` [2, 5] in the 68-point order, `nose` [9]; `arms` [2, 3] shoulder,
    elbow, wrist and `hands` [2, 21], index 0 at the image's left. `head_transform` [2, 3] carries
    points of the resting head into the frame. `openness` and `blink` are 0..1, `lift` is the
    torso's breath. All points are those of the standard framing, see `framed`.
    """

    head_transform: np.ndarray
    face: np.ndarray
    jaw: np.ndarray
    mouth_outer: np.ndarray
    mouth_inner: np.ndarray
    lips: np.ndarray
    eyes: np.ndarray
    brows: np.ndarray
    nose: np.ndarray
    arms: np.ndarray
    hands: np.ndarray
    openness: float
    blink: float
    lift: float


def pose_figure(identity: Identity, motion: Motion, frame: int) -> Figure:
    """The figure at one frame of `motion`."""
    openness, width, rounding = (float(x) for x in motion.mouth[frame])
    head = _head_transform(motion.head[frame])
    face, jaw = _face(identity, openness)
    outer, inner, lips = _mouth(identity.look, openness, width, rounding)
    blink = float(motion.blink[frame])
    lift = float(motion.breath[frame])
    arms = _arms(identity, motion.wrists[frame], lift)
    hands = np.stack(
        [
            _hand(side, identity.hand_length, arms[i, 2], motion, frame, i)
            for i, side in enumerate((-1, 1))
        ]
    )
    return Figure(
        head_transform=head,
        face=move(head, face),
        jaw=move(head, jaw),
        mouth_outer=move(head, outer),
        mouth_inner=move(head, inner),
        lips=move(head, lips),
        eyes=move(head, _eyes(identity.look, blink)),
        brows=move(head, _brows(identity.look, float(motion.brow[frame]))),
        nose=move(head, _nose(identity.look)),
        arms=arms,
        hands=hands,
        openness=openness,
        blink=blink,
        lift=lift,
    )


def keypoints(figure: Figure, look: Look) -> tuple[np.ndarray, np.ndarray]:
    """The 133 points [133, 2] in crop shares, framed as `look` says, and whether each is drawn in
    the crop, bool [133]."""
    points = np.full((KEYPOINTS, 2), np.nan)
    points[0] = figure.nose[3]
    points[1], points[2] = figure.eyes[1].mean(axis=0), figure.eyes[0].mean(axis=0)
    points[3], points[4] = figure.jaw[16], figure.jaw[0]
    points[5:11:2], points[6:12:2] = figure.arms[1], figure.arms[0]
    points[23:40] = figure.jaw
    points[40:50] = figure.brows.reshape(10, 2)
    points[50:59] = figure.nose
    points[59:71] = figure.eyes.reshape(12, 2)
    points[71:91] = figure.lips
    points[91:112], points[112:133] = figure.hands[1], figure.hands[0]
    points = framed(points, look.zoom, look.shift)
    visible = np.isfinite(points).all(axis=1)
    visible[visible] = ((points[visible] >= 0) & (points[visible] < 1)).all(axis=1)
    return np.nan_to_num(points), visible


def move(transform: np.ndarray, points: np.ndarray) -> np.ndarray:
    """Apply an affine transform [2, 3] to points [..., 2]."""
    return points @ transform[:, :2].T + transform[:, 2]


def framed(points: np.ndarray, zoom: float, shift: float) -> np.ndarray:
    """Points [..., 2] of the standard framing as the camera shows them, in crop shares."""
    if zoom == 1.0 and shift == 0.0:
        return points
    return (points - (0.5, 1.0)) * zoom + (0.5 + shift, 1.0)


def closed_curve(control: np.ndarray) -> np.ndarray:
    """A smooth closed outline through control points [N, 2]: [N * 8, 2]."""
    return _closed_basis(len(control)) @ control


@cache
def _closed_basis(n: int) -> np.ndarray:
    """Catmull-Rom weights [n * 8, n] of a closed curve through n points."""
    t = np.arange(_STEPS)[:, None] / _STEPS
    weights = 0.5 * np.concatenate(
        [
            -t + 2 * t**2 - t**3,
            2 - 5 * t**2 + 3 * t**3,
            t + 4 * t**2 - 3 * t**3,
            -(t**2) + t**3,
        ],
        axis=1,
    )
    basis = np.zeros((n * _STEPS, n))
    for i in range(n):
        for j in range(4):
            basis[i * _STEPS : (i + 1) * _STEPS, (i + j - 1) % n] += weights[:, j]
    return basis


def _head_transform(head: np.ndarray) -> np.ndarray:
    roll = head[2]
    turn = np.array([[np.cos(roll), -np.sin(roll)], [np.sin(roll), np.cos(roll)]])
    return np.column_stack([turn, _PIVOT + head[:2] - turn @ _PIVOT])


def _face(identity: Identity, openness: float) -> tuple[np.ndarray, np.ndarray]:
    """The skin's outline and the 17 jaw points, left ear of the image to right ear."""
    look = identity.look
    drop = 0.034 * openness + look.chin
    right = [(x, y + drop * share) for x, y, share in _JAW]
    narrow = [identity.face_width, identity.face_width, identity.jaw_width]
    narrow.append(identity.jaw_width * look.jaw_corner)
    right = [(x * k, y) for (x, y), k in zip(right, narrow, strict=True)]
    left = [(-x, y) for x, y in right]
    chin = (0.0, _CHIN[1] + drop)
    skull = [(x * identity.face_width, y - look.crown) for x, y in _CRANIUM]
    control = [*left, chin, *right[::-1], *skull]
    outline = closed_curve(np.asarray(control)) + MIDLINE
    return outline, outline[: 8 * _STEPS + 1 : _STEPS // 2]


def _mouth(look: Look, openness: float, width: float, rounding: float) -> tuple[np.ndarray, ...]:
    """Closed outlines of the lips, outer [40, 2] and inner [40, 2], and the 20 mouth keypoints."""
    half = 0.077 * (0.8 + 0.4 * width) * (1 - 0.42 * rounding) * (1 - 0.10 * openness)
    half *= look.mouth_width
    top, bottom = 0.019 * openness, 0.064 * openness
    upper, lower = 0.0175 * (1 + 0.3 * rounding), 0.0225 * (1 + 0.25 * rounding)
    upper, lower = upper * look.lip_fullness, lower * look.lip_fullness
    power = 0.75 - 0.2 * max(rounding, openness)
    u = np.linspace(-1.0, 1.0, 21)
    arch = (1 - u**2) ** power
    bow = (1 - u**2) ** 0.7 * (1 - 0.18 * np.exp(-((u / 0.16) ** 2)))  # the dip under the nose
    outer_top = np.stack([half * u, -top * arch - upper * bow], 1)
    outer_bottom = np.stack([half * u, bottom * arch + lower * (1 - u**2) ** 0.7], 1)
    inner_top = np.stack([half * 0.86 * u, -top * arch], 1)
    inner_bottom = np.stack([half * 0.86 * u, bottom * arch], 1)
    smile = 0.009 * (1 - 0.5 * rounding) * u**2  # corners a little up: a friendly resting face
    for curve in (outer_top, outer_bottom, inner_top, inner_bottom):
        curve[:, 1] -= smile
    centre = np.array([0.5, _MOUTH_Y + look.mouth_drop])
    outer = np.concatenate([outer_top, outer_bottom[-2:0:-1]]) + centre
    inner = np.concatenate([inner_top, inner_bottom[-2:0:-1]]) + centre
    outer_index = [0, 4, 8, 10, 12, 16, 20, 24, 28, 30, 32, 36]
    inner_index = [0, 6, 10, 14, 20, 26, 30, 34]
    return outer, inner, np.concatenate([outer[outer_index], inner[inner_index]])


def _eyes(look: Look, blink: float) -> np.ndarray:
    x, y = _EYE[0] + look.eye_apart, _EYE[1]
    upper, lower = [(-0.036, 0.0), (-0.014, -0.020), (0.014, -0.020)], [(0.036, 0.0)]
    shape = np.array([*upper, *lower, (0.014, 0.015), (-0.014, 0.015)])
    lids = np.where(shape[:, 1] < 0, 1 - 1.5 * blink, 1 - 0.1 * blink)
    shape = shape * np.stack([np.ones(6), lids], axis=1) * (look.eye_width, look.eye_height)
    tilt = np.stack([np.zeros(6), look.eye_tilt * shape[:, 0] / 0.036], axis=1)
    return (
        np.stack([shape + tilt - np.array([x, 0.0]), shape - tilt + np.array([x, 0.0])])
        + MIDLINE
        + np.array([0, y])
    )


def _brows(look: Look, raised: float) -> np.ndarray:
    left = np.array(
        [(-0.116, 0.196), (-0.094, 0.180), (-0.070, 0.176), (-0.048, 0.180), (-0.028, 0.190)]
    ) - (0.0, 0.014 * raised)
    if look.brow_arch != 1.0:
        left[:, 1] = 0.190 - 0.014 * raised + (left[:, 1] - 0.190 + 0.014 * raised) * look.brow_arch
    left = left - (look.eye_apart, look.brow_rise)
    right = left[::-1] * (-1, 1)
    return np.stack([left, right]) + MIDLINE


def _nose(look: Look) -> np.ndarray:
    bridge = [(0.0, 0.232), (0.0, 0.255), (0.0, 0.278), (0.0, 0.300 + look.nose_length)]
    base = [(-0.030, 0.312), (-0.016, 0.318), (0.0, 0.322), (0.016, 0.318), (0.030, 0.312)]
    tip = np.array(base) * (look.nose_width, 1.0) + (0.0, look.nose_length)
    return np.concatenate([bridge, tip]) + MIDLINE


def _arms(identity: Identity, wrists: np.ndarray, lift: float) -> np.ndarray:
    """Shoulder, elbow and wrist of both arms [2, 3, 2].

    The elbow follows the wrist a third of its way: forearms point at the camera, so the lengths in
    the picture are not fixed, and elbows solved from fixed lengths would flap.
    """
    arms = np.empty((2, 3, 2))
    for i, side in enumerate((-1, 1)):
        shoulder = np.array([0.5 + side * 0.285 * identity.shoulder_width, 0.615 + lift])
        elbow = np.array([0.5 + side * (0.285 * identity.shoulder_width + 0.105), 0.935])
        resting = np.array([0.5 + side * 0.235, 0.80])
        arms[i] = shoulder, elbow + 0.33 * (wrists[i] - resting), wrists[i]
    return arms


def _hand(
    side: int, length: float, wrist: np.ndarray, motion: Motion, frame: int, index: int
) -> np.ndarray:
    fan = np.array([1.0 + 0.10 * float(motion.spread[frame]), 1.0])
    angle = float(motion.hand_angle[frame, index])
    turn = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    template = HAND * fan * (1.0 if side < 0 else -1.0, 1.0)
    return wrist + length * template @ turn.T
