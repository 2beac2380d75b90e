"""Hair by style: behind the head, over the forehead, and what hangs or stands out of it."""

from collections.abc import Callable

import numpy as np

from paha_core.corpora.studio.canvas import Canvas, ellipse
from paha_core.corpora.studio.colours import Colour, mix, tint
from paha_core.corpora.studio.figure import MIDLINE, Figure, closed_curve, move
from paha_core.corpora.studio.identities import Identity

Points = tuple[tuple[float, float], ...]

# Outlines behind the head ("back") and over the forehead ("front"), right half only, from the top
# down (x from the midline, y). "line" is the hairline from the temple to the middle; one that ends
# left of the midline goes all the way to the other temple, others are mirrored.
HAIR: dict[str, dict[str, Points]] = {
    "bob": {
        "back": ((0.0, 0.035), (0.12, 0.06), (0.19, 0.16), (0.205, 0.30), (0.20, 0.42),
                 (0.15, 0.46), (0.09, 0.44)),
        "front": ((0.0, 0.035), (0.12, 0.06), (0.178, 0.15), (0.176, 0.26)),
        "line": ((0.150, 0.25), (0.128, 0.172), (0.05, 0.140), (0.0, 0.132)),
    },
    "short": {
        "back": ((0.0, 0.040), (0.11, 0.058), (0.165, 0.13), (0.168, 0.21), (0.15, 0.25)),
        "front": ((0.0, 0.040), (0.11, 0.058), (0.163, 0.13), (0.164, 0.215)),
        "line": ((0.149, 0.205), (0.128, 0.140), (0.06, 0.118), (0.0, 0.112)),
    },
    "long": {
        "back": ((0.0, 0.030), (0.13, 0.06), (0.19, 0.17), (0.20, 0.34), (0.215, 0.50),
                 (0.20, 0.64), (0.12, 0.66)),
        "front": ((0.0, 0.030), (0.13, 0.06), (0.182, 0.16), (0.180, 0.33)),
        "line": ((0.150, 0.27), (0.118, 0.175), (0.05, 0.125), (0.0, 0.098)),
    },
    "part": {
        "back": ((0.0, 0.035), (0.12, 0.05), (0.170, 0.12), (0.168, 0.22), (0.15, 0.25)),
        "front": ((0.0, 0.035), (0.12, 0.05), (0.168, 0.12), (0.163, 0.22)),
        # a side parting
        "line": ((0.148, 0.21), (0.128, 0.145), (0.085, 0.100), (0.02, 0.125), (-0.06, 0.150),
                 (-0.12, 0.165), (-0.148, 0.21)),
    },
    "buzz": {
        "back": ((0.0, 0.064), (0.10, 0.078), (0.150, 0.135), (0.156, 0.21), (0.145, 0.24)),
        "front": ((0.0, 0.064), (0.10, 0.078), (0.150, 0.135), (0.156, 0.215)),
        "line": ((0.149, 0.212), (0.132, 0.142), (0.07, 0.110), (0.0, 0.106)),
    },
    "receding": {
        "back": ((0.0, 0.060), (0.10, 0.070), (0.158, 0.13), (0.168, 0.22), (0.150, 0.26)),
        "front": ((0.0, 0.066), (0.09, 0.072), (0.156, 0.12), (0.164, 0.215)),
        "line": ((0.148, 0.218), (0.140, 0.155), (0.105, 0.105), (0.045, 0.098), (0.0, 0.108)),
    },
    "quiff": {
        "back": ((0.0, 0.018), (0.11, 0.040), (0.160, 0.12), (0.162, 0.21), (0.15, 0.24)),
        "front": ((0.02, 0.008), (0.125, 0.028), (0.168, 0.11), (0.160, 0.215)),
        "line": ((0.149, 0.21), (0.135, 0.140), (0.10, 0.112), (0.03, 0.122), (-0.05, 0.108),
                 (-0.115, 0.118), (-0.138, 0.150), (-0.149, 0.21)),
    },
    "pixie": {
        "back": ((0.0, 0.034), (0.12, 0.055), (0.176, 0.13), (0.178, 0.24), (0.155, 0.30)),
        "front": ((0.0, 0.034), (0.12, 0.055), (0.176, 0.13), (0.172, 0.262)),
        "line": ((0.148, 0.262), (0.140, 0.176), (0.09, 0.120), (0.02, 0.140), (-0.05, 0.158),
                 (-0.125, 0.172), (-0.150, 0.255)),
    },
    "fringe": {
        "back": ((0.0, 0.032), (0.13, 0.055), (0.192, 0.15), (0.206, 0.30), (0.208, 0.43),
                 (0.16, 0.485), (0.09, 0.45)),
        "front": ((0.0, 0.032), (0.13, 0.055), (0.186, 0.15), (0.182, 0.30)),
        "line": ((0.152, 0.29), (0.146, 0.185), (0.10, 0.166), (0.04, 0.163), (0.0, 0.163)),
    },
    "waves": {
        "back": ((0.0, 0.030), (0.13, 0.055), (0.20, 0.15), (0.198, 0.24), (0.228, 0.33),
                 (0.210, 0.42), (0.238, 0.51), (0.205, 0.60), (0.12, 0.60)),
        "front": ((0.0, 0.030), (0.13, 0.055), (0.194, 0.15), (0.186, 0.25), (0.196, 0.35)),
        "line": ((0.156, 0.32), (0.142, 0.205), (0.115, 0.130), (0.06, 0.098), (-0.04, 0.128),
                 (-0.12, 0.180), (-0.156, 0.32)),
    },
    "curls": {
        "back": ((0.0, 0.030), (0.12, 0.050), (0.190, 0.13), (0.205, 0.25), (0.205, 0.37),
                 (0.16, 0.44), (0.09, 0.43)),
        "front": ((0.0, 0.036), (0.12, 0.055), (0.180, 0.14), (0.178, 0.23)),
        "line": ((0.150, 0.225), (0.128, 0.155), (0.06, 0.132), (0.0, 0.126)),
    },
    "afro": {
        "back": ((0.0, 0.012), (0.13, 0.030), (0.215, 0.11), (0.235, 0.22), (0.205, 0.32),
                 (0.150, 0.36)),
        "front": ((0.0, 0.016), (0.13, 0.034), (0.205, 0.11), (0.205, 0.21)),
        "line": ((0.150, 0.215), (0.130, 0.150), (0.06, 0.122), (0.0, 0.116)),
    },
    "bun": {
        "back": ((0.0, 0.046), (0.11, 0.062), (0.162, 0.13), (0.166, 0.22), (0.145, 0.27)),
        "front": ((0.0, 0.046), (0.11, 0.062), (0.160, 0.13), (0.162, 0.225)),
        "line": ((0.149, 0.222), (0.124, 0.142), (0.06, 0.108), (0.0, 0.096)),
    },
    "ponytail": {
        "back": ((0.0, 0.040), (0.12, 0.058), (0.172, 0.13), (0.172, 0.22), (0.148, 0.28)),
        "front": ((0.0, 0.040), (0.12, 0.058), (0.168, 0.13), (0.164, 0.25)),
        "line": ((0.150, 0.245), (0.132, 0.160), (0.085, 0.112), (0.01, 0.116), (-0.07, 0.142),
                 (-0.13, 0.175), (-0.150, 0.245)),
    },
    "braids": {
        "back": ((0.0, 0.036), (0.12, 0.056), (0.178, 0.14), (0.180, 0.26), (0.150, 0.32)),
        "front": ((0.0, 0.036), (0.12, 0.056), (0.174, 0.14), (0.172, 0.29)),
        "line": ((0.152, 0.28), (0.126, 0.170), (0.05, 0.112), (0.0, 0.088)),
    },
    "headscarf": {
        "back": ((0.0, 0.024), (0.13, 0.046), (0.196, 0.14), (0.206, 0.28), (0.192, 0.42),
                 (0.215, 0.52), (0.16, 0.585), (0.08, 0.60)),
        "front": ((0.0, 0.024), (0.13, 0.046), (0.194, 0.14), (0.196, 0.28)),
        "line": ((0.150, 0.28), (0.142, 0.185), (0.09, 0.126), (0.0, 0.114)),
    },
}  # fmt: skip


def covers_ears(style: str) -> bool:
    """Whether the ears are behind the hair."""
    return style in HAIR and HAIR[style]["back"][-1][1] > 0.4


def paint_hair_back(canvas: Canvas, me: Identity, figure: Figure) -> None:
    """Everything of the hair that lies behind the face."""
    if me.hair_style not in HAIR:
        return  # "bald"
    back = np.array(HAIR[me.hair_style]["back"]) * (me.look.hair_width, 1.0)
    outline = closed_curve(np.concatenate([back, (back[:0:-1] * (-1, 1))])) + MIDLINE
    if me.hair_style in _BEHIND:
        _BEHIND[me.hair_style](canvas, me, figure)
    canvas.fill(move(figure.head_transform, outline), tint(me.hair, 0.82))
    if me.hair_style in ("curls", "afro"):
        _curls(canvas, figure, outline[::6], 0.030, tint(me.hair, 0.82))


def paint_hair_front(canvas: Canvas, me: Identity, figure: Figure) -> None:
    """The hair over the forehead, with its gloss."""
    if me.hair_style not in HAIR:
        return
    style, wide = HAIR[me.hair_style], (me.look.hair_width, 1.0)
    front, line = np.array(style["front"]) * wide, np.array(style["line"]) * wide
    mirror = np.array([-1, 1])
    outer = np.concatenate([front[:0:-1] * mirror, front])
    whole = line[-1, 0] < 0
    inner = line if whole else np.concatenate([line, line[-2::-1] * mirror])
    outline = closed_curve(np.concatenate([outer, inner])) + MIDLINE
    canvas.fill(move(figure.head_transform, outline), me.hair)
    if me.hair_style in ("curls", "afro"):
        _curls(canvas, figure, closed_curve(outer)[16:-8:7] + MIDLINE, 0.026, me.hair)
    if me.hair_style == "headscarf":
        fold = np.array([(-0.15, 0.10), (-0.05, 0.064), (0.07, 0.070), (0.17, 0.14)]) + MIDLINE
        canvas.line(move(figure.head_transform, fold), tint(me.hair, 0.85), 0.005)
        return
    if me.hair_style in ("buzz", "receding"):
        return
    gloss = [(-0.09, 0.085), (-0.03, 0.062), (0.04, 0.064), (-0.03, 0.074)]
    shine = closed_curve(np.array(gloss)) + MIDLINE
    canvas.fill(move(figure.head_transform, shine), tint(me.hair, me.look.hair_gloss))


def paint_wrap(canvas: Canvas, me: Identity, figure: Figure) -> None:
    """The headscarf under the chin."""
    drop, lift = figure.jaw[8, 1] - 0.47, np.array([0.5, figure.lift])
    wrap = [(-0.150, 0.36), (-0.16, 0.50), (-0.11, 0.585), (0.0, 0.64), (0.11, 0.585), (0.16, 0.50)]
    wrap += [(0.150, 0.36), (0.09, 0.46 + drop), (0.0, 0.50 + drop), (-0.09, 0.46 + drop)]
    canvas.fill(closed_curve(np.array(wrap)) + lift, me.hair)
    for x in (-0.05, 0.06):
        fold = np.array([(x, 0.53 + drop), (0.6 * x + 0.04, 0.575), (0.02, 0.60)])
        canvas.line(fold + lift, tint(me.hair, 0.85), 0.005)


def _curls(canvas: Canvas, figure: Figure, at: np.ndarray, size: float, colour: Colour) -> None:
    for i, centre in enumerate(move(figure.head_transform, at)):
        canvas.disc(centre, size * (1.0 if i % 2 else 0.82), colour)


def _bun(canvas: Canvas, me: Identity, figure: Figure) -> None:
    ball = ellipse((0.5, 0.045), 0.072, 0.040)
    canvas.fill(move(figure.head_transform, ball), tint(me.hair, 0.92))


def _ponytail(canvas: Canvas, me: Identity, figure: Figure) -> None:
    tail = [(0.10, 0.10), (0.215, 0.14), (0.255, 0.28), (0.235, 0.42), (0.20, 0.47), (0.205, 0.33)]
    tail += [(0.15, 0.22)]
    outline = closed_curve(np.array(tail)) + MIDLINE
    canvas.fill(move(figure.head_transform, outline), tint(me.hair, 0.74))


def _braids(canvas: Canvas, me: Identity, figure: Figure) -> None:
    for side in (-1, 1):
        for i in range(8):
            bead = np.array([0.5 + side * (0.158 + 0.004 * i), 0.31 + 0.042 * i])
            at = move(figure.head_transform, bead[None])[0]
            shade = 0.78 if i % 2 else 0.92
            canvas.disc(at, 0.029 if i < 7 else 0.020, tint(me.hair, shade))
        tie = move(figure.head_transform, np.array([[0.5 + side * 0.184, 0.575]]))[0]
        canvas.disc(tie, 0.017, mix(me.shirt, me.jacket, 0.5))


_BEHIND: dict[str, Callable[[Canvas, Identity, Figure], None]] = {
    "bun": _bun, "ponytail": _ponytail, "braids": _braids,
}  # fmt: skip
