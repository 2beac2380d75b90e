"""The face: skin, ears, nose, eyes, brows, mouth, and what people wear on it."""

from collections.abc import Callable

import numpy as np

from paha_core.corpora.studio.canvas import Canvas, ellipse
from paha_core.corpora.studio.colours import Colour, mix, tint
from paha_core.corpora.studio.figure import Figure, closed_curve, move
from paha_core.corpora.studio.hair import covers_ears
from paha_core.corpora.studio.identities import Identity

_INSIDE_MOUTH: Colour = (46, 8, 16)
_TONGUE: Colour = (206, 82, 92)
_TEETH: Colour = (250, 248, 242)
_EARLOBE = 0.040  # below an ear's middle


def paint_ears(canvas: Canvas, me: Identity, figure: Figure) -> None:
    """Both ears, unless the hair covers them."""
    if covers_ears(me.hair_style):
        return
    for end, side in ((0, -1), (16, 1)):
        turn = np.linspace(0, 2 * np.pi, 20, endpoint=False)
        ear = np.stack([0.023 * np.cos(turn), 0.044 * np.sin(turn)], 1)
        at = figure.jaw[end] + np.array([side * 0.004, 0.028])
        canvas.fill(ear + at, tint(me.skin, 0.90))
        canvas.fill(0.5 * ear + at, tint(me.skin, 0.78))
        if me.look.earrings is not None:
            canvas.disc(at + np.array([side * 0.006, _EARLOBE]), 0.0095, me.look.earrings)


def paint_face(canvas: Canvas, me: Identity, figure: Figure) -> None:
    """The face without its mouth."""
    look = me.look
    canvas.fill(figure.face, me.skin)
    canvas.line(figure.jaw, tint(me.skin, 0.86), 0.006)
    turn = np.linspace(0, 2 * np.pi, 24, endpoint=False)
    ring = np.stack([np.cos(turn), np.sin(turn)], axis=1)
    for x in (-0.094, 0.094):  # a soft blush
        for size, share in ((0.030, 0.12), (0.020, 0.22)):
            spot = ring * (size, size * 0.7) + (0.5 + x, 0.318)
            colour = mix(me.skin, (226, 96, 92), share * look.blush)
            canvas.fill(move(figure.head_transform, spot), colour)
    if look.shade_side:
        _shade(canvas, me, figure)
    if look.freckles:
        _freckles(canvas, me, figure)
    if look.beard:
        BEARDS[look.beard](canvas, me, figure)
    _nose(canvas, me, figure)
    brow = look.brow_colour or mix(tint(me.hair, 0.8), (40, 28, 24), 0.4)
    for side, (eye, points) in enumerate(zip(figure.eyes, figure.brows, strict=True)):
        _eye(canvas, me, eye, figure.blink, side)
        canvas.line(points, brow, 0.014 * look.brow_thickness)
    if look.glasses:
        _glasses(canvas, me, figure)


def paint_mouth(canvas: Canvas, me: Identity, figure: Figure) -> None:
    """Lips, teeth, tongue."""
    canvas.fill(figure.mouth_outer, me.lips)
    lower = np.concatenate([figure.mouth_inner[20:], figure.mouth_inner[:1]])
    upper = figure.mouth_inner[:21]
    gap = float(lower[10, 1] - upper[10, 1])
    if gap > 0.008:
        canvas.fill(figure.mouth_inner, _INSIDE_MOUTH)
        if gap > 0.035:
            tongue = lower[3:18]
            rise = np.minimum((gap - 0.022) * 0.5, 0.024) * np.sin(np.linspace(0, np.pi, 15))
            top = tongue - np.stack([np.zeros(15), rise], axis=1)
            canvas.fill(np.concatenate([tongue, top[::-1]]), _TONGUE)
        teeth = upper[4:17]
        depth = np.minimum(0.30 * gap, 0.018) * np.sin(np.linspace(0.35, np.pi - 0.35, 13))
        edge = teeth + np.stack([np.zeros(13), depth], axis=1)
        canvas.fill(np.concatenate([teeth, edge[::-1]]), _TEETH)
    else:
        canvas.line(upper, tint(me.lips, 0.35), 0.007)
    shine = figure.mouth_outer[26:35] - (0.0, 0.007)
    canvas.line(shine, mix(me.lips, (255, 255, 255), 0.28), 0.004)


def _nose(canvas: Canvas, me: Identity, figure: Figure) -> None:
    nose = figure.nose
    shade = np.array([nose[0] + (0.010, 0.0), nose[3] + (0.022, 0.002), nose[8], nose[6]])
    canvas.fill(np.concatenate([shade, nose[3:4]]), tint(me.skin, 0.92))
    canvas.line(nose[4:9], tint(me.skin, 0.68), 0.007)
    for i in (5, 7):
        canvas.disc(nose[i], 0.0055, tint(me.skin, 0.42))


def _eye(canvas: Canvas, me: Identity, eye: np.ndarray, blink: float, side: int) -> None:
    dark: Colour = (36, 24, 22)
    if blink < 0.6:
        outline = closed_curve(eye)
        canvas.fill(outline, (252, 252, 250))
        centre = eye[[0, 3]].mean(axis=0) - np.array([0.0, 0.002])
        open_share, radius = 1 - blink, 0.0155 * me.look.eye_height
        turn = np.linspace(0, 2 * np.pi, 20, endpoint=False)
        iris = np.stack([radius * np.cos(turn), radius * open_share * np.sin(turn)], axis=1)
        canvas.fill(centre + iris, me.iris)
        canvas.fill(centre + 0.55 * iris, (12, 10, 10))
        canvas.disc(centre + np.array([0.005, -0.006 * open_share]), 0.004, (255, 255, 255))
        canvas.line(outline[: 3 * 8 + 1], dark, 0.009)
        canvas.line(outline[3 * 8 :], tint(me.skin, 0.62), 0.004)
    else:
        canvas.line(closed_curve(eye)[: 3 * 8 + 1], dark, 0.010)
    if me.look.lashes:
        outer = eye[0] if side == 0 else eye[3]
        away = np.array([-0.014 if side == 0 else 0.014, -0.012])
        canvas.line(np.stack([outer, outer + away]), dark, 0.007)


def _shade(canvas: Canvas, me: Identity, figure: Figure) -> None:
    """A band along one side of the face lies in shade."""
    jaw = figure.jaw[:9] if me.look.shade_side < 0 else figure.jaw[:7:-1]
    inwards = np.array([-me.look.shade_side * 0.040, -0.012])
    reach = np.sin(np.linspace(0.25, np.pi / 2, 9))[::-1, None] * 0.9 + 0.1
    canvas.fill(np.concatenate([jaw, (jaw + inwards * reach)[::-1]]), tint(me.skin, 0.90))


def _freckles(canvas: Canvas, me: Identity, figure: Figure) -> None:
    spots = np.array(
        [(0.062, 0.296), (0.082, 0.288), (0.074, 0.310), (0.100, 0.302), (0.050, 0.312)]
    )
    for side in (-1, 1):
        for spot in move(figure.head_transform, spots * (side, 1) + (0.5, 0.0)):
            canvas.disc(spot, 0.0042, tint(me.skin, 0.76))


# beards: under the lips, along the moving jaw -----------------------------------------------------


def _along_jaw(figure: Figure, first: int, rise: float) -> np.ndarray:
    """The jaw from point `first` to its mirror image, and back higher up on the face."""
    jaw = figure.jaw[first : 17 - first]
    share = np.sin(np.linspace(0, np.pi, len(jaw)))[:, None] ** 0.6
    inner = jaw * (1 - 0.22 * share) + figure.lips[3] * 0.22 * share
    return np.concatenate([jaw + np.array([0.0, 0.004]), (inner - (0.0, rise) * share)[::-1]])


def _full_beard(canvas: Canvas, me: Identity, figure: Figure) -> None:
    colour = tint(me.hair, 0.92)
    canvas.fill(_along_jaw(figure, 1, 0.028), colour)
    _around_mouth(canvas, figure, colour)
    _moustache(canvas, me, figure)


def _short_beard(canvas: Canvas, me: Identity, figure: Figure) -> None:
    colour = mix(me.skin, me.hair, 0.62)
    canvas.fill(_along_jaw(figure, 2, 0.016), colour)
    _around_mouth(canvas, figure, colour)


def _stubble(canvas: Canvas, me: Identity, figure: Figure) -> None:
    colour = mix(me.skin, me.hair, 0.22)
    canvas.fill(_along_jaw(figure, 2, 0.030), colour)
    _around_mouth(canvas, figure, colour)


def _goatee(canvas: Canvas, me: Identity, figure: Figure) -> None:
    _around_mouth(canvas, figure, tint(me.hair, 0.95))


def _moustache(canvas: Canvas, me: Identity, figure: Figure) -> None:
    top = figure.mouth_outer[:21]
    rise = np.stack([np.zeros(21), 0.018 * np.sin(np.linspace(0.15, np.pi - 0.15, 21)) ** 0.5], 1)
    ends = np.linspace(-0.010, 0.010, 21)[:, None] * (1.0, 0.0)
    low = top + ends + (0.0, 0.004)
    canvas.fill(np.concatenate([low, (low - rise)[::-1]]), tint(me.hair, 0.95))


def _around_mouth(canvas: Canvas, figure: Figure, colour: Colour) -> None:
    chin, lips = figure.jaw[6:11], figure.mouth_outer
    left, right = lips[0] - (0.012, 0.0), lips[20] + (0.012, 0.0)
    points = np.array([left, left - (0, 0.014), lips[10] - (0.0, 0.020), right - (0, 0.014), right])
    canvas.fill(np.concatenate([points, chin[::-1]]), colour)


BEARDS: dict[str, Callable[[Canvas, Identity, Figure], None]] = {
    "full": _full_beard, "short": _short_beard, "stubble": _stubble, "goatee": _goatee,
    "moustache": _moustache,
}  # fmt: skip

# Half width, half height, power of the superellipse (2 round, 4 nearly square), width of the rim.
GLASSES: dict[str, tuple[float, float, float, float]] = {
    "round": (0.047, 0.043, 2.0, 0.007),
    "square": (0.052, 0.038, 4.0, 0.008),
    "thin": (0.050, 0.034, 3.0, 0.004),
    "bold": (0.055, 0.042, 3.5, 0.012),
}


def _glasses(canvas: Canvas, me: Identity, figure: Figure) -> None:
    wide, high, power, rim = GLASSES[me.look.glasses]
    unit = ellipse((0.0, 0.0), 1.0, 1.0, 28)
    rim_shape = np.sign(unit) * np.abs(unit) ** (2 / power) * (wide, high)
    # eyes move when they blink: glasses hang on their corners
    centres = [eye[[0, 3]].mean(axis=0) + np.array([0.0, 0.004]) for eye in figure.eyes]
    colour = me.look.glasses_colour
    for centre in centres:
        canvas.line(rim_shape + centre, colour, rim, closed=True)
    bridge = np.stack([centres[0] + (wide, -0.004), centres[1] - (wide, 0.004)])
    canvas.line(bridge, colour, rim)
    for centre, ear, side in ((centres[0], figure.jaw[0], -1), (centres[1], figure.jaw[16], 1)):
        canvas.line(
            np.stack([centre + np.array([side * wide, -0.006]), ear - (0.0, 0.004)]), colour, rim
        )
