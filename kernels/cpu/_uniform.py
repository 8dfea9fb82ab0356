"""Where a label is uniform: a table over small cells, and the runs of voxels that it settles."""

import math
from functools import lru_cache

import numpy as np

from gfnoise._shared.runs import RUN, SIDE, cells

from . import _pool
from ._codes import address, as_bytes, code_at, entry, fill, keep_alike, put, read, repeat
from ._jit import device, kernel, not_inlined
from ._vector import LONGEST, bias_of, floor32, minus, plus, shifted, times

_APART, _OUTSIDE = (
    np.int32(1),
    np.int32(2),
)  # of a box: no entry covers it; it leaves the grid
_MOST = 255  # cells that an entry counts
_NEVER = -(1 << 31)  # of an axis too long for int32: fewer cells than any source box has

_cells = lru_cache(maxsize=64)(cells)


@not_inlined
def _count_alike(linked, alike, begin, end):
    """Let each entry of a line, 1 where a cell is uniform, count the cells from it on of its label.

    `linked` tells which are uniform and of the label of the next. Before `begin` and from `end` on
    all are background, and these two are not.
    """
    for i in range(begin):
        alike[i] = min(begin - i, _MOST)
    for i in range(end, alike.size):
        alike[i] = min(alike.size - i, _MOST)
    for i in range(min(end, alike.size - 1) - 1, begin - 1, -1):
        if linked[i]:
            alike[i] = min(alike[i + 1], _MOST - 1) + 1


@not_inlined
def _agree(codes, width, alike, apart, joined):
    """Join each entry with the one `apart` from it, if any: the least of both, if they agree.

    `codes` is where the codes of the entries are.
    """
    count = max(0, alike.size - apart)
    far = alike[alike.size - count :]
    for i in range(count):
        joined[i] = min(alike[i], far[i])
    keep_alike(codes, width, apart, joined, count)
    for i in range(count, alike.size):
        joined[i] = alike[i]


@device
def _extent(low, z, y, single, background):
    """The first cell of a line that is not uniformly background, and the one after the last."""
    begin, end = 0, single.size
    while begin < end and single[begin] and code_at(low, z, y, begin) == background:
        begin += 1
    while begin < end and single[end - 1] and code_at(low, z, y, end - 1) == background:
        end -= 1
    return begin, end


@device
def _is_all(labels, pattern, box):
    """Whether the lines of a box, (planes, rows, bytes) from first to last, all are `pattern`."""
    planes, rows, (left, right) = box
    for z in range(*planes):
        for y in range(*rows):
            line = labels[z, y, left:right]
            differences = np.uint8(0)  # and stays a byte: else the sum is eight times as wide
            for i in range(line.size):
                differences = np.uint8(differences | (line[i] ^ pattern[i]))
            if differences:
                return False
    return True


@device
def _note_mixed(labels, box, width, inside, mixed, cells):
    """Let the first `cells` bytes of `mixed` be 0 where a cell of the box is uniform.

    The cells lie side by side along x. `mixed` has a byte for each of their labels' bytes, a power
    of two for each cell: it is halved until one is left. `inside` is 0 where the next label is
    another cell's.
    """
    planes, rows, (left, right) = box
    first = labels[planes[0], rows[0], left:right]
    beside = first[width:]
    for i in range(beside.size):
        mixed[i] = (first[i] ^ beside[i]) & inside[i]
    for i in range(beside.size, mixed.size):
        mixed[i] = 0
    for z in range(*planes):
        for y in range(*rows):
            line = labels[z, y, left:right]
            for i in range(line.size):
                mixed[i] |= line[i] ^ first[i]
    count = mixed.size
    while count > cells:
        count //= 2
        for i in range(count):
            mixed[i] = mixed[2 * i] | mixed[2 * i + 1]


@kernel
def _tabulate(labels, background, sizes, first, low, alike, extent, start, stop):
    """Fill the planes [start, stop) of (planes, cells); they are still to be joined along z.

    Rows of labels are bytes.
    """
    nz, ny, row_bytes = labels.shape
    size_z, size_y, size_x = sizes
    _, cells_y, cells_x, width = low.shape
    cell_bytes = size_x * width
    left = first[2] * cell_bytes
    columns = left, min(left + cells_x * cell_bytes, row_bytes)
    pattern = np.empty(cells_x * cell_bytes, np.uint8)
    mixed, inside = np.empty(pattern.size, np.uint8), np.empty(pattern.size, np.uint8)
    linked = np.empty(cells_x, np.uint8)
    single = np.empty(cells_y * cells_x, np.uint8)
    repeat(pattern.ctypes.data, width, cells_x * size_x, background)
    for i in range(mixed.size):
        inside[i] = 255 * (i % cell_bytes < cell_bytes - width)
    for cz in range(start, stop):
        z = (first[0] + cz) * size_z
        for cy in range(cells_y):
            y = (first[1] + cy) * size_y
            box = (z, min(z + size_z, nz)), (y, min(y + size_y, ny)), columns
            alone = single[cy * cells_x : (cy + 1) * cells_x]
            if _is_all(labels, pattern, box):
                begin, end = cells_x, cells_x  # and of `linked`, nothing is read
                fill(low, (cz, cy, 0, cells_x), background)
                for x in range(cells_x):
                    alone[x] = 1
            else:
                corner = labels[z, y].ctypes.data + left
                for x in range(cells_x):
                    put(low, cz, cy, x, read(corner + x * cell_bytes, width))
                _note_mixed(labels, box, width, inside, mixed, cells_x)
                for x in range(cells_x):
                    linked[x] = alone[x] = mixed[x] == 0
                keep_alike(address(low, cz, cy, 0), width, 1, linked, cells_x - 1)
                begin, end = _extent(low, cz, cy, alone, background)
            extent[cz, cy, 0], extent[cz, cy, 1] = begin, end
            _count_alike(linked, alone, begin, end)
        codes, two, four = address(low, cz, 0, 0), alike[1, 0, cz], alike[1, 1, cz]
        _agree(codes, width, single, cells_x, two)
        _agree(codes, width, two, 2 * cells_x, four)


@kernel
def _join_planes(low, alike, stride):
    """Join the cells along z, where planes are `stride` entries apart."""
    codes, width = low.ctypes.data, low.shape[1]
    for level in range(2):
        _agree(codes, width, alike[1, level], stride, alike[0, level])
        _agree(codes, width, alike[0, level], 2 * stride, alike[1, level])


class Table:
    """For each cell its label, and how many cells from it on along x share it.

    They are counted for rods of 2 or SIDE cells along z, and as many along y, from the cell on.
    For each line of cells along x also the extent of what is not background: a class that what
    lies outside has as well, and most of a volume.

    Parameters
    ----------
    labels : array, (z, y, x)
    rule : gfnoise._labels.Rule
    origin, count, step : tuple of int
        The voxels that will be displaced.
    amplitude, spans : tuple of float
        As in `gfnoise._shared.runs.cells`.
    """

    def __init__(self, labels, rule, origin, count, step, amplitude, spans):
        self.labels = labels
        self.bits, self.first, number = _cells(labels.shape, origin, count, step, amplitude, spans)
        self.sizes = tuple(1 << bits for bits in self.bits)
        self.low = np.empty(number, labels.dtype)  # of a cell's first voxel
        self.alike = np.empty((2, 2, *number), np.uint8)
        self.extent = np.empty((*number[:2], 2), np.int32)
        corner = (first * size for first, size in zip(self.first, self.sizes, strict=True))
        self.background = rule.cval if rule.constant else labels[tuple(corner)]
        self.has_background = not (rule.has_ignore and self.background == rule.ignore)

    def filling(self):
        """The tasks that tabulate the cells."""
        planes, rows, columns = self.low.shape
        voxels = 4 * _pool.SLAB  # reading does little to one
        depth = max(1, voxels // (rows * columns * math.prod(self.sizes)))
        labels = as_bytes(self.labels).reshape(*self.labels.shape[:2], -1)
        args = labels, np.uint64(self.background), self.sizes, tuple(self.first)
        low, alike = as_bytes(self.low), self.alike.reshape(2, 2, planes, -1)
        return _pool.tasks(_tabulate, *args, low, alike, self.extent, size=planes, step=depth)

    def arguments(self):
        """What `frame`, `confine` and `settle` take, once the cells are tabulated."""
        low, alike = as_bytes(self.low.reshape(-1)), self.alike.reshape(2, 2, -1)
        _join_planes(low, alike, math.prod(self.low.shape[1:]))
        most = [
            limit if size <= LONGEST else _NEVER
            for size, limit in zip(self.labels.shape, (SIDE, SIDE, _MOST), strict=True)
        ]
        axes = zip(self.bits, self.first, self.low.shape, most, strict=True)
        background = np.uint64(self.background), self.has_background, self.extent
        return low, alike.reshape(-1), background, *axes


@device
def _span(least, most, row, order):
    """How far the sources of RUN rows are from their voxels, along one axis."""
    low, high = least[row], most[row]
    for i in range(1, RUN):
        low = min(low, least[row + i])
        high = max(high, most[row + i])
    bias = bias_of(order)
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


@not_inlined
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


@not_inlined
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
    bias = bias_of(order)
    none, last, last_cell = np.int32(0), np.int32(size - 1), np.int32(cell_count - 1)
    two, many = np.int32(2), np.int32(most_cells)
    start, middle, end = edge[parts * run], edge[parts * run + parts // 2], edge[parts * (run + 1)]
    for row in range(count):
        a, b, c = start[row], middle[row], end[row]
        origin = plus(first, times(step, row))
        least = plus(floor32(min(a, min(b, c)) - slack[row] + bias), origin)
        most = plus(floor32(max(a, max(b, c)) + slack[row] + bias), plus(origin, span + order))
        near, away = min(max(least, none), last), min(max(most, none), last)
        near_cell = minus(shifted(near, bits), cell_first)
        away_cell = minus(shifted(away, bits), cell_first)
        more = minus(away_cell, near_cell)
        further[row] = more
        apart = (more >= many) | (near_cell < none) | (away_cell > last_cell)
        outside = (least != near) | (most != away)
        cell[row] = plus(times(cell[row], cell_count), min(max(near_cell, none), last_cell))
        level[row] = plus(times(level[row], two), more >= two)
        state[row] |= (_APART if apart else none) | (_OUTSIDE if outside else none)


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
