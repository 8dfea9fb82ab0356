"""The Gaussian field, and labels moved by it: the displacement of a sample is never stored.

A component is ``sum_jkl Z[j,k,l] A0[j,z] A1[k,y] A2[l,x]``. The first axis is contracted for a few
planes at once, which share what is read of Z; per block of rows the second; the last where a voxel
is decided. Every sum runs over its terms in one order, whatever the window, the block or the number
of threads: the same bits.

Most of a volume is far from any boundary. What the displacement of a row is at most leaves a
rectangle of each block of rows; beyond it all sources are background, which is stored. For a run of
eight voxels along x within, the displacement at its nodes and a bound on its curvature confine the
run's sources to a box. Where the box holds a single label, that label is stored and nothing is
evaluated or gathered inside the run.
"""

import math
from functools import partial
from itertools import product

import numpy as np

from gfnoise._shared.kept import kept
from gfnoise._shared.runs import RUN, pieces, run_spans
from gfnoise._shared.spectrum import KEPT, LARGEST, axis_basis

from . import _pool
from ._codes import as_bytes, entry, fill, of_codes
from ._jit import as_writable, device, kernel, not_inlined
from ._random import draw_words, normal_pair
from ._uniform import Table, confine, frame, settle
from ._vector import TOGETHER, contract, contract_runs
from .interpolation import keep_ignored, run_scratch, take_run

BLOCK = 64  # rows of a block at most: its contractions stay in the first cache
DEEP = 8  # planes that are contracted at once
_SHARES = 8  # blocks per thread: small enough that the last to end is not waited for long
_BUDGET = 1 << 24  # coefficients held at once
_TERMS = 1 << 13  # coefficients of a task
_CHUNK = 256  # that are drawn at once, by loops that vectorise
_ZERO = np.int64(0)  # of the type of variables: with literals, functions would be compiled twice
_DIAGONAL = np.float32(0.41421360)
_ROUNDING = np.float32(2.0**-16)


# --- the field ----------------------------------------------------------------------------------


@device
def _number(words, count, at, terms_y, terms_x):
    """Write the counters of `count` coefficients, and return the next one's place (j, k, l).

    A coefficient is numbered by its frequencies, 21 bits each: low and high, rows 0 and 3.
    """
    j, k, m = at
    for i in range(count):
        words[0, i] = k << 21 | m
        words[3, i] = j << 10 | k >> 11
        m += 1
        if m == terms_x:
            m, k = 0, k + 1
            if k == terms_y:
                k, j = 0, j + 1
    return j, k, m


@kernel
def _coefficients(out, seed, item, rater, scale, terms_y, terms_x, start, stop):
    """Fill [start, stop) of (components, j k l): normals times a component's scale.

    The first ndim normals of a coefficient's counter are the components, in the array's order.
    """
    components = len(out)
    words = np.empty((4, _CHUNK), np.uint32)
    at = start // terms_x // terms_y, start // terms_x % terms_y, start % terms_x
    for first in range(start, stop, _CHUNK):
        count = min(_CHUNK, stop - first)
        at = _number(words, count, at, terms_y, terms_x)
        draw_words(words, count, item, rater, seed)
        for c in range(0, components, 2):
            last = min(c + 1, components - 1)  # of three components, the third has no other
            radius, angle, even, odd = words[c], words[c + 1], out[c, first:], out[last, first:]
            scale_even, scale_odd = scale[c], scale[last]
            if last == c:
                for i in range(count):
                    even[i] = np.float32(normal_pair(radius[i], angle[i])[0]) * scale_even
            else:
                for i in range(count):
                    one, other = normal_pair(radius[i], angle[i])
                    even[i], odd[i] = np.float32(one) * scale_even, np.float32(other) * scale_odd


@device
def _padded(count):
    """Rows as whole vectors: there is room for them, and what they hold is not used."""
    return (count + RUN - 1) // RUN * RUN


@device
def _contract_planes(coefficients, basis_z, z, start, stop, out):
    """Contract the first axis at plane z: (c, j, k l), (j, z) -> (c, z, k l); where it is in `out`.

    Of the planes from `start` to `stop`, which come in order, DEEP are contracted at once: by tiles
    of columns, which stay in cache from plane to plane.
    """
    which = (z - start) % DEEP
    if which == 0:
        factors = basis_z.T[z : min(z + DEEP, stop)]
        for c in range(out.shape[0]):
            for left in range(0, out.shape[2], BLOCK):
                tile, to = coefficients[c][:, left:], out[c][:, left:]
                contract(factors, tile, to, min(BLOCK, out.shape[2] - left))
    return which


@device
def _contract_rows(planes, which, basis_y, count, out):
    """Contract the second axis of a plane at `count` rows: (c, z, k, l), (k, y) -> (c, l, y)."""
    for c in range(out.shape[0]):
        contract(planes[c, which].T, basis_y, out[c], _padded(count))


@kernel
def _displacement(coefficients, bases, out, block):
    """Fill a block, (first plane, last, first row, last), of (components, z, y, x)."""
    basis_z, basis_y, basis_x = bases
    plane_start, plane_stop, row_start, row_stop = block
    components, _, _, nx = out.shape
    terms_y, terms_x, height = basis_y.shape[1], basis_x.shape[1], basis_y.shape[2]
    deep = min(DEEP, plane_stop - plane_start)
    flat = np.empty((components, deep, terms_y * terms_x), np.float32)
    planes = flat.reshape(components, deep, terms_y, terms_x)
    rows = np.empty((components, terms_x, BLOCK), np.float32)
    for z in range(plane_start, plane_stop):
        which = _contract_planes(coefficients, basis_z, z, plane_start, plane_stop, flat)
        for first in range(row_start, row_stop, height):
            count = min(height, row_stop - first)
            _contract_rows(planes, which, basis_y[first // height], count, rows)
            for c in range(components):
                lines = rows[c, :, :count].T
                for left in range(0, nx, BLOCK):
                    part = out[c, z, first : first + count, left:]
                    contract(lines, basis_x[left // BLOCK], part, min(BLOCK, nx - left))


# --- the fused field and warp -------------------------------------------------------------------


@not_inlined
def _range(rows, limits, count, least, most, slack):
    """What the displacement of a row is between, and how far it may leave that of its nodes."""
    height, curvature = limits
    components, terms, _ = rows.shape
    for c in range(components):
        for row in range(count):
            least[c, row] = height[0] * rows[c, 0, row]
            most[c, row] = _ROUNDING * abs(least[c, row])
            slack[c, row] = curvature[0] * abs(rows[c, 0, row])
        for k in range(1, terms, 2):
            for row in range(count):
                a, b = abs(rows[c, k, row]), abs(rows[c, k + 1, row])
                wave = max(a, b) + _DIAGONAL * min(a, b)  # >= hypot(a, b)
                most[c, row] += height[k] * wave
                slack[c, row] += curvature[k] * wave
        for row in range(count):
            constant, waves = least[c, row], most[c, row]
            least[c, row], most[c, row] = constant - waves, constant + waves


@device
def _store(labels, label, voxel, rule, out, place):
    """Store the label of settled voxels, but keep what is to be ignored."""
    fill(out, place, label)
    keep_ignored(labels, voxel, rule, out, place)


@not_inlined
def _surround(labels, label, inner, block, grid, rule, out):
    """Store the background around the rectangle `inner` of a block."""
    top, bottom, begin, end = inner
    iz, first, count = block
    origin_z, origin_y, origin_x, step_z, step_y, step_x = grid
    width = out.shape[2]
    left, right = min(RUN * begin, width), min(RUN * end, width)
    z = origin_z + step_z * iz
    for row in range(count):
        y = origin_y + step_y * (first + row)
        if top <= row < bottom:
            voxel, after = (z, y, origin_x, step_x), (z, y, origin_x + step_x * right, step_x)
            _store(labels, label, voxel, rule, out, (iz, first + row, _ZERO, left))
            _store(labels, label, after, rule, out, (iz, first + row, right, width - right))
        else:
            voxel = z, y, origin_x, step_x
            _store(labels, label, voxel, rule, out, (iz, first + row, _ZERO, width))


@device
def _decide(labels, table, rows, basis_x, inner, block, grid, order, rule, out, scratch):
    """Decide the rectangle `inner` of a block, run by run, of all its rows at once.

    `rows` and `edge`, of the scratch, start at its first row.
    """
    low, alike, _, cells_z, cells_y, cells_x = table
    top, bottom, begin, end = inner
    iz, first, parts = block
    origin_z, origin_y, origin_x, step_z, step_y, step_x = grid
    edge, slack, box, shift, run_space = scratch
    nz, ny, nx, _ = labels.shape
    width = out.shape[2]
    components = rows.shape[0]
    count = bottom - top
    z, y = origin_z + step_z * iz, origin_y + step_y * (first + top)
    for run in range(begin, end):
        left = run * RUN
        length = min(RUN, width - left)
        x = origin_x + step_x * left
        box[:] = 0
        if components == 3:
            line = (z, _ZERO, _ZERO, nz)
            confine(edge[0], slack[0, top:], run, parts, count, order, line, cells_z, box)
        line = (y, step_y, _ZERO, ny)
        confine(edge[-2], slack[-2, top:], run, parts, count, order, line, cells_y, box)
        line = (x, _ZERO, step_x * (length - 1), nx)
        confine(edge[-1], slack[-1, top:], run, parts, count, order, line, cells_x, box)
        settle(low, alike, box, count, rule)
        known = 0  # rows whose displacement in this run is known, unless they are settled
        for row in range(count):
            voxel = (z, y + step_y * row, x, step_x)
            place = (iz, first + top + row, left, length)
            if box[3, row]:
                _store(labels, entry(low, box[0, row]), voxel, rule, out, place)
                continue
            if row >= known:
                contract_runs(rows[:, :, row:], basis_x[run], shift[:, 3 - components :])
                known = row + TOGETHER
            part = shift[TOGETHER - (known - row)][:, :length]
            take_run(labels, voxel, part, order, rule, run_space, out, place)


@kernel
def _sample(labels, table, coefficients, bases, nodes, limits, grid, out, order, rule, block):
    """Fill a block, (first plane, last, first row, last), of noisy labels (z, y, x).

    `grid` is the voxel of the labels where `out` starts, and its steps.
    """
    basis_z, basis_y, basis_x = bases
    plane_start, plane_stop, row_start, row_stop = block
    origin_z, origin_y, origin_x, step_z, step_y, step_x = grid
    runs = -(-out.shape[2] // RUN)
    parts = (nodes.shape[1] - 1) // runs  # of a run, between its nodes
    height = basis_y.shape[2]  # of a block
    components = coefficients.shape[0]
    terms_y, terms_x = basis_y.shape[1], basis_x.shape[1]

    # Made here, not by a function: LLVM then knows that they do not overlap.
    deep = min(DEEP, plane_stop - plane_start)
    flat = np.empty((components, deep, terms_y * terms_x), np.float32)
    planes = flat.reshape(components, deep, terms_y, terms_x)
    rows = np.zeros((components, terms_x, BLOCK + TOGETHER), np.float32)  # may be read beyond
    edge = np.empty((components, nodes.shape[1], BLOCK), np.float32)
    least = np.empty((components, BLOCK), np.float32)
    most = np.empty((components, BLOCK), np.float32)
    slack = np.empty((components, BLOCK), np.float32)
    box = np.empty((4, BLOCK), np.int32)
    shift = np.zeros((TOGETHER, 3, RUN), np.float32)
    run_space = run_scratch()

    for iz in range(plane_start, plane_stop):
        z = origin_z + step_z * iz
        which = _contract_planes(coefficients, basis_z, iz, plane_start, plane_stop, flat)
        for first in range(row_start, row_stop, height):
            count = min(height, row_stop - first)
            _contract_rows(planes, which, basis_y[first // height], count, rows)
            _range(rows, limits, _padded(count), least, most, slack)
            lines, line = (z, origin_y + step_y * first, step_y), (origin_x, step_x, runs)
            inner = frame(least, most, count, order, lines, line, labels.shape[:3], table)
            _surround(labels, table[2][0], inner, (iz, first, count), grid, rule, out)
            top, bottom, begin, end = inner
            if top >= bottom:
                continue
            part, where = rows[:, :, top:], slice(parts * begin, parts * end + 1)
            for c in range(components):
                lines, line = nodes.T[where], edge[c, where]
                contract(lines, part[c], line, _padded(bottom - top))
            scratch = edge, slack, box, shift, run_space
            place = iz, first, parts
            _decide(labels, table, part, basis_x, inner, place, grid, order, rule, out, scratch)


# --- launching ----------------------------------------------------------------------------------


@kept(KEPT)
def _bases(length_scale, window, tile):
    """The bases of the three axes on the window, the last two in tiles: (tiles, terms, tile)."""
    height = _height(window.count[-2])
    counts = [
        -(-count // part) * part
        for count, part in zip(window.count, (1, height, tile)[-len(window.count) :], strict=True)
    ]
    axes = [
        axis_basis(size, length, start, count, step).values
        for size, length, start, count, step in zip(
            window.shape, length_scale, window.start, counts, window.step, strict=True
        )
    ]
    first = axes[0] if len(axes) == 3 else axis_basis(1, 0.0).values  # a single plane, constant
    return first, _tiles(axes[-2], height), _tiles(axes[-1], tile)


def _height(ny):
    """Rows of a block: whole vectors, and blocks of the same size."""
    blocks = max(1, -(-ny // BLOCK))
    return max(RUN, -(-ny // (blocks * RUN)) * RUN)


def _tiles(basis, tile):
    """Cut (terms, count) into contiguous tiles: (count / tile, terms, tile)."""
    terms, count = basis.shape
    return basis.reshape(terms, count // tile, tile).transpose(1, 0, 2).copy()


def _nodes(amplitude, length_scale, window):
    """The nodes of the runs: a basis, the limits of its terms, and the spans of a run.

    The spans are how many voxels the sources of a run are apart, per component.
    """
    length, step = length_scale[-1], window.step[-1]
    parts = pieces(amplitude, length, step)
    return *_node_basis(length, window, parts), run_spans(amplitude, length, step, parts)


@kept(KEPT)
def _node_basis(length, window, parts):
    """The basis at the nodes, and the limits of its terms: of all amplitudes alike.

    The limits are what a term is at most, and its weight in how far the displacement leaves that of
    the nodes: between two points at a distance h, a function leaves the interval of its values
    there by at most h²/8 of its largest second derivative. Both cover rounding in the sums.
    """
    step = window.step[-1]
    spread = RUN * step // parts
    count = parts * -(-window.count[-1] // RUN) + 1
    nodes = axis_basis(window.shape[-1], length, window.start[-1], count, spread)
    rounding = 2.0**-22 * nodes.scales.size
    height = nodes.scales * (1 + rounding)
    curvature = nodes.scales * (nodes.frequencies**2 * (spread**2 / 8) + rounding)
    return nodes.values, (height.astype(np.float32), curvature.astype(np.float32))


class _Streams:
    """The coefficients of the streams (item, rater) of a call, made in batches."""

    def __init__(self, seeds, numbers, amplitude, bases, raters):
        self.seeds, self.numbers = seeds, numbers
        self.amplitude = np.minimum(amplitude, LARGEST).astype(np.float32)
        self.shapes = [
            (amplitude.shape[1], first.shape[0], second.shape[1], third.shape[1])
            for first, second, third in bases
        ]
        self.raters = raters

    def batches(self):
        """Lists of (item, rater, coefficients to be filled), as many at once as the budget has."""
        batch, held = [], 0
        for item, rater in product(range(len(self.seeds)), range(self.raters)):
            size = math.prod(self.shapes[item])
            if batch and held + size > _BUDGET:
                yield batch
                batch, held = [], 0
            batch.append((item, rater, np.empty(self.shapes[item], np.float32)))
            held += size
        if batch:
            yield batch

    def filling(self, batch):
        """The tasks that fill the coefficients of a batch."""
        tasks = []
        for item, rater, out in batch:
            stream = np.uint64(self.seeds[item]), np.uint32(self.numbers[item]), np.uint32(rater)
            args = out.reshape(len(out), -1), *stream, self.amplitude[item], *out.shape[2:]
            tasks += _pool.tasks(_coefficients, *args, size=args[0].shape[1], step=_TERMS)
        return tasks


def _rows(values):
    """The rows of an array as tuples of floats, which caches take."""
    return [tuple(row) for row in values.tolist()]


def _blocks(shape, streams):
    """Cut (z, y, x) into blocks of whole rows: (first plane, last, first row, last).

    A block reads all coefficients for each few planes: it is as large as leaves every thread some
    of the blocks of all `streams`, and no smaller than a slab.
    """
    nz, ny, nx = shape
    planes = min(nz, max(DEEP, _pool.SLAB // (ny * nx) // DEEP * DEEP))
    layers, height = -(-nz // planes), _height(ny)
    parts = -(-_SHARES * _pool.threads() // (layers * streams))
    rows = max(-(-ny // parts), _pool.SLAB // (planes * nx), 1)
    rows = -(-rows // height) * height
    return [(*z, *y) for z in _pool.slabs(nz, planes) for y in _pool.slabs(ny, rows)]


def displacement(out, *, seeds, numbers, amplitude, length_scale, window):
    """Fill (items, raters, ndim, *window) with the displacement, in voxels of the whole grid.

    `seeds` and `numbers` (items,) name the streams; `amplitude` and `length_scale` (items, ndim)
    are in voxels; `window` has shape, start, count and step per axis.
    """
    bases = [_bases(length, window, BLOCK) for length in _rows(length_scale)]
    streams = _Streams(seeds, numbers, amplitude, bases, out.shape[1])
    volumes = out if out.ndim == 6 else out[:, :, :, None]
    for batch in streams.batches():
        _pool.run(streams.filling(batch))
        blocks, tasks = _blocks(volumes.shape[3:], len(batch)), []
        for item, rater, coefficients in batch:
            args = coefficients.reshape(*coefficients.shape[:2], -1), bases[item]
            to = volumes[item, rater]
            tasks += [partial(_displacement, *args, to, block) for block in blocks]
        _pool.run(tasks)


def sample_labels(
    labels, out, *, seeds, numbers, amplitude, length_scale, window, origin, order, rule
):
    """Fill (items, raters, z, y, x) with noisy labels of (items, z, y, x).

    As `displacement`, and as `interpolation.warp_labels`; `origin` is the voxel of the labels that
    the window starts at.
    """
    labels = as_writable(labels)
    amplitudes, lengths = _rows(amplitude), _rows(length_scale)
    bases = [_bases(length, window, RUN) for length in lengths]
    nodes = [_nodes(*strength, window) for strength in zip(amplitudes, lengths, strict=True)]
    streams = _Streams(seeds, numbers, amplitude, bases, out.shape[1])
    missing = 3 - len(origin)
    origin, step = (0,) * missing + tuple(origin), (1,) * missing + tuple(window.step)
    count = out.shape[2:]
    tables = [
        Table(label, rule, origin, count, step, (0.0,) * missing + one, spans)
        for label, one, (*_, spans) in zip(labels, amplitudes, nodes, strict=True)
    ]

    sources, noisy, codes = as_bytes(labels), as_bytes(out), of_codes(rule)
    tabulation = [task for table in tables for task in table.filling()]
    arguments = None
    for batch in streams.batches():
        filling = streams.filling(batch)
        # Of a small label each kind is one short task: both on one thread, rather than wake one.
        _pool.run(filling + tabulation, at_once=max(len(filling), len(tabulation)))
        if arguments is None:
            arguments, tabulation = [table.arguments() for table in tables], []
        blocks, tasks = _blocks(count, len(batch)), []
        for item, rater, coefficients in batch:
            args = (
                sources[item],
                arguments[item],
                coefficients.reshape(*coefficients.shape[:2], -1),
                bases[item],
                *nodes[item][:2],
                origin + step,
                noisy[item, rater],
                order,
                codes,
            )
            tasks += [partial(_sample, *args, block) for block in blocks]
        _pool.run(tasks)
