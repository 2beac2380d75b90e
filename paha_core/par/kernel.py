"""The inner loops of `par`, compiled by numba: numpy would pass over every pixel several times.

The loops run inside the bounding box of a frame's stamps only; the rest of the frame has the base
weight, whose cell means follow from the rectangle's edges. Numba caches the compiled code beside
this file (or in its user folder), so only the first process compiles.
"""

from __future__ import annotations

import numba
import numpy as np

from paha_core.pose import layout

_FACE = (layout.FACE.start, layout.FACE.stop)
_HANDS = (layout.LEFT_HAND.start, layout.RIGHT_HAND.stop)  # left and right are adjacent
_FIRST, _LAST = _FACE[0], _HANDS[1]  # face and hands are adjacent too


@numba.njit(cache=True, nogil=True)
def weights_kernel(
    pixels, scores, rectangles, half, stamp, height, width, omega_1, omega_2, cap, out
):
    """Equation 3 and its area mean, written to `out` [T, rows, columns]. Score 0: unreliable."""
    frames, grid_h, grid_w = out.shape
    cell_h, cell_w = height // grid_h, width // grid_w
    base = np.float32(min(1.0, cap))
    body = np.float32(min(omega_2, cap))
    a, b = len(half) // 2, len(stamp) // 2
    smooth = np.zeros((height, width), np.float32)  # T(sum of c_p)
    area = np.zeros((height, width), np.bool_)  # S_a of hands and face
    sums = np.empty((grid_h, grid_w), np.float64)
    for t in range(frames):
        x0, y0, x1, y1 = rectangles[t]
        # 1. the base: omega_2 inside the rectangle, 1 elsewhere
        for i in range(grid_h):
            rows = max(0, min(y1, (i + 1) * cell_h) - max(y0, i * cell_h))
            for j in range(grid_w):
                columns = max(0, min(x1, (j + 1) * cell_w) - max(x0, j * cell_w))
                inside = rows * columns
                sums[i, j] = inside * body + (cell_h * cell_w - inside) * base
        # 2. the smoothed sum of scores, and the union of discs, inside one box
        top, bottom, left, right = height, 0, width, 0
        for p in range(_FIRST, _LAST):
            if scores[t, p] <= 0:
                continue
            x, y, c = pixels[t, p, 0], pixels[t, p, 1], scores[t, p]
            from_y, to_y = max(0, y - b), min(height, y + b + 1)
            from_x, to_x = max(0, x - b), min(width, x + b + 1)
            if from_y >= to_y or from_x >= to_x:
                continue  # its stamp lies outside the frame
            for row in range(from_y, to_y):
                source = stamp[row - y + b, from_x - x + b : to_x - x + b]
                target = smooth[row, from_x:to_x]
                for k in range(len(source)):
                    target[k] += c * source[k]
            for row in range(max(0, y - a), min(height, y + a + 1)):
                reach = half[row - y + a]
                for column in range(max(0, x - reach), min(width, x + reach + 1)):
                    area[row, column] = True
            top, bottom = min(top, from_y), max(bottom, to_y)
            left, right = min(left, from_x), max(right, to_x)
        # 3. M = max(base, omega_1 * T) inside the area; add the excess over the base to the cell
        for row in range(top, bottom):
            i = row // cell_h
            in_rows = y0 <= row < y1
            for column in range(left, right):
                if area[row, column]:
                    under = body if in_rows and x0 <= column < x1 else base
                    weight = min(omega_1 * smooth[row, column], cap)
                    if weight > under:
                        sums[i, column // cell_w] += weight - under
            smooth[row, left:right] = 0
            area[row, left:right] = False
        # 4. area mean
        for i in range(grid_h):
            for j in range(grid_w):
                out[t, i, j] = sums[i, j] / (cell_h * cell_w)


@numba.njit(cache=True, nogil=True)
def regions_kernel(pixels, usable, rectangles, half, height, width, min_pixels, out):
    """Equation 2 per cell, written to `out`, uint8 [T, rows, columns].

    A bit is set where its region covers at least `min_pixels` pixels of the cell.
    """
    frames, grid_h, grid_w = out.shape
    cell_h, cell_w = height // grid_h, width // grid_w
    a = len(half) // 2
    area = np.zeros((height, width), np.bool_)
    counts = np.empty((grid_h, grid_w), np.int64)
    for t in range(frames):
        x0, y0, x1, y1 = rectangles[t]
        for i in range(grid_h):
            rows = max(0, min(y1, (i + 1) * cell_h) - max(y0, i * cell_h))
            for j in range(grid_w):
                columns = max(0, min(x1, (j + 1) * cell_w) - max(x0, j * cell_w))
                out[t, i, j] = 4 if rows * columns >= min_pixels else 0
        for bit, (first, last) in ((1, _FACE), (2, _HANDS)):
            counts[:] = 0
            # Count each pixel once, when it is first covered; afterwards clear the discs.
            for p in range(first, last):
                if usable[t, p]:
                    x, y = pixels[t, p, 0], pixels[t, p, 1]
                    for row in range(max(0, y - a), min(height, y + a + 1)):
                        reach = half[row - y + a]
                        for column in range(max(0, x - reach), min(width, x + reach + 1)):
                            if not area[row, column]:
                                area[row, column] = True
                                counts[row // cell_h, column // cell_w] += 1
            for p in range(first, last):
                if usable[t, p]:
                    x, y = pixels[t, p, 0], pixels[t, p, 1]
                    for row in range(max(0, y - a), min(height, y + a + 1)):
                        reach = half[row - y + a]
                        area[row, max(0, x - reach) : max(0, min(width, x + reach + 1))] = False
            for i in range(grid_h):
                for j in range(grid_w):
                    if counts[i, j] >= min_pixels:
                        out[t, i, j] |= bit
