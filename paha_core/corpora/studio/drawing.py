"""Paints a figure: flat colours, smooth outlines, a light blur. cv2 only; RGB throughout."""

import cv2
import numpy as np

from paha_core.corpora.studio.figure import FINGERS, MIDLINE, Figure, closed_curve, move
from paha_core.corpora.studio.identities import Colour, Identity

_SHIFT = 5  # sub-pixel bits of every coordinate
_INSIDE_MOUTH: Colour = (46, 8, 16)
_TONGUE: Colour = (206, 82, 92)
_TEETH: Colour = (250, 248, 242)

# Hair by style: outlines behind the head and over the forehead, right half only, from the top down
# (x from the midline, y). "line" is the hairline from the temple to the middle, mirrored too.
HAIR: dict[str, dict[str, tuple[tuple[float, float], ...]]] = {
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
        # a side parting: the hairline given all the way to the other temple
        "line": ((0.148, 0.21), (0.128, 0.145), (0.085, 0.100), (0.02, 0.125), (-0.06, 0.150),
                 (-0.12, 0.165), (-0.148, 0.21)),
    },
}  # fmt: skip


class Painter:
    """Draws one identity's frames, `width` x `height` pixels, the crop's left edge at `x0`.

    The background is painted once; `paint` copies it and draws the figure on top.
    """

    def __init__(self, identity: Identity, width: int, height: int, x0: int) -> None:
        self.identity = identity
        self.side = height
        self.offset = np.array([x0, 0.0])
        self.background = _background(identity, width, height, x0)
        self.sigma = 0.9 * height / 512
        # the figure never leaves the crop by more than this: only here is there paint to blur
        margin = height // 16
        self.painted = slice(max(0, x0 - margin), min(width, x0 + height + margin))

    def paint(self, figure: Figure) -> np.ndarray:
        """One frame, uint8 [height, width, 3] RGB."""
        self.image = self.background.copy()
        self._torso(figure)
        self._head_back(figure)
        self._neck(figure)
        self._face(figure)
        self._mouth(figure)
        self._hair_front(figure)
        for i in (0, 1):
            self._arm(figure, i)
            self._hand(figure.hands[i])
        part = self.image[:, self.painted]
        self.image[:, self.painted] = cv2.GaussianBlur(part, (0, 0), max(self.sigma, 0.5))
        return self.image

    # shapes in crop shares --------------------------------------------------------------------

    def _pixels(self, points: np.ndarray) -> np.ndarray:
        # cv2 puts a pixel's centre at whole numbers, our shares put its corner there
        pixels = points * self.side + self.offset - 0.5
        return np.rint(pixels * (1 << _SHIFT)).astype(np.int32)

    def _fill(self, points: np.ndarray, colour: Colour) -> None:
        cv2.fillPoly(self.image, [self._pixels(points)], colour, cv2.LINE_AA, _SHIFT)

    def _line(self, points: np.ndarray, colour: Colour, width: float, closed: bool = False) -> None:
        thickness = max(1, round(width * self.side))
        pixels = [self._pixels(points)]
        cv2.polylines(self.image, pixels, closed, colour, thickness, cv2.LINE_AA, _SHIFT)

    def _disc(self, centre: np.ndarray, radius: float, colour: Colour) -> None:
        x, y = self._pixels(centre)
        size = round(radius * self.side * (1 << _SHIFT))
        cv2.circle(self.image, (int(x), int(y)), size, colour, -1, cv2.LINE_AA, _SHIFT)

    # parts --------------------------------------------------------------------------------------

    def _torso(self, figure: Figure) -> None:
        me, lift = self.identity, np.array([0.5, figure.lift])
        k = np.array([me.shoulder_width, 1.0])
        right = [(0.075, 0.535), (0.17, 0.565), (0.27, 0.59), (0.325, 0.66), (0.335, 0.80)]
        right += [(0.31, 1.05)]
        left = [(-x, y) for x, y in right]
        self._fill(np.array([*left[::-1], *right]) * k + lift, me.jacket)
        self._fill(np.array([(-0.095, 0.53), (0.0, 0.90), (0.095, 0.53)]) + lift, me.shirt)
        if me.tie is not None:
            tie = [(-0.026, 0.60), (0.026, 0.60), (0.016, 0.65), (0.034, 0.82), (0.0, 0.87)]
            tie += [(-0.034, 0.82), (-0.016, 0.65)]
            self._fill(np.array(tie) + lift, me.tie)
        lapel = np.array([(0.08, 0.525), (0.15, 0.56), (0.155, 0.665), (0.115, 0.68), (0.0, 0.92)])
        for side in (-1, 1):
            self._fill(lapel * (side, 1) + lift, tint(me.jacket, 0.86))
        self._line(np.array([(0.0, 0.90), (0.0, 1.05)]) + lift, tint(me.jacket, 0.7), 0.006)

    def _neck(self, figure: Figure) -> None:
        me, lift = self.identity, np.array([0.5, figure.lift])
        w = 0.078 * me.jaw_width
        neck = [(-w, 0.40), (-w, 0.52), (-0.10, 0.56), (0.0, 0.63), (0.10, 0.56), (w, 0.52)]
        self._fill(np.array([*neck, (w, 0.40)]) + lift, tint(me.skin, 0.93))
        # the chin's shadow follows the jaw
        drop = figure.jaw[8, 1] - 0.47
        shade = [(-w, 0.42), (-w, 0.475 + drop * 0.5), (0.0, 0.52 + drop), (w, 0.475 + drop * 0.5)]
        self._fill(np.array([*shade, (w, 0.42)]) + lift, tint(me.skin, 0.80))
        if me.tie is not None or me.hair_style == "short":
            for side in (-1, 1):
                flap = [(0.088, 0.50), (0.10, 0.555), (0.055, 0.635), (0.0, 0.61)]
                self._fill(np.array(flap) * (side, 1) + lift, tint(me.shirt, 0.97))

    def _head_back(self, figure: Figure) -> None:
        me = self.identity
        back = np.array(HAIR[me.hair_style]["back"])
        outline = closed_curve(np.concatenate([back, (back[:0:-1] * (-1, 1))])) + MIDLINE
        self._fill(move(figure.head_transform, outline), tint(me.hair, 0.82))
        if back[-1, 1] > 0.4:
            return  # long hair covers the ears
        for end, side in ((0, -1), (16, 1)):
            turn = np.linspace(0, 2 * np.pi, 20, endpoint=False)
            ear = np.stack([0.023 * np.cos(turn), 0.044 * np.sin(turn)], 1)
            at = figure.jaw[end] + np.array([side * 0.004, 0.028])
            self._fill(ear + at, tint(me.skin, 0.90))
            self._fill(0.5 * ear + at, tint(me.skin, 0.78))

    def _face(self, figure: Figure) -> None:
        me = self.identity
        self._fill(figure.face, me.skin)
        self._line(figure.jaw, tint(me.skin, 0.86), 0.006)
        turn = np.linspace(0, 2 * np.pi, 24, endpoint=False)
        ring = np.stack([np.cos(turn), np.sin(turn)], axis=1)
        for x in (-0.094, 0.094):  # a soft blush
            for size, share in ((0.030, 0.12), (0.020, 0.22)):
                spot = ring * (size, size * 0.7) + (0.5 + x, 0.318)
                self._fill(move(figure.head_transform, spot), mix(me.skin, (226, 96, 92), share))
        self._nose(figure)
        for eye, brow in zip(figure.eyes, figure.brows, strict=True):
            self._eye(eye, figure.blink)
            self._line(brow, mix(tint(me.hair, 0.8), (40, 28, 24), 0.4), 0.014)

    def _nose(self, figure: Figure) -> None:
        me, nose = self.identity, figure.nose
        shade = np.array([nose[0] + (0.010, 0.0), nose[3] + (0.022, 0.002), nose[8], nose[6]])
        self._fill(np.concatenate([shade, nose[3:4]]), tint(me.skin, 0.92))
        self._line(nose[4:9], tint(me.skin, 0.68), 0.007)
        for i in (5, 7):
            self._disc(nose[i], 0.0055, tint(me.skin, 0.42))

    def _eye(self, eye: np.ndarray, blink: float) -> None:
        me = self.identity
        dark: Colour = (36, 24, 22)
        if blink < 0.6:
            outline = closed_curve(eye)
            self._fill(outline, (252, 252, 250))
            centre = eye[[0, 3]].mean(axis=0) - np.array([0.0, 0.002])
            open_share = 1 - blink
            turn = np.linspace(0, 2 * np.pi, 20, endpoint=False)
            iris = np.stack([0.0155 * np.cos(turn), 0.0155 * open_share * np.sin(turn)], axis=1)
            self._fill(centre + iris, me.iris)
            self._fill(centre + 0.55 * iris, (12, 10, 10))
            self._disc(centre + np.array([0.005, -0.006 * open_share]), 0.004, (255, 255, 255))
            self._line(outline[: 3 * 8 + 1], dark, 0.009)
            self._line(outline[3 * 8 :], tint(me.skin, 0.62), 0.004)
        else:
            self._line(closed_curve(eye)[: 3 * 8 + 1], dark, 0.010)

    def _mouth(self, figure: Figure) -> None:
        me = self.identity
        self._fill(figure.mouth_outer, me.lips)
        lower = np.concatenate([figure.mouth_inner[20:], figure.mouth_inner[:1]])
        upper = figure.mouth_inner[:21]
        gap = float(lower[10, 1] - upper[10, 1])
        if gap > 0.008:
            self._fill(figure.mouth_inner, _INSIDE_MOUTH)
            if gap > 0.035:
                tongue = lower[3:18]
                rise = np.minimum((gap - 0.022) * 0.5, 0.024) * np.sin(np.linspace(0, np.pi, 15))
                top = tongue - np.stack([np.zeros(15), rise], axis=1)
                self._fill(np.concatenate([tongue, top[::-1]]), _TONGUE)
            teeth = upper[4:17]
            depth = np.minimum(0.30 * gap, 0.018) * np.sin(np.linspace(0.35, np.pi - 0.35, 13))
            edge = teeth + np.stack([np.zeros(13), depth], axis=1)
            self._fill(np.concatenate([teeth, edge[::-1]]), _TEETH)
        else:
            self._line(upper, tint(me.lips, 0.35), 0.007)
        shine = figure.mouth_outer[26:35] - (0.0, 0.007)
        self._line(shine, mix(me.lips, (255, 255, 255), 0.28), 0.004)

    def _hair_front(self, figure: Figure) -> None:
        me = self.identity
        style = HAIR[me.hair_style]
        front, line = np.array(style["front"]), np.array(style["line"])
        mirror = np.array([-1, 1])
        outer = np.concatenate([front[:0:-1] * mirror, front])
        whole = line[-1, 0] < 0
        inner = line if whole else np.concatenate([line, line[-2::-1] * mirror])
        outline = closed_curve(np.concatenate([outer, inner])) + MIDLINE
        self._fill(move(figure.head_transform, outline), me.hair)
        gloss = [(-0.09, 0.085), (-0.03, 0.062), (0.04, 0.064), (-0.03, 0.074)]
        shine = closed_curve(np.array(gloss)) + MIDLINE
        self._fill(move(figure.head_transform, shine), tint(me.hair, 1.35))

    def _arm(self, figure: Figure, i: int) -> None:
        me = self.identity
        shoulder, elbow, wrist = figure.arms[i]
        side = -1 if i == 0 else 1
        sleeve, edge = me.jacket, tint(me.jacket, 0.66)
        upper = np.array([shoulder + np.array([-side * 0.006, 0.034]), elbow])
        cuff = elbow + (wrist - elbow) * 0.80
        for colour, extra in ((edge, 0.010), (sleeve, 0.0)):
            self._line(upper, colour, 0.115 + extra)
        # the outline ends where the sleeve meets the shoulder
        self._line(np.array([upper[0], 0.65 * upper[0] + 0.35 * elbow]), sleeve, 0.115)
        self._disc(upper[0] - np.array([side * 0.012, 0.0]), 0.066, sleeve)
        for colour, extra in ((edge, 0.010), (sleeve, 0.0)):
            self._line(np.array([elbow, cuff]), colour, 0.100 + extra)
        self._line(np.array([cuff, elbow + (wrist - elbow) * 0.92]), me.shirt, 0.080)

    def _hand(self, hand: np.ndarray) -> None:
        me = self.identity
        edge, size = tint(me.skin, 0.58), me.hand_length
        palm = closed_curve(
            np.array(
                [
                    hand[0] + 0.9 * (hand[1] - hand[0]),
                    0.35 * hand[2] + 0.65 * hand[5] + 0.02 * (hand[2] - hand[17]),
                    hand[5] + 0.10 * (hand[5] - hand[17]),
                    hand[9] + 0.04 * (hand[9] - hand[0]),
                    hand[13],
                    hand[17] + 0.12 * (hand[17] - hand[5]),
                    hand[0] + 0.45 * (hand[17] - hand[0]) + 0.25 * (hand[17] - hand[5]),
                    hand[0] + 0.30 * (hand[17] - hand[5]) - 0.08 * (hand[9] - hand[0]),
                    hand[0] - 0.30 * (hand[17] - hand[5]) - 0.08 * (hand[9] - hand[0]),
                ]
            )
        )
        widths = np.array([0.135, 0.125, 0.125, 0.120, 0.105]) * size
        for finger, width in zip(FINGERS, widths, strict=True):
            joints = hand[list(finger)]
            self._line(joints, edge, float(width) + 0.012)
        self._line(palm, edge, 0.012, closed=True)
        self._fill(palm, me.skin)
        for finger, width in zip(FINGERS, widths, strict=True):
            self._line(hand[list(finger)], me.skin, float(width))
        crease = tint(me.skin, 0.80)
        for finger in FINGERS[1:]:
            across = 0.22 * (hand[5] - hand[17])
            for joint in finger[1:3]:
                ends = hand[joint] + np.stack([-across, across]) / 2
                self._line(ends, crease, 0.004)
        heel = hand[0] + 0.30 * (hand[9] - hand[0])
        curve = [hand[1] * 0.3 + hand[5] * 0.7, 0.5 * (hand[9] + hand[1]), heel]
        self._line(np.array(curve), crease, 0.005)


def tint(colour: Colour, factor: float) -> Colour:
    """The colour, darker (factor below 1) or brighter."""
    r, g, b = (min(255, round(c * factor)) for c in colour)
    return r, g, b


def mix(a: Colour, b: Colour, share: float) -> Colour:
    """Colour a with a share 0..1 of colour b."""
    red, green, blue = (round(x + (y - x) * share) for x, y in zip(a, b, strict=True))
    return red, green, blue


def _background(identity: Identity, width: int, height: int, x0: int) -> np.ndarray:
    top, bottom = (np.asarray(c, dtype=np.float64) for c in identity.backdrop)
    share = np.linspace(0.0, 1.0, height)[:, None, None]
    image = np.broadcast_to(top + (bottom - top) * share, (height, width, 3))
    image = np.ascontiguousarray(np.rint(image).astype(np.uint8))
    middle = x0 + height / 2 + identity.panel_side * 0.40 * height
    left, right = round(middle - 0.16 * height), round(middle + 0.16 * height)
    corner = (left, round(0.08 * height)), (right, round(0.52 * height))
    cv2.rectangle(image, corner[0], corner[1], identity.panel, -1)
    return cv2.GaussianBlur(image, (0, 0), 2.0 * height / 512)
