"""Soft labels from integer ones: uniform (LS) and spatially varying label smoothing (SVLS).

Most rows have neighbours of their own class only, and are written as they are. In the others the
neighbours of each class are counted. No one-hot volume is made.
"""

from functools import partial

import numpy as np

from . import _pool
from ._jit import allocating, as_writable, device, kernel


def _neighbour_weights(ndim, sigma):
    """SVLS weights of a neighbour by face, edge and corner; those of all neighbours sum to 1/2.

    Relative to the nearest neighbours, so that no sigma makes all of them vanish.
    """
    numbers = np.array([6, 12, 8] if ndim == 3 else [4, 4, 0])
    width = max(sigma, 0.01)  # whose neighbours by edge weigh nothing any more
    with np.errstate(under="ignore"):
        weights = np.exp(-np.arange(3) / 2 / width / width)
    return tuple((weights / (2 * (weights * numbers).sum())).tolist())


# --- kernels ------------------------------------------------------------------------------------


@device
def _indicate(row, weight, rest, ignored, out, at):
    """Write a row of every class, `out[:, at]`: `rest`, and `weight` more for a voxel's own."""
    ignore, has_ignore = ignored
    zero = out.dtype.type(0)
    for c in range(out.shape[0]):
        target, own = out[c, at], row.dtype.type(c)
        holds = np.int64(own) == c  # else the labels' dtype has no such class
        for x in range(row.size):
            target[x] = weight + rest if holds and row[x] == own else rest
        if has_ignore:
            for x in range(row.size):
                target[x] = zero if row[x] == ignore else target[x]


@kernel
def _smooth_labels(codes, weight, rest, ignored, out, first, stop):
    """Fill the rows [first, stop) of (items, classes, rows, x); codes are (items, rows, x)."""
    _, rows, _ = codes.shape
    for turn in range(first, stop):
        item, row = turn // rows, turn % rows
        _indicate(codes[item, row], weight, rest, ignored, out[item], row)


@device
def _locate(turn, codes):
    """Item, z and y of a row, by its number."""
    _, _, nz, ny, _ = codes.shape
    item, row = turn // (nz * ny), turn % (nz * ny)
    return item, row // ny, row % ny


@device
def _find_mixed(codes, raters, z, y, planes, mixed):
    """Mark the voxels of a row whose neighbourhoods are not of one class, for all raters at once.

    `codes` is (raters, z, y, x). The neighbours outside repeat the border, so they add no class.
    Returns whether there is such a voxel.
    """
    _, nz, ny, nx = codes.shape
    base = codes[raters[0], z, y]
    for x in range(nx):
        mixed[x] = 0
    for r in raters:
        for dz in range(-planes, planes + 1):
            for dy in range(-1, 2):
                if 0 <= z + dz < nz and 0 <= y + dy < ny:
                    row = codes[r, z + dz, y + dy]
                    for x in range(nx):
                        mixed[x] |= row[x] != base[x]
    before, some = mixed[0], np.uint8(0)
    for x in range(nx):
        here = mixed[x]
        beside = before
        if x > 0:
            beside |= base[x - 1] != base[x]
        if x + 1 < nx:
            beside |= mixed[x + 1] | (base[x + 1] != base[x])
        mixed[x] = here | beside
        some |= mixed[x]
        before = here
    return some != 0


@device
def _count_around(volume, label, z, y, planes, counts):
    """Count the voxels of a label around those of a row of (z, y, x), the border repeated.

    `counts` (3, x + 2) are by the squared distance of their rows, from one voxel before the first
    to one after the last.
    """
    nz, ny, nx = volume.shape
    for far in range(3):
        for x in range(nx + 2):
            counts[far, x] = 0
    for dz in range(-planes, planes + 1):
        for dy in range(-1, 2):
            row = volume[min(max(z + dz, 0), nz - 1), min(max(y + dy, 0), ny - 1)]
            inner = counts[dz * dz + dy * dy, 1 : nx + 1]
            for x in range(nx):
                inner[x] += row[x] == label
    for far in range(3):
        counts[far, 0], counts[far, nx + 1] = counts[far, 1], counts[far, nx]


@device
def _weigh(counts, weights, x):
    """The weights of the neighbours that `_count_around` has counted, summed."""
    by_face, by_edge, by_corner = weights
    real = type(by_face)
    face = np.int32(counts[0, x] + counts[0, x + 2] + counts[1, x + 1])
    edge = np.int32(counts[1, x] + counts[1, x + 2] + counts[2, x + 1])
    corner = np.int32(counts[2, x] + counts[2, x + 2])
    return by_face * real(face) + by_edge * real(edge) + by_corner * real(corner)


@allocating
def _soften(labels, turn, soft, at):
    """Fill `soft[:, at]`, (classes, x), with the soft labels of a row of `labels`.

    Returns, per voxel, how many raters have not ignored it. An ignored neighbour counts for a
    voxel's own class. The neighbours of a class are counted, in bytes, and the counts weighted:
    no voxel waits for another, and the work is that of writing the result a few times.

    A call per row, with arrays of its own and its loops in place: handed in or moved to functions,
    they may overlap for all the compiler knows, and it does not vectorise.
    """
    codes, annotators, counts, weights, planes, (ignore, has_ignore) = labels
    classes, _, nx = soft.shape
    real = soft.dtype.type
    zero, half, one = real(0), real(0.5), real(1)
    share = real(weights[0]), real(weights[1]), real(weights[2])
    mixed = np.empty(nx, np.uint8)
    voters = np.zeros(nx, soft.dtype)
    item, z, y = _locate(turn, codes)
    raters = annotators[item, : counts[item]]
    base = codes[item, raters[0], z, y]
    some = _find_mixed(codes[item], raters, z, y, planes, mixed)
    if not some:
        _indicate(base, one, zero, (ignore, has_ignore), soft, at)
        for x in range(nx):
            voters[x] = zero if has_ignore and base[x] == ignore else one
        return voters
    around = np.empty((3, nx + 2), np.uint8)
    said, extra, mass = np.empty(nx, soft.dtype), np.empty(nx, soft.dtype), np.empty(nx, soft.dtype)
    for c in range(classes):
        target = soft[c, at]
        for x in range(nx):
            target[x] = zero
    for r in raters:
        volume = codes[item, r]
        row = volume[z, y]
        for x in range(nx):
            said[x] = zero if has_ignore and row[x] == ignore else one
            voters[x] += said[x]
            extra[x] = half
        if has_ignore:
            _count_around(volume, ignore, z, y, planes, around)
            for x in range(nx):
                extra[x] += _weigh(around, share, x)
        for c in range(classes):
            own = row.dtype.type(c)
            if np.int64(own) != c or (has_ignore and own == ignore):
                continue
            _count_around(volume, own, z, y, planes, around)
            for x in range(nx):
                mass[x] = _weigh(around, share, x)
            target = soft[c, at]
            for x in range(nx):
                mine = extra[x] if row[x] == own else zero
                target[x] += said[x] * (mass[x] + mine)
    for x in range(nx):
        said[x] = one / max(voters[x], one)
    for c in range(classes):
        target = soft[c, at]
        for x in range(nx):
            mean = target[x] * said[x]
            # Of one class: certain, whatever rounding has made of the weights' sum.
            target[x] = mean if mixed[x] != 0 else (one if mean > half else zero)
    return voters


@kernel
def _svls(labels, out, first, stop):
    """Fill the rows [first, stop) of (items, classes, rows, x).

    `labels`: codes (items, raters, z, y, x); the raters of each item, and how many of them are its
    own; the weights of neighbours by face, edge and corner; planes to each side; what is ignored.
    """
    rows = out.shape[2]
    for turn in range(first, stop):
        _soften(labels, turn, out[turn // rows], turn % rows)


@device
def _log_sums(logits, z, y, top, sums):
    """Of a row, over the classes: the largest logit, and log sum exp(logit - largest).

    Apart, as their sum would cost large logits the digits of a small loss.
    """
    nx = top.size
    for x in range(nx):
        top[x] = logits[0, z, y, x]
    for c in range(1, logits.shape[0]):
        row = logits[c, z, y]
        for x in range(nx):
            top[x] = max(top[x], row[x])
    for x in range(nx):
        top[x] = top[x] if abs(top[x]) < np.inf else 0  # all of them at -inf, or one at inf
        sums[x] = 0
    for c in range(logits.shape[0]):
        row = logits[c, z, y]
        for x in range(nx):
            sums[x] += np.exp(row[x] - top[x])
    for x in range(nx):
        sums[x] = np.log(sums[x])


@kernel
def _cross_entropy(labels, logits, losses, totals, first, stop):
    """Cross-entropy of `logits` (items, classes, z, y, x) against SVLS labels, by rows.

    `labels` as for `_svls`. `totals` (rows, 2): the sum of the losses and how many voxels have
    one. `losses`, (items, z, y, x) or empty, takes the loss of each voxel.
    """
    codes = labels[0]
    classes, nx = logits.shape[1], logits.shape[4]
    soft = np.empty((classes, 1, nx), logits.dtype)
    top, sums = np.empty((2, nx), logits.dtype)
    loss = np.empty(nx)
    for turn in range(first, stop):
        item, z, y = _locate(turn, codes)
        voters = _soften(labels, turn, soft, 0)
        _log_sums(logits[item], z, y, top, sums)
        for x in range(nx):
            loss[x] = 0
        for c in range(classes):
            row, share = logits[item, c, z, y], soft[c, 0]
            for x in range(nx):
                if share[x] > 0:  # a class that is not wanted may be at -inf
                    loss[x] += np.float64(share[x]) * (sums[x] - (row[x] - top[x]))
        total, voxels = 0.0, 0
        for x in range(nx):
            total += loss[x]
            voxels += voters[x] > 0
            if losses.size:
                losses[item, z, y, x] = loss[x]
        totals[turn, 0], totals[turn, 1] = total, voxels


@kernel
def _cross_entropy_gradient(labels, logits, slope, out, first, stop):
    """The gradient of the losses, softmax minus SVLS, times `slope`: one number or one a voxel."""
    codes = labels[0]
    classes, nx = logits.shape[1], logits.shape[4]
    soft = np.empty((classes, 1, nx), logits.dtype)
    top, sums = np.empty((2, nx), logits.dtype)
    for turn in range(first, stop):
        item, z, y = _locate(turn, codes)
        voters = _soften(labels, turn, soft, 0)
        _log_sums(logits[item], z, y, top, sums)
        for x in range(nx):
            voters[x] = slope[turn * nx + x if slope.size > 1 else 0] if voters[x] > 0 else 0
        for c in range(classes):
            row, target = logits[item, c, z, y], out[item, c, z, y]
            for x in range(nx):
                one = np.exp(row[x] - top[x] - sums[x]) - soft[c, 0, x]
                target[x] = one * voters[x] if voters[x] != 0 else 0


# --- launching ----------------------------------------------------------------------------------


def _row_tasks(rows, width, run):
    """Tasks `run(first, stop)` over rows of a width, about a slab each."""
    share = max(1, _pool.SLAB // max(1, width))
    return _pool.tasks(run, size=rows, step=share)


def smooth_labels(codes, out, *, alpha, rule):
    """Fill (items, classes, z, y, x) from codes (items, z, y, x)."""
    items, _, _, nx = codes.shape
    codes = as_writable(codes).reshape(items, -1, nx)
    rest = alpha / out.shape[1]
    args = codes, np.float32(1 - alpha), np.float32(rest), (rule.ignore, rule.has_ignore)
    flat = out.reshape(items, out.shape[1], -1, nx)
    run = partial(_smooth_labels, *args, flat)
    _pool.run(_row_tasks(items * codes.shape[1], nx * out.shape[1], run))


def svls(codes, annotated, out, *, ndim, sigma, rule):
    """Fill (items, classes, z, y, x) from codes (items, raters, z, y, x).

    `annotated` is (items, raters): who outlined what, one at least for each item.
    """
    rows, width = _rows(out)
    labels = _neighbourhoods(codes, annotated, ndim, sigma, rule)
    flat = out.reshape(*out.shape[:2], -1, out.shape[4])
    _pool.run(_row_tasks(rows, width, partial(_svls, labels, flat)))


def svls_cross_entropy(codes, annotated, logits, losses, *, ndim, sigma, rule):
    """Sum of the losses and how many voxels have one; fills `losses` unless it is empty.

    Shapes as for `svls`; `logits` and `losses` are (items, classes, z, y, x) and (items, z, y, x).
    """
    rows, width = _rows(logits)
    totals = np.empty((rows, 2))
    labels = _neighbourhoods(codes, annotated, ndim, sigma, rule)
    run = partial(_cross_entropy, labels, as_writable(logits), losses, totals)
    _pool.run(_row_tasks(rows, width, run))
    return totals.sum(0)


def svls_cross_entropy_gradient(codes, annotated, logits, slope, out, *, ndim, sigma, rule):
    """Fill `out` with the gradient by the logits; `slope` is (1,) or (voxels of all items,)."""
    rows, width = _rows(logits)
    labels = _neighbourhoods(codes, annotated, ndim, sigma, rule)
    run = partial(_cross_entropy_gradient, labels, as_writable(logits), as_writable(slope), out)
    _pool.run(_row_tasks(rows, width, run))


def _neighbourhoods(codes, annotated, ndim, sigma, rule):
    """What the kernels take of labels and raters: those who annotated an item come first."""
    order = np.argsort(~annotated, axis=1, kind="stable")
    weights = _neighbour_weights(ndim, sigma)
    ignored = rule.ignore, rule.has_ignore
    return as_writable(codes), order, annotated.sum(1), weights, ndim - 2, ignored


def _rows(volumes):
    """Rows of (items, classes, z, y, x), and the values of one."""
    items, classes, nz, ny, nx = volumes.shape
    return items * nz * ny, classes * nx
