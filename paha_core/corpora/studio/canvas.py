"""A picture that shapes in crop shares are painted on: flat colours, smooth outlines. cv2 only."""

import cv2
import numpy as np

from paha_core.corpora.studio.colours import Colour
from paha_core.corpora.studio.figure import framed

_SHIFT = 5  # sub-pixel bits of every coordinate


class Canvas:
    """`image` uint8 [height, width, 3] RGB with a square crop of side `height` at `x0`.

    `zoom` and `shift` frame the figure (`Look`): points and widths are given for the standard
    framing.
    """

    def __init__(self, image: np.ndarray, x0: int, zoom: float = 1.0, shift: float = 0.0) -> None:
        self.image = image
        self.side = image.shape[0]
        self.offset = np.array([x0, 0.0])
        self.zoom, self.shift = zoom, shift

    def fill(self, points: np.ndarray, colour: Colour) -> None:
        """Fill the polygon through points [N, 2]."""
        cv2.fillPoly(self.image, [self._pixels(points)], colour, cv2.LINE_AA, _SHIFT)

    def line(self, points: np.ndarray, colour: Colour, width: float, closed: bool = False) -> None:
        """Draw the line through points [N, 2]; never thinner than a pixel."""
        thickness = max(1, round(width * self.zoom * self.side))
        pixels = [self._pixels(points)]
        cv2.polylines(self.image, pixels, closed, colour, thickness, cv2.LINE_AA, _SHIFT)

    def disc(self, centre: np.ndarray, radius: float, colour: Colour) -> None:
        """Fill the circle about centre [2]."""
        x, y = self._pixels(centre)
        size = round(radius * self.zoom * self.side * (1 << _SHIFT))
        cv2.circle(self.image, (int(x), int(y)), size, colour, -1, cv2.LINE_AA, _SHIFT)

    def _pixels(self, points: np.ndarray) -> np.ndarray:
        # cv2 puts a pixel's centre at whole numbers, our shares put its corner there
        pixels = framed(points, self.zoom, self.shift) * self.side + self.offset - 0.5
        return np.rint(pixels * (1 << _SHIFT)).astype(np.int32)


def ellipse(centre: tuple[float, float], rx: float, ry: float, count: int = 24) -> np.ndarray:
    """Points [count, 2] of an ellipse."""
    turn = np.linspace(0, 2 * np.pi, count, endpoint=False)
    return np.stack([rx * np.cos(turn), ry * np.sin(turn)], axis=1) + centre
