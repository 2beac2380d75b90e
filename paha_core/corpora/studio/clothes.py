"""Clothes: the torso by garment, the neck with what hangs on it, sleeves."""

from collections.abc import Callable

import numpy as np

from paha_core.corpora.studio.canvas import Canvas, ellipse
from paha_core.corpora.studio.colours import tint
from paha_core.corpora.studio.figure import Figure, closed_curve
from paha_core.corpora.studio.hair import paint_wrap
from paha_core.corpora.studio.identities import Identity

_MIRROR = np.array([-1, 1])


def paint_torso(canvas: Canvas, me: Identity, figure: Figure) -> None:
    """Shoulders and chest in the person's garment."""
    lift = np.array([0.5, figure.lift])
    k = np.array([me.shoulder_width, 1.0])
    right = [(0.075, 0.535), (0.17, 0.565), (0.27, 0.59), (0.325, 0.66), (0.335, 0.80)]
    right += [(0.31, 1.05)]
    left = [(-x, y) for x, y in right]
    if me.look.garment == "hoodie":
        hood = [(-0.17, 0.585), (-0.15, 0.50), (-0.08, 0.455), (0.08, 0.455), (0.15, 0.50)]
        canvas.fill(closed_curve(np.array([*hood, (0.17, 0.585)])) + lift, tint(me.jacket, 0.80))
    canvas.fill(np.array([*left[::-1], *right]) * k + lift, me.jacket)
    if me.look.pattern:
        _pattern(canvas, me, lift, k)
    GARMENTS[me.look.garment](canvas, me, lift)


def paint_neck(canvas: Canvas, me: Identity, figure: Figure) -> None:
    """The neck, its shadow, the collar, and what is worn around it."""
    lift = np.array([0.5, figure.lift])
    w = 0.078 * me.jaw_width
    neck = [(-w, 0.40), (-w, 0.52), (-0.10, 0.56), (0.0, 0.63), (0.10, 0.56), (w, 0.52)]
    canvas.fill(np.array([*neck, (w, 0.40)]) + lift, tint(me.skin, 0.93))
    # the chin's shadow follows the jaw
    drop = figure.jaw[8, 1] - 0.47
    shade = [(-w, 0.42), (-w, 0.475 + drop * 0.5), (0.0, 0.52 + drop), (w, 0.475 + drop * 0.5)]
    canvas.fill(np.array([*shade, (w, 0.42)]) + lift, tint(me.skin, 0.80))
    if me.tie is not None or me.look.collar:
        for side in (-1, 1):
            flap = [(0.088, 0.50), (0.10, 0.555), (0.055, 0.635), (0.0, 0.61)]
            canvas.fill(np.array(flap) * (side, 1) + lift, tint(me.shirt, 0.97))
    _around_neck(canvas, me, figure, w)


def paint_arm(canvas: Canvas, me: Identity, figure: Figure, i: int) -> None:
    """Sleeve and cuff of one arm."""
    shoulder, elbow, wrist = figure.arms[i]
    side = -1 if i == 0 else 1
    sleeve, edge = me.jacket, tint(me.jacket, 0.66)
    upper = np.array([shoulder + np.array([-side * 0.006, 0.034]), elbow])
    cuff = elbow + (wrist - elbow) * 0.80
    for colour, extra in ((edge, 0.010), (sleeve, 0.0)):
        canvas.line(upper, colour, 0.115 + extra)
    # the outline ends where the sleeve meets the shoulder
    canvas.line(np.array([upper[0], 0.65 * upper[0] + 0.35 * elbow]), sleeve, 0.115)
    canvas.disc(upper[0] - np.array([side * 0.012, 0.0]), 0.066, sleeve)
    for colour, extra in ((edge, 0.010), (sleeve, 0.0)):
        canvas.line(np.array([elbow, cuff]), colour, 0.100 + extra)
    end = me.look.cuff or me.shirt
    canvas.line(np.array([cuff, elbow + (wrist - elbow) * 0.92]), end, 0.080)


# garments ----------------------------------------------------------------------------------------


def _jacket(canvas: Canvas, me: Identity, lift: np.ndarray) -> None:
    canvas.fill(np.array([(-0.095, 0.53), (0.0, 0.90), (0.095, 0.53)]) + lift, me.shirt)
    if me.tie is not None and not me.look.bow:
        tie = [(-0.026, 0.60), (0.026, 0.60), (0.016, 0.65), (0.034, 0.82), (0.0, 0.87)]
        tie += [(-0.034, 0.82), (-0.016, 0.65)]
        canvas.fill(np.array(tie) + lift, me.tie)
    lapel = np.array([(0.08, 0.525), (0.15, 0.56), (0.155, 0.665), (0.115, 0.68), (0.0, 0.92)])
    for side in (-1, 1):
        canvas.fill(lapel * (side, 1) + lift, tint(me.jacket, 0.86))
    canvas.line(np.array([(0.0, 0.90), (0.0, 1.05)]) + lift, tint(me.jacket, 0.7), 0.006)


def _cardigan(canvas: Canvas, me: Identity, lift: np.ndarray) -> None:
    canvas.fill(np.array([(-0.10, 0.53), (0.0, 0.86), (0.10, 0.53)]) + lift, me.shirt)
    edge = np.array([(0.095, 0.525), (0.0, 0.86), (0.0, 1.05)])
    for side in (-1, 1):
        canvas.line(edge * (side, 1) + lift, tint(me.jacket, 0.80), 0.022)
    for y in (0.88, 0.95):
        canvas.disc(np.array([0.0, y]) + lift, 0.009, tint(me.shirt, 0.9))


def _shirt(canvas: Canvas, me: Identity, lift: np.ndarray) -> None:
    canvas.line(np.array([(0.0, 0.61), (0.0, 1.05)]) + lift, tint(me.jacket, 0.80), 0.005)
    for y in (0.68, 0.76, 0.84, 0.92):
        canvas.disc(np.array([0.012, y]) + lift, 0.0065, tint(me.jacket, 0.62))


def _sweater(canvas: Canvas, me: Identity, lift: np.ndarray) -> None:
    rim = np.array([(-0.115, 0.535), (-0.07, 0.60), (0.0, 0.628), (0.07, 0.60), (0.115, 0.535)])
    canvas.line(rim + lift, tint(me.jacket, 0.80), 0.026)


def _turtleneck(canvas: Canvas, me: Identity, lift: np.ndarray) -> None:
    fold = np.array([(-0.09, 0.585), (0.0, 0.61), (0.09, 0.585)])
    canvas.line(fold + lift, tint(me.jacket, 0.84), 0.008)


def _vneck(canvas: Canvas, me: Identity, lift: np.ndarray) -> None:
    canvas.fill(np.array([(-0.10, 0.53), (0.0, 0.75), (0.10, 0.53)]) + lift, me.shirt)
    rim = np.array([(-0.105, 0.53), (0.0, 0.755), (0.105, 0.53)])
    canvas.line(rim + lift, tint(me.jacket, 0.80), 0.018)


def _blouse(canvas: Canvas, me: Identity, lift: np.ndarray) -> None:
    scoop = [(-0.13, 0.545), (-0.09, 0.635), (0.0, 0.675), (0.09, 0.635), (0.13, 0.545)]
    canvas.fill(np.array(scoop) + lift, tint(me.skin, 0.97))
    canvas.line(np.array(scoop) + lift, tint(me.jacket, 0.82), 0.008)


def _hoodie(canvas: Canvas, me: Identity, lift: np.ndarray) -> None:
    rim = np.array([(-0.12, 0.535), (-0.06, 0.615), (0.0, 0.64), (0.06, 0.615), (0.12, 0.535)])
    canvas.line(rim + lift, tint(me.jacket, 0.72), 0.024)
    for side in (-1, 1):
        cord = np.array([(side * 0.05, 0.63), (side * 0.056, 0.78)])
        canvas.line(cord + lift, me.shirt, 0.009)


GARMENTS: dict[str, Callable[[Canvas, Identity, np.ndarray], None]] = {
    "jacket": _jacket, "cardigan": _cardigan, "shirt": _shirt, "sweater": _sweater,
    "turtleneck": _turtleneck, "vneck": _vneck, "blouse": _blouse, "hoodie": _hoodie,
}  # fmt: skip


def _pattern(canvas: Canvas, me: Identity, lift: np.ndarray, k: np.ndarray) -> None:
    """Stripes or dots across the chest; sleeves stay plain."""
    colour = me.look.pattern_colour
    for row, y in enumerate((0.66, 0.74, 0.82, 0.90, 0.98)):
        if me.look.pattern == "stripes":
            band = np.array([(-0.27, y), (0.0, y + 0.012), (0.27, y)])
            canvas.line(band * k + lift, colour, 0.024)
        else:
            for x in np.arange(-0.24, 0.25, 0.08) + 0.04 * (row % 2):
                canvas.disc(np.array([x, y]) + lift, 0.011, colour)


def _around_neck(canvas: Canvas, me: Identity, figure: Figure, w: float) -> None:
    look, lift = me.look, np.array([0.5, figure.lift])
    if look.garment == "turtleneck":
        band = [(-w - 0.012, 0.500), (w + 0.012, 0.500), (0.108, 0.575), (0.0, 0.632)]
        canvas.fill(np.array([*band, (-0.108, 0.575)]) + lift, tint(me.jacket, 0.93))
        fold = np.array([(-w - 0.012, 0.506), (0.0, 0.528), (w + 0.012, 0.506)])
        canvas.line(fold + lift, tint(me.jacket, 0.78), 0.008)
    if me.tie is not None and look.bow:
        for side in (-1, 1):
            wing = np.array([(0.0, 0.625), (0.060, 0.595), (0.060, 0.662), (0.0, 0.640)])
            canvas.fill(wing * (side, 1) + lift, me.tie)
        canvas.disc(np.array([0.0, 0.632]) + lift, 0.013, tint(me.tie, 0.8))
    if look.necklace is not None:
        turn = np.linspace(0.12 * np.pi, 0.88 * np.pi, 13)
        for x, y in np.stack([0.088 * np.cos(turn), 0.525 + 0.095 * np.sin(turn)], 1):
            canvas.disc(np.array([x, y]) + lift, 0.0085, look.necklace)
    if look.scarf is not None:
        end = np.array([(0.01, 0.60), (0.075, 0.59), (0.105, 0.84), (0.035, 0.86)])
        canvas.fill(end + lift, tint(look.scarf, 0.86))
        loop = ellipse((0.0, 0.565), 0.128, 0.062)
        canvas.fill(loop + lift, look.scarf)
        for y in (0.550, 0.580):
            fold = np.array([(-0.10, y), (0.0, y + 0.022), (0.10, y)])
            canvas.line(fold + lift, tint(look.scarf, 0.82), 0.006)
    if me.hair_style == "headscarf":
        paint_wrap(canvas, me, figure)
