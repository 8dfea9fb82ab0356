"""The pixels inside a closed chain of pixels, decided exactly, in integers.

A pixel on the outline, on the line between two of its points or on the line that closes it is not
inside.
"""

from __future__ import annotations

import numpy as np


def fill(points: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Fill a polygon of pixels, exactly.

    Parameters
    ----------
    points : ndarray of int
        Corners (row, column), at least 0, of shape (n, 2); the last is joined to the first.

    Returns
    -------
    inside : ndarray of bool
        The pixels strictly inside (even-odd rule), on a grid that begins at pixel (0, 0) and ends
        with the last corner.
    outline : ndarray of bool
        The pixels whose centre is on the polygon, on the same grid.
    """
    shape = points.max(axis=0) + 1
    start, step = points, np.roll(points, -1, axis=0) - points

    # The pixels on an edge divide it evenly, as often as its row and column steps share a factor.
    pieces = np.gcd(*np.abs(step).T)
    edge, k = _expand(np.maximum(pieces, 1))
    outline = np.zeros(shape, bool)
    on_edge = start[edge] + step[edge] // np.maximum(pieces, 1)[edge, None] * k[:, None]
    outline[tuple(on_edge.T)] = True

    # An edge crosses each row from its upper end to just above its lower one: all pixels to the
    # right of the crossing change sides. Those exactly on it are outline, so the floor is exact.
    rows = np.abs(step[:, 0])
    upper = np.where(step[:, :1] < 0, start + step, start)
    slope = np.where(step[:, 0] < 0, -step[:, 1], step[:, 1])
    edge, k = _expand(rows)
    column = upper[edge, 1] + k * slope[edge] // rows[edge]
    crossings = np.zeros((shape[0], shape[1] + 1), np.int64)
    np.add.at(crossings, (upper[edge, 0] + k, column + 1), 1)
    inside = np.cumsum(crossings, axis=1)[:, :-1] % 2 == 1
    return inside & ~outline, outline


def _expand(counts: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Item i counts[i] times, and the running number within each item."""
    item = np.repeat(np.arange(len(counts)), counts)
    first = np.cumsum(counts) - counts
    return item, np.arange(len(item)) - first[item]
