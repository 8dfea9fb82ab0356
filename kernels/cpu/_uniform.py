"""Where a label is uniform: a table over small cells, and the runs of voxels that it settles."""

import math
from functools import partial

import numpy as np

from gfnoise._runs import REACH, RUN, cells

from . import _pool
from ._jit import device, kernel
from ._vector import floor32

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


@device
def _agree(low, uniform, apart, joined):
    """Join each entry with the one `apart` from it: whether both are uniform, of one label."""
    count = max(0, low.size - apart)
    far_low, far_uniform = low[low.size - count :], uniform[low.size - count :]
    for i in range(count):
        joined[i] = uniform[i] if low[i] == far_low[i] and far_uniform[i] else np.uint8(0)
    for i in range(count, low.size):
        joined[i] = uniform[i]


@device
def _join(low, uniform, stride, scratch):
    """Let each entry speak for the REACH cells from it on, `stride` entries apart."""
    _agree(low, uniform, stride, scratch)
    _agree(low, scratch, 2 * stride, uniform)


@device
def _extent(least, most, background):
    """The first cell of a line that is not uniformly background, and the one after the last."""
    begin, end = 0, least.size
    while begin < end and least[begin] == background and most[begin] == background:
        begin += 1
    while begin < end and least[end - 1] == background and most[end - 1] == background:
        end -= 1
    return begin, end


@kernel
def _tabulate(labels, background, sizes, first, low, uniform, extent, start, stop):
    """Fill the planes [start, stop) of cells; they are still to be joined along z."""
    nz, ny, nx = labels.shape
    size_z, size_y, size_x = sizes
    _, cells_y, cells_x = low.shape
    left, right = first[2] * size_x, min((first[2] + cells_x) * size_x, nx)
    width = right - left
    padded = cells_x * size_x
    least = np.empty(padded, labels.dtype)
    most = np.empty(padded, labels.dtype)
    scratch = np.empty(cells_y * cells_x, np.uint8)
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
            for x in range(cells_x):
                uniform[cz, cy, x] = least[x] == most[x]
            begin, end = _extent(least[:cells_x], most[:cells_x], background)
            extent[cz, cy, 0], extent[cz, cy, 1] = begin, end
            if begin < end:
                _join(low[cz, cy], uniform[cz, cy], 1, scratch)
        _join(low[cz].reshape(-1), uniform[cz].reshape(-1), cells_x, scratch)


@kernel
def _join_planes(low, uniform, stride, scratch):
    """Join the cells along z, where planes are `stride` entries apart."""
    _join(low, uniform, stride, scratch)


class Table:
    """For each cell: its label, and whether the REACH cells from it on, per axis, share it.

    For each line of cells along x also the extent of what is not background: a class that what
    lies outside has as well, and most of a volume.

    Parameters
    ----------
    labels : array, (z, y, x)
    rule : gfnoise._labels.Rule
    origin, count, step : tuple of int
        The voxels that will be displaced.
    amplitude, reach : array, (3,)
        As in `gfnoise._runs.cells`.
    """

    def __init__(self, labels, rule, origin, count, step, amplitude, reach):
        self.labels = labels
        self.bits, self.first, number = cells(labels.shape, origin, count, step, amplitude, reach)
        self.sizes = tuple(1 << bits for bits in self.bits)
        self.low = np.empty(number, labels.dtype)
        self.uniform = np.empty(number, np.uint8)
        self.extent = np.empty((*number[:2], 2), np.int32)
        corner = (first * size for first, size in zip(self.first, self.sizes, strict=True))
        self.background = rule.cval if rule.constant else labels[tuple(corner)]
        self.has_background = not (rule.has_ignore and self.background == rule.ignore)

    def filling(self):
        """The tasks that tabulate the cells."""
        planes, rows, columns = self.low.shape
        share = max(1, _pool.SLAB // (rows * columns * math.prod(self.sizes)))
        args = self.labels, self.background, self.sizes, tuple(self.first)
        args += self.low, self.uniform, self.extent
        return [
            partial(_tabulate, *args, start, min(start + share, planes))
            for start in range(0, planes, share)
        ]

    def arguments(self):
        """What `frame`, `confine` and `settle` take, once the cells are tabulated."""
        low, uniform = self.low.reshape(-1), self.uniform.reshape(-1)
        _join_planes(low, uniform, math.prod(self.low.shape[1:]), np.empty_like(uniform))
        axes = zip(self.bits, self.first, self.low.shape, strict=True)
        background = self.background, self.has_background, self.extent
        return low, uniform, background, *axes


@device
def _span(least, most, row, stop, order):
    """How far the sources of rows are from their voxels, along one axis."""
    bias = _NONE if order == 1 else _HALF
    return floor32(least[row:stop].min() + bias), floor32(most[row:stop].max() + bias) + order


@device
def _cells_between(near, away, size, cells):
    """The first and the last cell of the voxels from `near` to `away`; (0, -1): not all tabulated.

    What is outside counts as the nearest voxel.
    """
    bits, first, count = cells
    low = (min(max(near, 0), size - 1) >> bits) - first
    high = (min(max(away, 0), size - 1) >> bits) - first
    return (low, high) if low >= 0 and high < count else (0, -1)


@device
def _runs_apart(box_z, box_y, span, line, shape, table):
    """The first run of a row, and the one after the last, with sources other than background.

    The sources along z and y are within `box_z` and `box_y`; along x, `span` is how far they are
    from their voxels, and `line` the row's first voxel, its step and its runs.
    """
    _, _, (_, _, extent), cells_z, cells_y, cells_x = table
    nz, ny, nx = shape
    x, step, runs = line
    z, last_z = _cells_between(box_z[0], box_z[1], nz, cells_z)
    y, last_y = _cells_between(box_y[0], box_y[1], ny, cells_y)
    _, last_x = _cells_between(x + span[0], x + step * (RUN * runs - 1) + span[1], nx, cells_x)
    if last_z < 0 or last_y < 0 or last_x < 0:
        return 0, runs
    bits, first, count = cells_x
    begin, end = count, 0
    for i in range(z, last_z + 1):
        for j in range(y, last_y + 1):
            begin, end = min(begin, extent[i, j, 0]), max(end, extent[i, j, 1])
    if begin >= end:
        return 0, 0
    left, right = (first + begin) << bits, (first + end) << bits
    run = RUN * step
    start = -((x + step * (RUN - 1) + span[1] - left) // run) if left > 0 else 0
    stop = -((x + span[0] - right) // run) if right < nx else runs
    return min(max(start, 0), runs), min(max(stop, 0), runs)


@device
def frame(least, most, count, order, lines, line, shape, table):
    """The part of a block of rows beyond which all sources are background: a rectangle.

    Parameters
    ----------
    least, most : (components, rows)
        The range of each row's displacement.
    lines, line : tuple
        The plane, the first row and the step to the next; the first voxel, its step and the runs.

    Returns
    -------
    tuple of int
        The first row, the one after the last, the first run, the one after the last.
    """
    z, y, step = lines
    runs = line[2]
    if not table[2][1]:
        return 0, count, 0, runs
    top, bottom, begin, end = count, 0, runs, 0
    for row in range(0, count, RUN):
        stop = min(row + RUN, count)
        near, away = _span(least[0], most[0], row, stop, order) if least.shape[0] == 3 else (0, 0)
        box_z = z + near, z + away
        near, away = _span(least[-2], most[-2], row, stop, order)
        box_y = y + step * row + near, y + step * (stop - 1) + away
        span = _span(least[-1], most[-1], row, stop, order)
        first, last = _runs_apart(box_z, box_y, span, line, shape, table)
        if first < last:
            top, bottom = min(top, row), stop
            begin, end = min(begin, first), max(end, last)
    return top, bottom, begin, end


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
