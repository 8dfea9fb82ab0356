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
from .interpolation import clamp, floor, source_label

RUN = 8  # voxels, along x
CELL = 4  # voxels per axis of a cell of the uniformity table
REACH = (2, 2, 4)  # cells that an entry of the table speaks for
BLOCK = 64  # rows of a block: its contractions stay in the first cache
BUDGET = 1 << 24  # coefficients held at once
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
def _contract_plane(coefficients, basis, z, out):
    """Contract the first axis at plane z: (c, j, k, l), (j, z) -> (c, k, l)."""
    components, terms, ny, nx = coefficients.shape
    for c in range(components):
        for k in range(ny):
            for x in range(nx):
                out[c, k, x] = _NONE
            for j in range(terms):
                factor = basis[j, z]
                for x in range(nx):
                    out[c, k, x] += factor * coefficients[c, j, k, x]


@device
def _contract_rows(plane, basis, start, count, out):
    """Contract the second axis at `count` rows: (c, k, l), (k, y) -> (c, l, y)."""
    components, terms, nx = plane.shape
    for c in range(components):
        for x in range(nx):
            for y in range(count):
                out[c, x, y] = _NONE
            for k in range(terms):
                factor = plane[c, k, x]
                for y in range(count):
                    out[c, x, y] += factor * basis[k, start + y]


@kernel
def _displacement(coefficients, bases, out, start, stop):
    basis_z, basis_y, basis_x = bases
    components, _, terms_y, terms_x = coefficients.shape
    _, _, ny, nx = out.shape
    plane = np.empty((components, terms_y, terms_x), np.float32)
    rows = np.empty((components, terms_x, BLOCK), np.float32)
    for z in range(start, stop):
        _contract_plane(coefficients, basis_z, z, plane)
        for first in range(0, ny, BLOCK):
            count = min(BLOCK, ny - first)
            _contract_rows(plane, basis_y, first, count, rows)
            for c in range(components):
                for y in range(count):
                    row = out[c, z, first + y]
                    for x in range(nx):
                        row[x] = _NONE
                    for k in range(terms_x):
                        factor = rows[c, k, y]
                        for x in range(nx):
                            row[x] += factor * basis_x[k, x]


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
                least[x] = most[x] = labels[cz * CELL, cy * CELL, x]
            for z in range(cz * CELL, min(cz * CELL + CELL, nz)):
                for y in range(cy * CELL, min(cy * CELL + CELL, ny)):
                    for x in range(nx):
                        code = labels[z, y, x]
                        least[x] = min(least[x], code)
                        most[x] = max(most[x], code)
            for cx in range(cells_x):
                smallest, largest = least[cx * CELL], most[cx * CELL]
                for x in range(cx * CELL, min(cx * CELL + CELL, nx)):
                    smallest = min(smallest, least[x])
                    largest = max(largest, most[x])
                low[cz, cy, cx] = smallest
                high[cz, cy, cx] = largest


def _uniform(low, high):
    """Whether the (2, 2, 4) cells from each cell on, as far as there are any, hold one label."""
    uniform = low == high
    for axis, reach in enumerate(REACH):
        step = 1
        while step < reach:
            ahead = (slice(None),) * axis + (slice(step, None),)
            here = (slice(None),) * axis + (slice(None, -step),)
            uniform[here] &= uniform[ahead] & (low[here] == low[ahead])
            step *= 2
    return uniform


@device
def _box(position, least, most, order, size, constant):
    """First and last source index along an axis, and whether some of it is outside the grid."""
    if order == 1:
        first, last = position + floor(least), position + floor(most) + 1
    else:
        first, last = position + floor(least + _HALF), position + floor(most + _HALF)
    outside = constant and (first < 0 or last >= size)
    return clamp(first, size), clamp(last, size), outside


@device
def _fits(first, last, reach):
    """Whether an entry of the uniformity table speaks for the whole range."""
    return last // CELL - first // CELL < reach


@kernel
def _sample(labels, uniform, coefficients, bases, ends, curvature, grid, out, order, rule, block):
    cval, ignore, _, has_ignore, constant = rule
    basis_z, basis_y, basis_x = bases
    z_first, z_last, y_first, y_last = block
    origin_z, origin_y, origin_x, step_z, step_y, step_x = grid
    components, _, terms_y, terms_x = coefficients.shape
    nz, ny, nx = labels.shape
    width = out.shape[2]
    runs = ends.shape[1] - 1
    flat = components == 2
    cy, cx = components - 2, components - 1

    plane = np.empty((components, terms_y, terms_x), np.float32)
    rows = np.empty((components, terms_x, BLOCK), np.float32)
    edge = np.empty((components, runs + 1, BLOCK), np.float32)
    slack = np.empty((components, BLOCK), np.float32)
    shift = np.zeros((3, RUN), np.float32)
    corner = np.empty(8, labels.dtype)
    weight = np.empty(8, np.float32)

    for iz in range(z_first, z_last):
        z = origin_z + step_z * iz
        _contract_plane(coefficients, basis_z, iz, plane)
        for first in range(y_first, y_last, BLOCK):
            count = min(BLOCK, y_last - first)
            _contract_rows(plane, basis_y, first, count, rows)
            _bound_runs(rows, ends, curvature, count, edge, slack)
            for row in range(count):
                iy = first + row
                y = origin_y + step_y * iy
                for run in range(runs):
                    left = run * RUN
                    right = min(left + RUN, width)
                    x = origin_x + step_x * left
                    far = origin_x + step_x * (right - 1)
                    # The source box of the run, axis by axis.
                    z0 = z1 = z
                    out_z = False
                    if not flat:
                        a, b, s = edge[0, run, row], edge[0, run + 1, row], slack[0, row]
                        z0, z1, out_z = _box(z, min(a, b) - s, max(a, b) + s, order, nz, constant)
                    a, b, s = edge[cy, run, row], edge[cy, run + 1, row], slack[cy, row]
                    y0, y1, out_y = _box(y, min(a, b) - s, max(a, b) + s, order, ny, constant)
                    a, b, s = edge[cx, run, row], edge[cx, run + 1, row], slack[cx, row]
                    x0, _, out_0 = _box(x, min(a, b) - s, max(a, b) + s, order, nx, constant)
                    _, x1, out_1 = _box(far, min(a, b) - s, max(a, b) + s, order, nx, constant)
                    label = labels[z0, y0, x0]
                    settled = (
                        uniform[z0 // CELL, y0 // CELL, x0 // CELL]
                        and _fits(z0, z1, 2)
                        and _fits(y0, y1, 2)
                        and _fits(x0, x1, 4)
                        and not (has_ignore and label == ignore)
                        and (label == cval or not (out_z or out_y or out_0 or out_1))
                    )
                    if settled:
                        for i in range(left, right):
                            out[iz, iy, i] = label
                        if has_ignore:
                            for i in range(left, right):
                                if labels[z, y, origin_x + step_x * i] == ignore:
                                    out[iz, iy, i] = ignore
                        continue
                    _evaluate_run(rows, basis_x, row, left, shift)
                    for i in range(left, right):
                        out[iz, iy, i] = source_label(
                            labels,
                            z,
                            y,
                            origin_x + step_x * i,
                            _NONE if flat else shift[0, i - left],
                            shift[cy, i - left],
                            shift[cx, i - left],
                            order,
                            rule,
                            corner,
                            weight,
                        )


@device
def _bound_runs(rows, ends, curvature, count, edge, slack):
    """Displacement at the ends of the runs, and how far it may leave their interval in between."""
    components, terms, _ = rows.shape
    for c in range(components):
        for e in range(ends.shape[1]):
            for y in range(count):
                edge[c, e, y] = _NONE
            for k in range(terms):
                factor = ends[k, e]
                for y in range(count):
                    edge[c, e, y] += factor * rows[c, k, y]
        for y in range(count):
            slack[c, y] = _NONE
        for k in range(terms):
            factor = curvature[k]
            for y in range(count):
                slack[c, y] += factor * abs(rows[c, k, y])


@device
def _evaluate_run(rows, basis, row, left, shift):
    """Contract the last axis at the eight voxels of a run."""
    components, terms, _ = rows.shape
    for c in range(components):
        for i in range(RUN):
            shift[c, i] = _NONE
        for k in range(terms):
            factor = rows[c, k, row]
            for i in range(RUN):
                shift[c, i] += factor * basis[k, left + i]


# --- launching ----------------------------------------------------------------------------------


def _bases(length_scale, window):
    """The bases of the three axes on the window, and that of the last at the ends of its runs."""
    last = len(window.shape) - 1
    runs = -(-window.count[last] // RUN)
    axes = [
        axis_basis(size, float(length), start, RUN * runs if axis == last else count, step)
        for axis, (size, length, start, count, step) in enumerate(
            zip(window.shape, length_scale, window.start, window.count, window.step, strict=True)
        )
    ]
    values = [axis.values for axis in axes]
    if last == 1:
        values.insert(0, _single_plane())
    spread = RUN * window.step[last]
    ends = axis_basis(
        window.shape[last], float(length_scale[last]), window.start[last], runs + 1, spread
    )
    # Between two points at a distance h, a function leaves the interval of its values there by at
    # most h²/8 of its largest second derivative; the second term covers rounding in the sums.
    rounding = 2.0**-22 * ends.scales.size
    curvature = ends.scales * (ends.frequencies**2 * (spread**2 / 8) + rounding)
    return tuple(values), ends.values, curvature.astype(np.float32)


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
        return (self.amplitude.shape[1], *(basis.shape[0] for basis in self.bases[item][0]))

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
    bases = [_bases(length, window) for length in length_scale]
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
                    coefficients,
                    bases[item][0],
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
    bases = [_bases(length, window) for length in length_scale]
    streams = _Streams(seeds, numbers, amplitude, bases, out.shape[1])
    cells = tuple(-(-size // CELL) for size in labels.shape[1:])
    low = np.empty((labels.shape[0], *cells), labels.dtype)
    high = np.empty_like(low)
    share = max(1, _pool.SLAB // (CELL * max(1, labels.shape[2] * labels.shape[3])))
    tasks = [
        partial(_cells, labels[i], low[i], high[i], start, min(start + share, cells[0]))
        for i in range(labels.shape[0])
        for start in range(0, cells[0], share)
    ]
    uniform = None
    grid = (0,) * (3 - len(origin)) + tuple(origin) + (1,) * (3 - len(origin)) + tuple(window.step)
    for batch in streams.batches():
        _pool.run(streams.filling(batch) + tasks)
        tasks = []
        if uniform is None:
            uniform = [_uniform(low[i], high[i]) for i in range(labels.shape[0])]
        _pool.run(
            [
                partial(
                    _sample,
                    labels[item],
                    uniform[item],
                    coefficients,
                    *bases[item],
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
