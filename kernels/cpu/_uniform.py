"""Where a label is uniform: a table over small cells, and the runs of voxels that it settles."""

import math
from functools import partial

import numpy as np

from gfnoise._runs import REACH, cells

from . import _pool
from ._jit import device, kernel
from .interpolation import floor32

_APART, _OUTSIDE = np.uint8(1), np.uint8(2)  # a source box that no entry speaks for; off the grid
_HALF = np.float32(0.5)
_NONE = np.float32(0)


@device
def _narrow(line, least, most):
    """Lower `least` and raise `most` to what the line holds."""
    for i in range(line.size):
        code = line[i]
        least[i] = code if code < least[i] else least[i]
        most[i] = code if code > most[i] else most[i]


@device
def _halve(least, most, width):
    """Join neighbours two by two, in place: contiguous loops, which vectorise."""
    for i in range(width // 2):
        a, b = least[2 * i], least[2 * i + 1]
        least[i] = a if a < b else b
        a, b = most[2 * i], most[2 * i + 1]
        most[i] = a if a > b else b


@kernel
def _tabulate(labels, sizes, first, low, high, start, stop):
    """Smallest and largest code of each cell, for the planes [start, stop) of cells."""
    nz, ny, nx = labels.shape
    size_z, size_y, size_x = sizes
    _, cells_y, cells_x = low.shape
    left, right = first[2] * size_x, min((first[2] + cells_x) * size_x, nx)
    width = right - left
    padded = cells_x * size_x
    least = np.empty(padded, labels.dtype)
    most = np.empty(padded, labels.dtype)
    for cz in range(start, stop):
        plane = (first[0] + cz) * size_z
        for cy in range(cells_y):
            row = (first[1] + cy) * size_y
            least[:width] = labels[plane, row, left:right]
            least[width:] = least[width - 1]
            most[:] = least
            for z in range(plane, min(plane + size_z, nz)):
                for y in range(row, min(row + size_y, ny)):
                    _narrow(labels[z, y, left:right], least, most)
            # What the padding repeats may be of another cell's row, but of this cell's voxels.
            least[width:] = least[width - 1]
            most[width:] = most[width - 1]
            count = padded
            while count > cells_x:
                _halve(least, most, count)
                count //= 2
            low[cz, cy] = least[:cells_x]
            high[cz, cy] = most[:cells_x]


@kernel
def _merge(low, high, uniform):
    """Whether the REACH cells from each cell on, as far as there are any, hold one label."""
    planes, rows, columns = low.shape
    for z, y in np.ndindex(planes, rows):
        for x in range(columns):
            uniform[z, y, x] = low[z, y, x] == high[z, y, x]
    for step in (1, 2):  # doubles what an entry speaks for, axis by axis, up to REACH
        for z, y in np.ndindex(planes, rows):
            for x in range(columns - step):
                same = low[z, y, x] == low[z, y, x + step]
                uniform[z, y, x] &= uniform[z, y, x + step] & same
    for step in (1, 2):
        for z, y in np.ndindex(planes, max(rows - step, 0)):
            for x in range(columns):
                same = low[z, y, x] == low[z, y + step, x]
                uniform[z, y, x] &= uniform[z, y + step, x] & same
    for step in (1, 2):
        for z, y in np.ndindex(max(planes - step, 0), rows):
            for x in range(columns):
                same = low[z, y, x] == low[z + step, y, x]
                uniform[z, y, x] &= uniform[z + step, y, x] & same


class Table:
    """For each cell: its label, and whether the REACH cells from it on, per axis, share it.

    Parameters
    ----------
    labels : array, (z, y, x)
    origin, count, step : tuple of int
        The voxels that will be displaced.
    amplitude, reach : array, (3,)
        As in `gfnoise._runs.cells`.
    """

    def __init__(self, labels, origin, count, step, amplitude, reach):
        self.labels = labels
        self.bits, self.first, number = cells(labels.shape, origin, count, step, amplitude, reach)
        self.sizes = tuple(1 << bits for bits in self.bits)
        self.low = np.empty(number, labels.dtype)
        self.high = np.empty(number, labels.dtype)

    def filling(self):
        """The tasks that tabulate the cells."""
        planes, rows, columns = self.low.shape
        share = max(1, _pool.SLAB // (rows * columns * math.prod(self.sizes)))
        args = self.labels, self.sizes, tuple(self.first), self.low, self.high
        return [
            partial(_tabulate, *args, start, min(start + share, planes))
            for start in range(0, planes, share)
        ]

    def arguments(self):
        """What `confine` and `settle` take, once the cells are tabulated."""
        uniform = np.empty(self.low.shape, np.bool_)
        _merge(self.low, self.high, uniform)
        axes = zip(self.bits, self.first, self.low.shape, strict=True)
        return self.low.reshape(-1), uniform.reshape(-1), *axes


@device
def confine(edge, slack, run, parts, count, order, line, cells, cell, state):
    """Narrow the source boxes of a run, in `count` rows at once, by their range along one axis.

    Parameters
    ----------
    edge : (nodes, rows)
        The displacement at the run's nodes, of which it has `parts` + 1.
    slack : (rows,)
        How far the displacement may leave their interval.
    line : tuple
        The first voxel, its step from row to row, the voxels from the run's first to its last, the
        voxels along the axis.
    cells : tuple
        log2 of a cell's size, the table's first cell and its cells along the axis.
    cell, state : (rows,)
        The number of each box's first cell so far, and what is known of the box.
    """
    first, step, span, size = line
    bits, cell_first, cell_count = cells
    bias = _NONE if order == 1 else _HALF
    last = np.int32(size - 1)
    start, middle, end = edge[parts * run], edge[parts * run + parts // 2], edge[parts * (run + 1)]
    for row in range(count):
        a, b, c = start[row], middle[row], end[row]
        origin = np.int32(first) + np.int32(step) * np.int32(row)
        least = floor32(min(a, min(b, c)) - slack[row] + bias) + origin
        most = floor32(max(a, max(b, c)) + slack[row] + bias) + origin + np.int32(span + order)
        near, away = min(max(least, np.int32(0)), last), min(max(most, np.int32(0)), last)
        near_cell = (near >> bits) - np.int32(cell_first)
        away_cell = (away >> bits) - np.int32(cell_first)
        apart = (
            (away_cell - near_cell >= REACH)
            | (near_cell < np.int32(0))
            | (away_cell >= np.int32(cell_count))
        )
        place = min(max(near_cell, np.int32(0)), np.int32(cell_count - 1))
        cell[row] = cell[row] * np.int32(cell_count) + place
        state[row] |= apart * _APART | ((least != near) | (most != away)) * _OUTSIDE


@device
def settle(low, uniform, cell, state, count, rule):
    """Replace `state` by whether the run holds a single label, which is then `low[cell]`."""
    cval, ignore, _, has_ignore, constant = rule
    for row in range(count):
        label = low[cell[row]]
        state[row] = (
            uniform[cell[row]]
            and not state[row] & _APART
            and not (has_ignore and label == ignore)
            and not (constant and state[row] & _OUTSIDE and label != cval)
        )
