"""What is behind a presenter: a gradient and a few plain shapes, painted once, softly blurred."""

from collections.abc import Callable

import cv2
import numpy as np

from paha_core.corpora.studio.canvas import Canvas
from paha_core.corpora.studio.colours import mix, tint
from paha_core.corpora.studio.identities import Identity


def paint_room(me: Identity, width: int, height: int, x0: int) -> np.ndarray:
    """The room behind `me`, uint8 [height, width, 3] RGB."""
    top, bottom = (np.asarray(c, dtype=np.float64) for c in me.backdrop)
    share = np.linspace(0.0, 1.0, height)[:, None, None]
    image = np.broadcast_to(top + (bottom - top) * share, (height, width, 3))
    image = np.ascontiguousarray(np.rint(image).astype(np.uint8))
    ROOMS[me.look.room](Canvas(image, x0), me)
    return cv2.GaussianBlur(image, (0, 0), 2.0 * height / 512)


def _panel(canvas: Canvas, me: Identity) -> None:
    """One upright rectangle."""
    image, height = canvas.image, canvas.side
    middle = canvas.offset[0] + height / 2 + me.panel_side * 0.40 * height
    left, right = round(middle - 0.16 * height), round(middle + 0.16 * height)
    corner = (left, round(0.08 * height)), (right, round(0.52 * height))
    cv2.rectangle(image, corner[0], corner[1], me.panel, -1)


def _plain(canvas: Canvas, me: Identity) -> None:
    """Nothing but the gradient."""


def _window(canvas: Canvas, me: Identity) -> None:
    """A window with four panes."""
    x = 0.5 + me.panel_side * 0.37
    _box(canvas, x - 0.17, 0.06, x + 0.17, 0.54, me.panel)
    for left in (x - 0.15, x + 0.01):
        for up in (0.08, 0.31):
            _box(canvas, left, up, left + 0.14, up + 0.21, me.look.accent)


def _shelves(canvas: Canvas, me: Identity) -> None:
    """Shelves with books on both sides."""
    for y in (0.22, 0.46, 0.70):
        _box(canvas, -0.4, y, 1.4, y + 0.022, me.panel)
    books = np.random.default_rng([*me.panel, *me.look.accent])
    for y in (0.22, 0.46):
        for x in np.arange(-0.38, 1.38, 0.045):
            if 0.28 < x < 0.68 or books.uniform() < 0.25:
                continue
            colour = tint(mix(me.panel, me.look.accent, books.uniform()), books.uniform(0.8, 1.1))
            _box(canvas, x, y - books.uniform(0.10, 0.15), x + 0.036, y, colour)


def _stripes(canvas: Canvas, me: Identity) -> None:
    """Upright wallpaper stripes, or a curtain's folds."""
    for x in np.arange(-0.42, 1.42, 0.12):
        _box(canvas, x, -0.02, x + 0.05, 1.02, me.panel)


def _discs(canvas: Canvas, me: Identity) -> None:
    """Large discs, as on a stage."""
    for x, y, radius in ((0.08, 0.24, 0.17), (0.93, 0.42, 0.22), (-0.25, 0.62, 0.2)):
        canvas.disc(np.array([x, y]), radius, me.panel)
        canvas.disc(np.array([x, y]), 0.55 * radius, me.look.accent)


def _city(canvas: Canvas, me: Identity) -> None:
    """A skyline with lit windows."""
    houses = np.random.default_rng([*me.panel, *me.look.accent])
    for x in np.arange(-0.42, 1.40, 0.135):
        top = houses.uniform(0.28, 0.55)
        _box(canvas, x, top, x + 0.115, 1.02, tint(me.panel, houses.uniform(0.85, 1.0)))
        for y in np.arange(top + 0.03, 0.75, 0.055):
            for column in (x + 0.022, x + 0.068):
                if houses.uniform() < 0.55:
                    _box(canvas, column, y, column + 0.024, y + 0.028, me.look.accent)


def _plant(canvas: Canvas, me: Identity) -> None:
    """A large plant beside the presenter, a picture on the other side."""
    x, side = 0.5 + me.panel_side * 0.41, me.panel_side
    for i, angle in enumerate(np.linspace(-1.1, 1.1, 7)):
        tip = np.array([x + 0.20 * np.sin(angle), 0.52 - 0.24 * np.cos(angle)])
        stem = np.stack([np.array([x, 0.66]), tip])
        canvas.line(stem, tint(me.look.accent, 0.80 + 0.05 * (i % 3)), 0.045)
    _box(canvas, x - 0.07, 0.62, x + 0.07, 0.76, me.panel)
    frame = 0.5 - side * 0.40
    _box(canvas, frame - 0.09, 0.10, frame + 0.09, 0.34, me.panel)
    _box(canvas, frame - 0.07, 0.12, frame + 0.07, 0.32, tint(me.panel, 1.12))


ROOMS: dict[str, Callable[[Canvas, Identity], None]] = {
    "panel": _panel, "plain": _plain, "window": _window, "shelves": _shelves,
    "stripes": _stripes, "discs": _discs, "city": _city, "plant": _plant,
}  # fmt: skip


def _box(
    canvas: Canvas, left: float, top: float, right: float, bottom: float, colour: tuple
) -> None:
    canvas.fill(np.array([(left, top), (right, top), (right, bottom), (left, bottom)]), colour)
