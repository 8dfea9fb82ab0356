"""How far a field displaces at most: a bound from its values on a grid, as coarse as it may be.

A component is a trigonometric polynomial on a torus, of degree K per axis. At a distance d from
where it is largest in modulus it is still at least cos(2 pi K d / P) times as large, while that is
positive (M. Riesz 1914; Ehlich and Zeller 1964 for grids). So its values on a grid of step h, of
which any point is within h / 2, times 1 / cos(pi K h / P) per axis, bound it everywhere.
"""

import math
from collections.abc import Iterator
from types import ModuleType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .._shared.spectrum import harmonics, spectrum
from .._window import Window

_ANGLES = (0.25, 0.35, 0.5, 0.65)
"""Of the highest harmonic between a point of the torus and one of the grid; the first is best."""
_POINTS = 1 << 23  # of a grid, as far as the angles allow
_HELD = 1 << 18  # points at once
_LARGEST_NORMAL = 6.77  # what 32 bits of Philox and Box-Muller give at most
_ROUNDOFF = 2.0**-24
_FURTHEST = 1e9


def reach(
    kernels: ModuleType,
    *,
    seeds: NDArray[Any],
    numbers: NDArray[Any],
    raters: int,
    amplitude: NDArray[np.float64],
    length_scale: NDArray[np.float64],
    window: Window,
) -> tuple[int, ...]:
    """Voxels per axis between a voxel of the window and any source of its, in all streams.

    The arguments are those of the kernels of the stem "field". A source is the voxel that holds a
    displaced point, or a corner of the cell that does.
    """
    furthest = np.zeros(amplitude.shape[1])
    for item in range(len(seeds)):
        one = slice(item, item + 1)
        grid, factor, terms = _grid(window, length_scale[item].tolist())
        found = np.zeros_like(furthest)
        for part in _slabs(grid, raters):
            out = np.empty((1, raters, len(found), *part.count), np.float32)
            kernels.displacement(
                out,
                seeds=seeds[one],
                numbers=numbers[one],
                amplitude=amplitude[one],
                length_scale=length_scale[one],
                window=part,
            )
            axes = (0, 1, *range(3, out.ndim))
            found = np.maximum(found, np.maximum(out.max(axes), -out.min(axes)))
            del out  # before the next one
        # Products and sums are rounded to float32, on this grid and at the voxels. The squares of
        # the basis sum to one: the sum of the terms is at most the norm of the coefficients.
        size = _LARGEST_NORMAL * math.sqrt(math.prod(terms))
        rounding = (sum(terms) + 8) * _ROUNDOFF * size * amplitude[item]
        furthest = np.maximum(furthest, factor * (found + rounding) + rounding)
    return tuple(int(one) + 1 for one in np.minimum(furthest, _FURTHEST))


def _grid(window: Window, length_scale: list[float]) -> tuple[Window, float, list[int]]:
    """Where to evaluate the field, the factor of what it is elsewhere, and its terms per axis."""
    axes = list(zip(window.shape, window.start, window.count, length_scale, strict=True))
    cuts = [harmonics(size, length) for size, _, _, length in axes]
    highest = [float(spectrum(size, length)[0][-1]) for size, _, _, length in axes]
    for angle in _ANGLES:
        found, factor = [], 1.0
        for (_, start, count, _), cut, frequency in zip(axes, cuts, highest, strict=True):
            period = math.ceil(cut.period)
            step = min(period, int(2 * angle / frequency)) if frequency > 0 else period
            if step <= 1 or -(-period // step) >= count:
                found.append((start, count, 1))  # every voxel of the window
            else:
                found.append((0, -(-period // step), step))
                factor /= math.cos(frequency * step / 2)
        if math.prod(count for _, count, _ in found) <= _POINTS:
            break
    where = (tuple(column) for column in zip(*found, strict=True))
    return Window(window.shape, *where), factor, [cut.terms for cut in cuts]


def _slabs(grid: Window, raters: int) -> Iterator[Window]:
    """The grid in slabs along the first axis."""
    planes = max(1, _HELD // max(1, raters * math.prod(grid.count[1:])))
    for first in range(0, grid.count[0], planes):
        start = grid.start[0] + grid.step[0] * first
        count = min(planes, grid.count[0] - first)
        yield Window(grid.shape, (start, *grid.start[1:]), (count, *grid.count[1:]), grid.step)
