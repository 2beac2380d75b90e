"""Paints a figure: flat colours, smooth outlines, a light blur. cv2 only; RGB throughout."""

import cv2
import numpy as np

from paha_core.corpora.studio.canvas import Canvas
from paha_core.corpora.studio.clothes import paint_arm, paint_neck, paint_torso
from paha_core.corpora.studio.colours import tint
from paha_core.corpora.studio.face import paint_ears, paint_face, paint_mouth
from paha_core.corpora.studio.figure import FINGERS, Figure, closed_curve
from paha_core.corpora.studio.hair import paint_hair_back, paint_hair_front
from paha_core.corpora.studio.identities import Identity
from paha_core.corpora.studio.room import paint_room


class Painter:
    """Draws one identity's frames, `width` x `height` pixels, the crop's left edge at `x0`.

    The room is painted once; `paint` copies it and draws the figure on top.
    """

    def __init__(self, identity: Identity, width: int, height: int, x0: int) -> None:
        self.identity, self.x0 = identity, x0
        self.background = paint_room(identity, width, height, x0)
        self.sigma = 0.9 * height / 512
        # the figure never leaves the crop by more than this: only here is there paint to blur
        margin = height // 16
        self.painted = slice(max(0, x0 - margin), min(width, x0 + height + margin))

    def paint(self, figure: Figure) -> np.ndarray:
        """One frame, uint8 [height, width, 3] RGB."""
        me, image = self.identity, self.background.copy()
        canvas = Canvas(image, self.x0, me.look.zoom, me.look.shift)
        paint_torso(canvas, me, figure)
        paint_hair_back(canvas, me, figure)
        paint_ears(canvas, me, figure)
        paint_neck(canvas, me, figure)
        paint_face(canvas, me, figure)
        paint_mouth(canvas, me, figure)
        paint_hair_front(canvas, me, figure)
        for i in (0, 1):
            paint_arm(canvas, me, figure, i)
            paint_hand(canvas, me, figure.hands[i])
        part = image[:, self.painted]
        image[:, self.painted] = cv2.GaussianBlur(part, (0, 0), max(self.sigma, 0.5))
        return image


def paint_hand(canvas: Canvas, me: Identity, hand: np.ndarray) -> None:
    """One open hand [21, 2]: palm, five fingers, creases."""
    skin, size = me.look.palm or me.skin, me.hand_length
    edge = tint(skin, 0.58)
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
        canvas.line(joints, edge, float(width) + 0.012)
    canvas.line(palm, edge, 0.012, closed=True)
    canvas.fill(palm, skin)
    for finger, width in zip(FINGERS, widths, strict=True):
        canvas.line(hand[list(finger)], skin, float(width))
    crease = tint(skin, 0.80)
    for finger in FINGERS[1:]:
        across = 0.22 * (hand[5] - hand[17])
        for joint in finger[1:3]:
            ends = hand[joint] + np.stack([-across, across]) / 2
            canvas.line(ends, crease, 0.004)
    heel = hand[0] + 0.30 * (hand[9] - hand[0])
    curve = [hand[1] * 0.3 + hand[5] * 0.7, 0.5 * (hand[9] + hand[1]), heel]
    canvas.line(np.array(curve), crease, 0.005)
