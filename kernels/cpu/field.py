"""The Gaussian field, and labels moved by it: the displacement of a sample is never stored.

A component is ``sum_jkl Z[j,k,l] A0[j,z] A1[k,y] A2[l,x]``. Per plane the first axis is contracted,
per block of rows the second; the last is contracted where a voxel is decided. Every sum runs over
its terms in one order, whatever the window, the slab or the number of threads: the same bits.

Most of a volume is far from any boundary. For a run of eight voxels along x, the displacement at
its ends and a bound on its curvature confine the run's source to a box. Where the box holds a
single label, that label is stored and nothing is evaluated or gathered inside the run.
"""

from functools import partial
from itertools import product

import numpy as np

from gfnoise._spectrum import axis_basis

from . import _pool
from ._jit import device, kernel, same_type
from ._random import normals
from .interpolation import RUN, floor32, run_scratch, take_run

CELL_BITS = (1, 1, 2)  # log2 of the voxels per axis of a cell of the uniformity table
CELL_Z, CELL_Y, CELL_X = CELL = tuple(1 << bits for bits in CELL_BITS)
REACH = 4  # cells per axis that an entry of the table speaks for
APART, OUTSIDE = np.uint8(1), np.uint8(2)  # a source box too long, or outside the grid
BLOCK = 64  # rows of a block: its contractions stay in the first cache
BUDGET = 1 << 24  # coefficients held at once
_SPREAD = 1.7  # a bound between two nodes comes to 0.85 h² a / b² on average
_LARGEST = 1e30  # voxels; a larger amplitude would overflow float32, and is as far outside
_HALF = np.float32(0.5)
_NONE = np.float32(0)
_ONE = np.float32(1)


# --- the coefficients ---------------------------------------------------------------------------


@kernel
def _coefficients(out, seed, item, rater, scale, start, stop):
    _, _, ny, nx = out.shape
    for z in range(start, stop):
        for y in range(ny):
            for x in range(nx):
                index = np.uint64(z) << np.uint64(42) | np.uint64(y) << np.uint64(21) | np.uint64(x)
                first, second, third = normals(index, item, rater, seed)
                # The first ndim normals are the components, in the order of the array's axes.
                if scale.size == 3:
                    out[0, z, y, x] = np.float32(first) * scale[0]
                    out[1, z, y, x] = np.float32(second) * scale[1]
                    out[2, z, y, x] = np.float32(third) * scale[2]
                else:
                    out[0, z, y, x] = np.float32(first) * scale[0]
                    out[1, z, y, x] = np.float32(second) * scale[1]


# --- the contractions ---------------------------------------------------------------------------


@device
def contract(factors, terms, out, width):
    """out[:width] = factors @ terms, summed in the order of the terms.

    Four terms a pass: the sum is loaded and stored once for four products.
    """
    count = factors.size
    for i in range(width):
        out[i] = _NONE
    fours = count - count % 4
    for k in range(0, fours, 4):
        f0, f1, f2, f3 = factors[k], factors[k + 1], factors[k + 2], factors[k + 3]
        for i in range(width):
            out[i] = (
                out[i]
                + f0 * terms[k, i]
                + f1 * terms[k + 1, i]
                + f2 * terms[k + 2, i]
                + f3 * terms[k + 3, i]
            )
    for k in range(fours, count):
        factor = factors[k]
        for i in range(width):
            out[i] += factor * terms[k, i]


@device
def contract_plane(coefficients, basis_z, z, out):
    """Contract the first axis at plane z: (c, j, k l), (j, z) -> (c, k l)."""
    for c in range(out.shape[0]):
        contract(basis_z[:, z], coefficients[c], out[c], out.shape[1])


@device
def contract_rows(plane, basis_y, count, out):
    """Contract the second axis at `count` rows: (c, k, l), (k, y) -> (c, l, y)."""
    for c in range(out.shape[0]):
        for x in range(out.shape[1]):
            contract(plane[c, :, x], basis_y, out[c, x], count)


@kernel
def _displacement(coefficients, bases, out, start, stop):
    basis_z, basis_y, basis_x = bases
    components, _, ny, nx = out.shape
    terms_y, terms_x = basis_y.shape[1], basis_x.shape[1]
    flat_plane = np.empty((components, terms_y * terms_x), np.float32)
    plane = flat_plane.reshape(components, terms_y, terms_x)
    rows = np.empty((components, terms_x, BLOCK), np.float32)
    for z in range(start, stop):
        contract_plane(coefficients, basis_z, z, flat_plane)
        for first in range(0, ny, BLOCK):
            count = min(BLOCK, ny - first)
            contract_rows(plane, basis_y[first // BLOCK], count, rows)
            for c in range(components):
                for row in range(count):
                    for left in range(0, nx, BLOCK):
                        contract(
                            rows[c, :, row],
                            basis_x[left // BLOCK],
                            out[c, z, first + row, left:],
                            min(BLOCK, nx - left),
                        )


# --- the fused field and warp -------------------------------------------------------------------


@kernel
def _cells(labels, low, high, start, stop):
    """Smallest and largest code of each cell, for the cells' planes [start, stop)."""
    nz, ny, nx = labels.shape
    _, cells_y, cells_x = low.shape
    least = np.empty(nx, labels.dtype)
    most = np.empty(nx, labels.dtype)
    for cz in range(start, stop):
        for cy in range(cells_y):
            for x in range(nx):
                least[x] = most[x] = labels[cz * CELL_Z, cy * CELL_Y, x]
            for z in range(cz * CELL_Z, min(cz * CELL_Z + CELL_Z, nz)):
                for y in range(cy * CELL_Y, min(cy * CELL_Y + CELL_Y, ny)):
                    for x in range(nx):
                        code = labels[z, y, x]
                        least[x] = min(least[x], code)
                        most[x] = max(most[x], code)
            for cx in range(cells_x):
                smallest, largest = least[cx * CELL_X], most[cx * CELL_X]
                for x in range(cx * CELL_X, min(cx * CELL_X + CELL_X, nx)):
                    smallest = min(smallest, least[x])
                    largest = max(largest, most[x])
                low[cz, cy, cx] = smallest
                high[cz, cy, cx] = largest


def _uniform(low, high):
    """Whether the REACH cells from each cell on, as far as there are any, hold one label."""
    uniform = low == high
    for axis in range(low.ndim):
        for step in (1, 2):
            ahead = (slice(None),) * axis + (slice(step, None),)
            here = (slice(None),) * axis + (slice(None, -step),)
            uniform[here] &= uniform[ahead] & (low[here] == low[ahead])
    return uniform


@device
def _bound(rows, nodes, curvature, count, edge, slack):
    """Displacement at the nodes, and how far it may leave their interval in between."""
    components, terms, _ = rows.shape
    for c in range(components):
        for node in range(nodes.shape[1]):
            contract(nodes[:, node], rows[c], edge[c, node], count)
        for row in range(count):
            slack[c, row] = _NONE
        for k in range(terms):
            factor = curvature[k]
            for row in range(count):
                slack[c, row] += factor * abs(rows[c, k, row])


@device
def _confine(edge, slack, run, parts, count, line, order, cells, bits, cell, state):
    """Narrow the source boxes of a run, in `count` rows at once, by their range along one axis.

    `line` is (first voxel, its step from row to row, voxels from the run's first to its last,
    voxels along the axis). `cell` gathers the index of the box's first cell, `state` whether one
    entry of the table speaks for the box, and whether the box reaches outside.
    """
    first, step, span, size = line
    bias = _NONE if order == 1 else _HALF
    span = np.int32(span + order)
    start, middle, end = edge[parts * run], edge[parts * run + parts // 2], edge[parts * (run + 1)]
    for row in range(count):
        a, b, c = start[row], middle[row], end[row]
        origin = np.int32(first) + np.int32(step) * np.int32(row)
        least = floor32(min(a, min(b, c)) - slack[row] + bias) + origin
        most = floor32(max(a, max(b, c)) + slack[row] + bias) + origin + span
        near = min(max(least, np.int32(0)), np.int32(size - 1))
        away = min(max(most, np.int32(0)), np.int32(size - 1))
        near_cell, away_cell = near >> bits, away >> bits
        cell[row] = cell[row] * np.int32(cells) + near_cell
        state[row] |= (away_cell - near_cell >= REACH) * APART | (
            (least != near) | (most != away)
        ) * OUTSIDE


@device
def _settle(low, uniform, cell, state, count, rule):
    """Decide which rows of the run hold a single label; it is `low[cell]`."""
    cval, ignore, _, has_ignore, constant = rule
    for row in range(count):
        label = low[cell[row]]
        state[row] = (
            uniform[cell[row]]
            and not state[row] & APART
            and not (has_ignore and label == ignore)
            and not (constant and state[row] & OUTSIDE and label != cval)
        )


@kernel
def _sample(labels, table, coefficients, bases, nodes, curvature, grid, out, order, rule, block):
    basis_z, basis_y, basis_x = bases
    low, uniform, (cells_y, cells_x) = table
    plane_start, plane_stop, row_start, row_stop = block
    origin_z, origin_y, origin_x, step_z, step_y, step_x = grid
    _, ignore, _, has_ignore, _ = rule
    nz, ny, nx = labels.shape
    width = out.shape[2]
    runs = -(-width // RUN)
    parts = (nodes.shape[1] - 1) // runs  # of a run, between nodes
    components = coefficients.shape[0]
    terms_y, terms_x = basis_y.shape[1], basis_x.shape[1]

    flat_plane = np.empty((components, terms_y * terms_x), np.float32)
    plane = flat_plane.reshape(components, terms_y, terms_x)
    rows = np.empty((components, terms_x, BLOCK), np.float32)
    edge = np.empty((components, nodes.shape[1], BLOCK), np.float32)
    slack = np.empty((components, BLOCK), np.float32)
    cell = np.empty(BLOCK, np.int32)
    state = np.empty(BLOCK, np.uint8)
    scratch = run_scratch(labels)

    for iz in range(plane_start, plane_stop):
        z = origin_z + step_z * iz
        contract_plane(coefficients, basis_z, iz, flat_plane)
        for first in range(row_start, row_stop, BLOCK):
            count = min(BLOCK, row_stop - first)
            contract_rows(plane, basis_y[first // BLOCK], count, rows)
            _bound(rows, nodes, curvature, count, edge, slack)
            for run in range(runs):
                left = run * RUN
                length = min(RUN, width - left)
                x = origin_x + step_x * left
                for row in range(count):
                    cell[row] = 0
                    state[row] = 0
                if components == 3:
                    line = (z, 0, 0, nz)
                    _confine(edge[0], slack[0], run, parts, count, line, order, 0, 1, cell, state)
                line = (origin_y + step_y * first, step_y, 0, ny)
                _confine(edge[-2], slack[-2], run, parts, count, line, order, cells_y, 1, cell, state)
                line = (x, 0, step_x * (length - 1), nx)
                _confine(edge[-1], slack[-1], run, parts, count, line, order, cells_x, 2, cell, state)
                _settle(low, uniform, cell, state, count, rule)
                for row in range(count):
                    y = origin_y + step_y * (first + row)
                    if state[row]:
                        _fill(out, iz, first + row, left, length, low[cell[row]])
                        if has_ignore:
                            for i in range(length):
                                if labels[z, y, x + step_x * i] == ignore:
                                    out[iz, first + row, left + i] = ignore
                    else:
                        for c in range(components):
                            shift = scratch[0][3 - components + c]
                            contract(rows[c, :, row], basis_x[run], shift, RUN)
                        voxel, place = (z, y, x, step_x), (iz, first + row, left, length)
                        take_run(labels, voxel, order, rule, scratch, out, place)


@device
def _fill(out, z, y, left, length, label):
    """Store the label of a settled run."""
    if length == RUN:
        for i in range(RUN):  # one store
            out[z, y, left + i] = label
    else:
        for i in range(length):
            out[z, y, left + i] = label


# --- launching ----------------------------------------------------------------------------------


def _bases(length_scale, window, tile):
    """The bases of the three axes on the window, the last two in tiles: (tiles, terms, tile)."""
    lengths, size, start, count, step = (
        tuple(values) for values in (length_scale, *window)
    )
    axes = [
        axis_basis(*axis).values
        for axis in zip(size, lengths, start, _padded(count, (1, BLOCK, tile)), step, strict=True)
    ]
    first = axes[0] if len(axes) == 3 else _single_plane()
    return first, _tiles(axes[-2], BLOCK), _tiles(axes[-1], tile)


def _padded(counts, tiles):
    return [-(-count // tile) * tile for count, tile in zip(counts, tiles[-len(counts) :], strict=True)]


def _tiles(basis, tile):
    """Cut (terms, count) into contiguous tiles: (count / tile, terms, tile)."""
    terms, count = basis.shape
    return np.ascontiguousarray(basis.reshape(terms, count // tile, tile).transpose(1, 0, 2))


def _nodes(amplitude, length_scale, window):
    """The basis of the last axis at the nodes, and the weights of the bound between them.

    Between two points at a distance h, a function leaves the interval of its values there by at
    most h²/8 of its largest second derivative; the second term covers rounding in the sums. Nodes
    are the ends of the runs and, for a rough field, their middle: where the bound over a whole run
    would come to about half a voxel.
    """
    spread = RUN * window.step[-1]
    parts = 1 + int(_SPREAD * spread**2 * max(amplitude) > length_scale[-1] ** 2)
    spread //= parts
    count = parts * -(-window.count[-1] // RUN) + 1
    nodes = axis_basis(window.shape[-1], float(length_scale[-1]), window.start[-1], count, spread)
    rounding = 2.0**-22 * nodes.scales.size
    curvature = nodes.scales * (nodes.frequencies**2 * (spread**2 / 8) + rounding)
    return nodes.values, curvature.astype(np.float32)


def _single_plane():
    """The first axis of an image in 2D."""
    one = np.ones((1, 1), np.float32)
    one.flags.writeable = False
    return one


class _Streams:
    """The coefficients of the streams (item, rater) of a call, made in batches."""

    def __init__(self, seeds, numbers, amplitude, bases, raters):
        self.seeds, self.numbers, self.bases, self.raters = seeds, numbers, bases, raters
        self.amplitude = np.minimum(amplitude, _LARGEST).astype(np.float32)
        self.order = list(product(range(len(seeds)), range(raters)))

    def shape(self, item):
        first, second, third = self.bases[item]
        return (self.amplitude.shape[1], first.shape[0], second.shape[1], third.shape[1])

    def batches(self):
        """Lists of (item, rater, coefficients to be filled), at most BUDGET coefficients at once."""
        batch, held = [], 0
        for item, rater in self.order:
            shape = self.shape(item)
            size = int(np.prod(shape))
            if batch and held + size > BUDGET:
                yield batch
                batch, held = [], 0
            batch.append((item, rater, np.empty(shape, np.float32)))
            held += size
        if batch:
            yield batch

    def filling(self, batch):
        """The tasks that fill the coefficients of a batch."""
        tasks = []
        for item, rater, out in batch:
            planes = out.shape[1]
            share = max(1, _pool.SLAB // 16 // (out.shape[2] * out.shape[3]))
            for start in range(0, planes, share):
                tasks.append(
                    partial(
                        _coefficients,
                        out,
                        np.uint64(self.seeds[item]),
                        np.uint32(self.numbers[item]),
                        np.uint32(rater),
                        self.amplitude[item],
                        start,
                        min(start + share, planes),
                    )
                )
        return tasks


def _blocks(shape):
    """Cut (z, y, x) into blocks of whole rows: (first plane, last, first row, last)."""
    nz, ny, nx = shape
    planes = max(1, _pool.SLAB // max(1, ny * nx))
    rows = ny if ny * nx <= 2 * _pool.SLAB else max(BLOCK, _pool.SLAB // nx // BLOCK * BLOCK)
    return [
        (z, min(z + planes, nz), y, min(y + rows, ny))
        for z in range(0, nz, planes)
        for y in range(0, ny, rows)
    ]


def displacement(out, *, seeds, numbers, amplitude, length_scale, window):
    """Fill (items, raters, ndim, z, y, x) with the displacement, in voxels of the whole grid.

    `seeds` and `numbers` (items,) name the streams; `amplitude` and `length_scale` (items, ndim)
    are in voxels; `window` has shape, start, count and step per axis.
    """
    bases = [_bases(length, window, BLOCK) for length in length_scale]
    streams = _Streams(seeds, numbers, amplitude, bases, out.shape[1])
    volumes = out if out.ndim == 6 else out[:, :, :, None]
    nz, ny, nx = volumes.shape[3:]
    share = max(1, _pool.SLAB // max(1, ny * nx))
    for batch in streams.batches():
        _pool.run(streams.filling(batch))
        _pool.run(
            [
                partial(
                    _displacement,
                    coefficients.reshape(*coefficients.shape[:2], -1),
                    bases[item],
                    volumes[item, rater],
                    start,
                    min(start + share, nz),
                )
                for item, rater, coefficients in batch
                for start in range(0, nz, share)
            ]
        )


def sample_labels(labels, out, *, seeds, numbers, amplitude, length_scale, window, origin, order, rule):
    """Fill (items, raters, z, y, x) with noisy labels of (items, z, y, x).

    As `displacement`, and as `interpolation.warp_labels`; `origin` is the voxel of the labels that
    the window starts at.
    """
    labels = same_type(labels)
    bases = [_bases(length, window, RUN) for length in length_scale]
    nodes = [_nodes(*strength, window) for strength in zip(amplitude, length_scale, strict=True)]
    streams = _Streams(seeds, numbers, amplitude, bases, out.shape[1])
    cells = tuple(-(-size // cell) for size, cell in zip(labels.shape[1:], CELL, strict=True))
    low = np.empty((labels.shape[0], *cells), labels.dtype)
    high = np.empty_like(low)
    share = max(1, _pool.SLAB // (CELL_Z * max(1, labels.shape[2] * labels.shape[3])))
    tasks = [
        partial(_cells, labels[i], low[i], high[i], start, min(start + share, cells[0]))
        for i in range(labels.shape[0])
        for start in range(0, cells[0], share)
    ]
    table = None
    grid = (0,) * (3 - len(origin)) + tuple(origin) + (1,) * (3 - len(origin)) + tuple(window.step)
    for batch in streams.batches():
        _pool.run(streams.filling(batch) + tasks)
        tasks = []
        if table is None:
            table = [
                (low[i].reshape(-1), _uniform(low[i], high[i]).reshape(-1), cells[1:])
                for i in range(labels.shape[0])
            ]
        _pool.run(
            [
                partial(
                    _sample,
                    labels[item],
                    table[item],
                    coefficients.reshape(*coefficients.shape[:2], -1),
                    bases[item],
                    *nodes[item],
                    grid,
                    out[item, rater],
                    order,
                    rule,
                    block,
                )
                for item, rater, coefficients in batch
                for block in _blocks(out.shape[2:])
            ]
        )
