"""Where a label is uniform: a table over small cells, and the runs of voxels that it settles."""

import math
from functools import lru_cache, partial

import numpy as np

from gfnoise._runs import REACH, RUN, cells

from . import _pool
from ._codes import as_bytes, entry
from ._jit import device, kernel, seldom
from ._vector import LONGEST, floor32

_APART, _OUTSIDE = np.int32(1), np.int32(2)  # a source box that no entry speaks for; off the grid
_HALF = np.float32(0.5)
_NONE = np.float32(0)
_MOST = 255  # cells that an entry counts
_NEVER = -(1 << 31)  # cells that an entry speaks for, of an axis whose voxels 32 bits do not number
_SLAB = 4 * _pool.SLAB  # reading does little to a voxel

_cells = lru_cache(maxsize=64)(cells)


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


@seldom
def _count_alike(low, alike, begin, end):
    """Let each entry of a line, 1 where a cell is uniform, count the cells from it on of its label.

    Before `begin` and from `end` on all are background, and these two are not.
    """
    for i in range(begin):
        alike[i] = min(begin - i, _MOST)
    for i in range(end, low.size):
        alike[i] = min(low.size - i, _MOST)
    for i in range(min(end, low.size - 1) - 1, begin - 1, -1):
        if alike[i] and low[i] == low[i + 1]:
            alike[i] = min(alike[i + 1], _MOST - 1) + 1


@seldom
def _agree(low, alike, apart, joined):
    """Join each entry with the one `apart` from it, if any: the least of both, if they agree."""
    count = max(0, low.size - apart)
    far_low, far_alike = low[low.size - count :], alike[low.size - count :]
    for i in range(count):
        least = min(alike[i], far_alike[i])
        joined[i] = least if low[i] == far_low[i] else np.uint8(0)
    for i in range(count, low.size):
        joined[i] = alike[i]


@device
def _extent(low, single, background):
    """The first cell of a line that is not uniformly background, and the one after the last."""
    begin, end = 0, low.size
    while begin < end and low[begin] == background and single[begin]:
        begin += 1
    while begin < end and low[end - 1] == background and single[end - 1]:
        end -= 1
    return begin, end


@device
def _is_all(labels, code, box):
    """Whether the lines of a box, (planes, rows, columns) from first to last, hold only `code`."""
    planes, rows, (left, right) = box
    for z in range(*planes):
        for y in range(*rows):
            line = labels[z, y, left:right]
            differences = 0
            for i in range(line.size):
                differences |= line[i] ^ code
            if differences:
                return False
    return True


@device
def _bound(labels, box, least, most, cells):
    """What the cells of a box, side by side along x, hold at least and at most."""
    planes, rows, (left, right) = box
    width, count = right - left, least.size
    line = labels[planes[0], rows[0], left:right]
    for i in range(width):
        least[i], most[i] = line[i], line[i]
    for z in range(*planes):
        for y in range(*rows):
            _narrow(labels[z, y, left:right], least, most)
    # What the padding repeats may be of another cell's row, but of this cell's voxels.
    for i in range(width, count):
        least[i], most[i] = least[width - 1], most[width - 1]
    while count > cells:
        _halve(least, most, count)
        count //= 2


@kernel
def _tabulate(labels, background, sizes, first, low, alike, extent, start, stop):
    """Fill the planes [start, stop) of (planes, cells); they are still to be joined along z."""
    nz, ny, nx = labels.shape
    size_z, size_y, size_x = sizes
    cells_y = extent.shape[1]
    cells_x = low.shape[1] // cells_y
    columns = first[2] * size_x, min((first[2] + cells_x) * size_x, nx)
    least = np.empty(cells_x * size_x, labels.dtype)
    most = np.empty(cells_x * size_x, labels.dtype)
    single = np.empty(low.shape[1], np.uint8)
    for cz in range(start, stop):
        z = (first[0] + cz) * size_z
        plane, two, four = low[cz], alike[1, 0, cz], alike[1, 1, cz]
        for cy in range(cells_y):
            y = (first[1] + cy) * size_y
            box = (z, min(z + size_z, nz)), (y, min(y + size_y, ny)), columns
            line = plane[cy * cells_x : (cy + 1) * cells_x]
            alone = single[cy * cells_x : (cy + 1) * cells_x]
            begin, end = cells_x, cells_x
            if _is_all(labels, background, box):
                for x in range(cells_x):
                    line[x], alone[x] = background, 1
            else:
                _bound(labels, box, least, most, cells_x)
                for x in range(cells_x):
                    line[x], alone[x] = least[x], least[x] == most[x]
                begin, end = _extent(line, alone, background)
            extent[cz, cy, 0], extent[cz, cy, 1] = begin, end
            _count_alike(line, alone, begin, end)
        _agree(plane, single, cells_x, two)
        _agree(plane, two, 2 * cells_x, four)


@kernel
def _join_planes(low, alike, stride):
    """Join the cells along z, where planes are `stride` entries apart."""
    for level in range(2):
        _agree(low, alike[1, level], stride, alike[0, level])
        _agree(low, alike[0, level], 2 * stride, alike[1, level])


class Table:
    """For each cell its label, and how many cells from it on along x share it.

    They are counted for rods of 2 or REACH cells along z, and as many along y, from the cell on.
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
        self.bits, self.first, number = _cells(labels.shape, origin, count, step, amplitude, reach)
        self.sizes = tuple(1 << bits for bits in self.bits)
        self.low = np.empty(number, labels.dtype)
        self.alike = np.empty((2, 2, *number), np.uint8)
        self.extent = np.empty((*number[:2], 2), np.int32)
        corner = (first * size for first, size in zip(self.first, self.sizes, strict=True))
        self.background = rule.cval if rule.constant else labels[tuple(corner)]
        self.has_background = not (rule.has_ignore and self.background == rule.ignore)

    def filling(self):
        """The tasks that tabulate the cells."""
        planes, rows, columns = self.low.shape
        share = max(1, _SLAB // (rows * columns * math.prod(self.sizes)))
        args = self.labels, self.background, self.sizes, tuple(self.first)
        low, alike = self.low.reshape(planes, -1), self.alike.reshape(2, 2, planes, -1)
        return [
            partial(_tabulate, *args, low, alike, self.extent, start, min(start + share, planes))
            for start in range(0, planes, share)
        ]

    def arguments(self):
        """What `frame`, `confine` and `settle` take, once the cells are tabulated."""
        low, alike = self.low.reshape(-1), self.alike.reshape(2, 2, -1)
        _join_planes(low, alike, math.prod(self.low.shape[1:]))
        most = [
            limit if size <= LONGEST else _NEVER
            for size, limit in zip(self.labels.shape, (REACH, REACH, _MOST), strict=True)
        ]
        axes = zip(self.bits, self.first, self.low.shape, most, strict=True)
        background = np.uint64(self.background), self.has_background, self.extent
        return as_bytes(low), alike.reshape(-1), background, *axes


@device
def _span(least, most, row, order):
    """How far the sources of RUN rows are from their voxels, along one axis."""
    low, high = least[row], most[row]
    for i in range(1, RUN):
        low = min(low, least[row + i])
        high = max(high, most[row + i])
    bias = _NONE if order == 1 else _HALF
    return floor32(low + bias), floor32(high + bias) + order


@device
def _cells_between(near, away, size, cells):
    """The first and the last cell of the voxels from `near` to `away`; (0, -1): not all tabulated.

    What is outside counts as the nearest voxel.
    """
    bits, first, count, _ = cells
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
    bits, first, count, _ = cells_x
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


@seldom
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
        near, away = _span(least[0], most[0], row, order) if least.shape[0] == 3 else (0, 0)
        box_z = z + near, z + away
        near, away = _span(least[-2], most[-2], row, order)
        box_y = y + step * row + near, y + step * (stop - 1) + away
        span = _span(least[-1], most[-1], row, order)
        first, last = _runs_apart(box_z, box_y, span, line, shape, table)
        if first < last:
            top, bottom = min(top, row), stop
            begin, end = min(begin, first), max(end, last)
    return top, bottom, begin, end


@seldom
def confine(edge, slack, run, parts, count, order, line, cells, box):
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
        log2 of a cell's size, the table's first cell, its cells along the axis, and the most that
        an entry speaks for.
    box : (4, rows)
        The number of each box's first cell so far, its size so far, its further cells along this
        axis, and what is known of it.
    """
    first, step, span, size = line
    bits, cell_first, cell_count, most_cells = cells
    cell, level, further, state = box
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
        further[row] = away_cell - near_cell
        apart = (
            (further[row] >= np.int32(most_cells))
            | (near_cell < np.int32(0))
            | (away_cell >= np.int32(cell_count))
        )
        place = min(max(near_cell, np.int32(0)), np.int32(cell_count - 1))
        cell[row] = cell[row] * np.int32(cell_count) + place
        level[row] = level[row] * np.int32(2) + np.int32(further[row] >= np.int32(2))
        state[row] |= apart * _APART | ((least != near) | (most != away)) * _OUTSIDE


@device
def settle(low, alike, box, count, rule):
    """Replace the state of a box by whether it holds a single label: its first cell's."""
    cval, ignore, _, has_ignore, constant = rule
    cell, level, further, state = box
    entries = low.shape[0]
    for row in range(count):
        # The size along x, the last, has no table of its own: its cells are counted.
        alone = alike[(level[row] >> 1) * entries + cell[row]] > further[row]
        outside = constant and state[row] & _OUTSIDE != 0
        settled = alone and not state[row] & _APART
        if settled and (has_ignore or outside):
            label = entry(low, cell[row])
            settled = not (has_ignore and label == ignore) and not (outside and label != cval)
        state[row] = settled
