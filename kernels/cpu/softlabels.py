"""Soft labels from integer ones: uniform (LS) and spatially varying label smoothing (SVLS).

Most voxels have neighbours of their own class only, and are written as one row after the other.
The others gather their neighbours. No one-hot volume is made.
"""

from functools import partial

import numpy as np

from . import _pool
from ._jit import device, kernel, same_type


def neighbour_weights(ndim, sigma):
    """SVLS weights of the 3^n neighbourhood as (3, 3, 3): one half in the middle, one around.

    Relative to the nearest neighbours, so that no sigma makes all of them vanish.
    """
    squares = sum(axis**2 for axis in np.ogrid[-1:2, -1:2, -1:2])
    weights = np.exp(-np.maximum(squares - 1, 0) / 2 / sigma / sigma)
    if ndim == 2:
        weights[[0, 2]] = 0
    weights[1, 1, 1] = 0
    weights /= 2 * weights.sum()
    weights[1, 1, 1] = 0.5
    return weights


# --- kernels ------------------------------------------------------------------------------------


@device
def _indicate(row, weight, rest, ignored, out):
    """Write a row of every class, (classes, x): `rest`, and `weight` more for a voxel's own."""
    ignore, has_ignore = ignored
    zero = np.float32(0)
    for c in range(out.shape[0]):
        own = row.dtype.type(c)
        if np.int64(own) != c:  # a class that the labels' dtype cannot hold
            for x in range(row.size):
                out[c, x] = rest
            continue
        for x in range(row.size):
            out[c, x] = weight + rest if row[x] == own else rest
    if has_ignore:
        for x in range(row.size):
            if row[x] == ignore:
                for c in range(out.shape[0]):
                    out[c, x] = zero


@kernel
def _smooth_labels(codes, weight, rest, ignored, out, first, stop):
    """Fill the rows [first, stop) of (items, classes, rows, x); codes are (items, rows, x)."""
    _, rows, _ = codes.shape
    for turn in range(first, stop):
        item, row = turn // rows, turn % rows
        _indicate(codes[item, row], weight, rest, ignored, out[item, :, row])


@device
def find_mixed(codes, raters, z, y, planes, mixed):
    """Mark the voxels of a row whose neighbourhoods are not of one class, for all raters at once.

    `codes` is (raters, z, y, x). The neighbours outside repeat the border, so they add no class.
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
    before = mixed[0]
    for x in range(nx):
        here = mixed[x]
        beside = before
        if x > 0:
            beside |= base[x - 1] != base[x]
        if x + 1 < nx:
            beside |= mixed[x + 1] | (base[x + 1] != base[x])
        mixed[x] = here | beside
        before = here


@device
def gather(codes, raters, place, planes, weights, ignored, mass):
    """Add the weights of the classes around a voxel to `mass`.

    Returns the sum of the weights: 1 per rater who did not ignore the voxel. An ignored neighbour
    counts for the voxel's own class.
    """
    ignore, has_ignore = ignored
    z, y, x = place
    _, nz, ny, nx = codes.shape
    left, right = max(x - 1, 0), min(x + 1, nx - 1)
    total = 0.0
    for r in raters:
        own = codes[r, z, y, x]
        if has_ignore and own == ignore:
            continue
        total += 1.0
        for dz in range(-planes, planes + 1):
            z1 = min(max(z + dz, 0), nz - 1)
            for dy in range(-1, 2):
                row = codes[r, z1, min(max(y + dy, 0), ny - 1)]
                a, b, c = row[left], row[x], row[right]
                if has_ignore:
                    a = own if a == ignore else a
                    b = own if b == ignore else b
                    c = own if c == ignore else c
                mass[np.int64(a)] += weights[dz + 1, dy + 1, 0]
                mass[np.int64(b)] += weights[dz + 1, dy + 1, 1]
                mass[np.int64(c)] += weights[dz + 1, dy + 1, 2]
    return total


@kernel
def _svls(codes, annotators, counts, weights, planes, ignored, out, first, stop):
    """Fill the rows [first, stop) of (items, classes, z, y, x); codes (items, raters, z, y, x).

    The first `counts[item]` of `annotators[item]` are the raters of an item.
    """
    _, _, nz, ny, nx = codes.shape
    mixed = np.empty(nx, np.uint8)
    mass = np.zeros(out.shape[1])
    one, zero = np.float32(1), np.float32(0)
    for turn in range(first, stop):
        item, row = turn // (nz * ny), turn % (nz * ny)
        z, y = row // ny, row % ny
        raters = annotators[item, : counts[item]]
        target = out[item, :, z, y]
        find_mixed(codes[item], raters, z, y, planes, mixed)
        _indicate(codes[item, raters[0], z, y], one, zero, ignored, target)
        for x in range(nx):
            if mixed[x] == 0:
                continue
            total = gather(codes[item], raters, (z, y, x), planes, weights, ignored, mass)
            share = 1 / max(total, 1.0)
            for c in range(mass.size):
                target[c, x] = np.float32(mass[c] * share)
                mass[c] = 0


@device
def _log_sums(logits, top, sums):
    """Over the classes of (classes, x): the largest, and log sum exp(logit - largest).

    Apart, as their sum would cost large logits the digits of a small loss.
    """
    classes, nx = logits.shape
    for x in range(nx):
        top[x] = logits[0, x]
    for c in range(1, classes):
        for x in range(nx):
            top[x] = max(top[x], logits[c, x])
    for x in range(nx):
        top[x] = top[x] if abs(top[x]) < np.inf else 0  # all of them at -inf, or one at inf
        sums[x] = 0
    for c in range(classes):
        for x in range(nx):
            sums[x] += np.exp(logits[c, x] - top[x])
    for x in range(nx):
        sums[x] = np.log(sums[x])


@kernel
def _cross_entropy(
    codes, annotators, counts, weights, planes, ignored, logits, losses, totals, first, stop
):
    """Cross-entropy of `logits` (items, classes, z, y, x) against SVLS labels, by rows.

    `totals` (rows, 2): the sum of the losses and how many voxels have one. `losses`, (items, z, y,
    x) or empty, takes the loss of each voxel.
    """
    _, _, nz, ny, nx = codes.shape
    ignore, has_ignore = ignored
    classes = logits.shape[1]
    mixed = np.empty(nx, np.uint8)
    mass = np.zeros(classes)
    top, sums = np.empty((2, nx), logits.dtype)
    for turn in range(first, stop):
        item, row = turn // (nz * ny), turn % (nz * ny)
        z, y = row // ny, row % ny
        raters = annotators[item, : counts[item]]
        find_mixed(codes[item], raters, z, y, planes, mixed)
        _log_sums(logits[item, :, z, y], top, sums)
        own = codes[item, raters[0], z, y]
        loss, voxels = 0.0, 0
        for x in range(nx):
            total = 1.0
            if mixed[x] == 0:
                if has_ignore and own[x] == ignore:
                    total = 0.0
                else:
                    mass[np.int64(own[x])] = 1
            else:
                total = gather(codes[item], raters, (z, y, x), planes, weights, ignored, mass)
            one = 0.0
            if total > 0:
                for c in range(classes):
                    if mass[c] != 0:
                        one += mass[c] / total * (sums[x] - (logits[item, c, z, y, x] - top[x]))
                        mass[c] = 0
                voxels += 1
            loss += one
            if losses.size:
                losses[item, z, y, x] = one
        totals[turn, 0], totals[turn, 1] = loss, voxels


@kernel
def _cross_entropy_gradient(
    codes, annotators, counts, weights, planes, ignored, logits, slope, out, first, stop
):
    """The gradient of the losses, softmax minus SVLS, times `slope`: one number or one a voxel."""
    _, _, nz, ny, nx = codes.shape
    ignore, has_ignore = ignored
    classes = logits.shape[1]
    mixed = np.empty(nx, np.uint8)
    mass = np.zeros(classes)
    top, sums = np.empty((2, nx), logits.dtype)
    for turn in range(first, stop):
        item, row = turn // (nz * ny), turn % (nz * ny)
        z, y = row // ny, row % ny
        raters = annotators[item, : counts[item]]
        find_mixed(codes[item], raters, z, y, planes, mixed)
        _log_sums(logits[item, :, z, y], top, sums)
        own = codes[item, raters[0], z, y]
        for c in range(classes):
            for x in range(nx):
                out[item, c, z, y, x] = np.exp(logits[item, c, z, y, x] - top[x] - sums[x])
        for x in range(nx):
            total = 1.0
            if mixed[x] == 0:
                if has_ignore and own[x] == ignore:
                    total = 0.0
                else:
                    out[item, np.int64(own[x]), z, y, x] -= 1
            else:
                total = gather(codes[item], raters, (z, y, x), planes, weights, ignored, mass)
                for c in range(classes):
                    if mass[c] != 0:
                        out[item, c, z, y, x] -= mass[c] / total
                        mass[c] = 0
            top[x] = slope[turn * nx + x if slope.size > 1 else 0] if total > 0 else 0
        for c in range(classes):
            for x in range(nx):
                out[item, c, z, y, x] = out[item, c, z, y, x] * top[x] if top[x] != 0 else 0


# --- launching ----------------------------------------------------------------------------------


def row_tasks(rows, width, run):
    """Tasks `run(first, stop)` over rows of a width, about a slab each."""
    share = max(1, _pool.SLAB // max(1, width))
    return [partial(run, first, min(first + share, rows)) for first in range(0, rows, share)]


def smooth_labels(codes, out, *, alpha, rule):
    """Fill (items, classes, z, y, x) from codes (items, z, y, x)."""
    items, _, _, nx = codes.shape
    codes = same_type(codes).reshape(items, -1, nx)
    rest = alpha / out.shape[1]
    args = codes, np.float32(1 - alpha), np.float32(rest), (rule.ignore, rule.has_ignore)
    flat = out.reshape(items, out.shape[1], -1, nx)
    run = partial(_smooth_labels, *args, flat)
    _pool.run(row_tasks(items * codes.shape[1], nx * out.shape[1], run))


def svls(codes, annotated, out, *, ndim, sigma, rule):
    """Fill (items, classes, z, y, x) from codes (items, raters, z, y, x).

    `annotated` is (items, raters): who outlined what, one at least for each item.
    """
    rows, width = _rows(out)
    run = partial(_svls, *_neighbourhoods(codes, annotated, ndim, sigma, rule), out)
    _pool.run(row_tasks(rows, width, run))


def svls_cross_entropy(codes, annotated, logits, losses, *, ndim, sigma, rule):
    """Sum of the losses and how many voxels have one; fills `losses` unless it is empty.

    Shapes as for `svls`; `logits` and `losses` are (items, classes, z, y, x) and (items, z, y, x).
    """
    rows, width = _rows(logits)
    totals = np.empty((rows, 2))
    args = (*_neighbourhoods(codes, annotated, ndim, sigma, rule), same_type(logits))
    _pool.run(row_tasks(rows, width, partial(_cross_entropy, *args, losses, totals)))
    return totals.sum(0)


def svls_cross_entropy_gradient(codes, annotated, logits, slope, out, *, ndim, sigma, rule):
    """Fill `out` with the gradient by the logits; `slope` is (1,) or (voxels of all items,)."""
    rows, width = _rows(logits)
    args = (*_neighbourhoods(codes, annotated, ndim, sigma, rule), same_type(logits))
    run = partial(_cross_entropy_gradient, *args, same_type(slope), out)
    _pool.run(row_tasks(rows, width, run))


def _neighbourhoods(codes, annotated, ndim, sigma, rule):
    """What the kernels take of labels and raters: those who annotated an item come first."""
    order = np.argsort(~annotated, axis=1, kind="stable")
    weights = neighbour_weights(ndim, sigma)
    ignored = rule.ignore, rule.has_ignore
    return same_type(codes), order, annotated.sum(1), weights, ndim - 2, ignored


def _rows(volumes):
    """Rows of (items, classes, z, y, x), and the values of one."""
    items, classes, nz, ny, nx = volumes.shape
    return items * nz * ny, classes * nx
