"""Separable, symmetric filters: two passes over memory for three axes.

Planes are filtered along x and y in a buffer that stays in cache, then columns of the result along
z, in place. Weights are w[0..radius] of one side; a position outside takes the nearest voxel's
value or a constant.
"""

import math
from functools import lru_cache, partial

import numpy as np

from . import _pool
from ._jit import device, kernel, same_type

_NONE = np.float32(0)
_ONE = np.float32(1)
_TAIL = 6.0  # standard deviations beyond which an integrated weight vanishes in float32
_LINES = 8  # rows of a slab of columns


# --- weights ------------------------------------------------------------------------------------


@lru_cache(maxsize=256)
def integrated_weights(sigma, size):
    """The normal mass of each voxel; the last takes the whole tail, so that they sum to 1."""
    if sigma == 0:
        return _weights([1.0])
    radius = min(math.ceil(_TAIL * sigma + 0.5), size)
    # Upper tails, not the distribution: differences of those keep their digits.
    tails = [math.erfc((d - 0.5) / (sigma * math.sqrt(2))) / 2 for d in range(1, radius + 1)]
    centre = math.erf(0.5 / (sigma * math.sqrt(2)))
    return _weights([centre, *(a - b for a, b in zip(tails, [*tails[1:], 0.0], strict=True))])


@lru_cache(maxsize=256)
def sampled_weights(sigma, size):
    """SciPy's taps: the density at the voxels within int(4 sigma + 0.5), normalised."""
    radius = int(4 * sigma + 0.5)
    if radius == 0:
        return _weights([1.0])
    taps = np.exp(-0.5 * (np.arange(radius + 1) / sigma) ** 2)
    taps /= taps[0] + 2 * taps[1:].sum()
    if radius > size:  # from anywhere on the axis, voxels from `size` on are outside
        taps = np.append(taps[:size], taps[size:].sum())
    return _weights(taps)


def _weights(values):
    weights = np.asarray(values, np.float32)
    weights.flags.writeable = False
    return weights


# --- kernels ------------------------------------------------------------------------------------


@device
def _correlate(lines, first, weights, out, width):
    """out[:width] = the symmetric filter across `lines`, centred at line first + radius."""
    radius = weights.size - 1
    centre = first + radius
    for i in range(width):
        out[i] = weights[0] * lines[centre, i]
    pairs = radius - radius % 2
    for d in range(1, pairs, 2):
        near, far = weights[d], weights[d + 1]
        for i in range(width):
            out[i] = (
                out[i]
                + near * (lines[centre - d, i] + lines[centre + d, i])
                + far * (lines[centre - d - 1, i] + lines[centre + d + 1, i])
            )
    for d in range(pairs + 1, radius + 1):
        weight = weights[d]
        for i in range(width):
            out[i] += weight * (lines[centre - d, i] + lines[centre + d, i])


@device
def _correlate_line(line, weights, out, width):
    """out[:width] = the symmetric filter along a padded line."""
    radius = weights.size - 1
    for i in range(width):
        out[i] = weights[0] * line[radius + i]
    for d in range(1, radius + 1):
        weight = weights[d]
        left, right = line[radius - d :], line[radius + d :]
        for i in range(width):
            out[i] += weight * (left[i] + right[i])


@device
def _load(codes, y, x_radius, label, fill, constant, line):
    """Where row y holds the label, as 1 and 0 with padding; False if it is `fill` throughout."""
    _, nx = codes.shape
    uniform = True
    for x in range(nx):
        line[x_radius + x] = _ONE if codes[y, x] == label else _NONE
        uniform = uniform and line[x_radius + x] == fill
    for x in range(x_radius):
        line[x] = fill if constant else line[x_radius]
        line[x_radius + nx + x] = fill if constant else line[x_radius + nx - 1]
    return not (constant and uniform)


@device
def _cap(line):
    """Undo what rounding adds to 1: a marginal is a probability."""
    for i in range(line.size):
        line[i] = min(line[i], _ONE)


@kernel
def _filter_planes(codes, label, fill, constant, weights_y, weights_x, out, start, stop):
    """Filter the indicator of a label along x and y, plane by plane."""
    _, ny, nx = codes.shape
    radius_y, radius_x = weights_y.size - 1, weights_x.size - 1
    line = np.empty(nx + 2 * radius_x, np.float32)
    rows = np.empty((ny + 2 * radius_y, nx), np.float32)
    for z in range(start, stop):
        blank = True
        for y in range(ny):
            row = rows[radius_y + y]
            if _load(codes[z], y, radius_x, label, fill, constant, line):
                _correlate_line(line, weights_x, row, nx)
                blank = False
            else:
                row[:] = fill
        if blank and constant:
            out[z] = fill
            continue
        for y in range(radius_y):
            for x in range(nx):
                rows[y, x] = fill if constant else rows[radius_y, x]
                rows[radius_y + ny + y, x] = fill if constant else rows[radius_y + ny - 1, x]
        for y in range(ny):
            _correlate(rows, y, weights_y, out[z, y], nx)
            _cap(out[z, y])


@kernel
def _filter_columns(volume, fill, constant, weights, start, stop):
    """Filter along z, in place, the rows [start, stop) of all planes."""
    nz, _, nx = volume.shape
    radius = weights.size - 1
    lines = np.empty((nz + 2 * radius, nx), np.float32)
    for y in range(start, stop):
        for z in range(nz):
            lines[radius + z] = volume[z, y]
        for z in range(radius):
            for x in range(nx):
                lines[z, x] = fill if constant else volume[0, y, x]
                lines[radius + nz + z, x] = fill if constant else volume[nz - 1, y, x]
        for z in range(nz):
            _correlate(lines, z, weights, volume[z, y], nx)
            _cap(volume[z, y])


@kernel
def _keep_ignored(codes, ignore, own, ignored, out):
    """Give the mass of ignored sources to a voxel's own label; empty the ignored voxels."""
    for i in range(codes.size):
        for c in range(own.size):
            if codes[i] == ignore:
                out[c, i] = _NONE
            elif codes[i] == own[c]:
                out[c, i] = min(out[c, i] + ignored[i], _ONE)


# --- launching ----------------------------------------------------------------------------------


def _indicators(jobs, weights, constant):
    """Filter where codes hold a label, for each of the jobs (codes, label, fill, out, item)."""
    planes, columns = [], []
    for codes, label, fill, out, item in jobs:
        nz, ny, nx = codes.shape
        z, y, x = weights[item]
        share = max(1, _pool.SLAB // max(1, ny * nx))
        for start in range(0, nz, share):
            stop = min(start + share, nz)
            planes.append(
                partial(_filter_planes, codes, label, fill, constant, y, x, out, start, stop)
            )
        if z.size > 1:
            for start in range(0, ny, _LINES):
                stop = min(start + _LINES, ny)
                columns.append(partial(_filter_columns, out, fill, constant, z, start, stop))
    _pool.run(planes)
    _pool.run(columns)


def marginals(codes, out, *, wanted, sigma, method, rule):
    """Fill (items, classes, z, y, x) with the marginals of the `wanted` classes.

    `codes` are (items, z, y, x); `sigma` is (items, ndim), in voxels.
    """
    codes = same_type(codes)
    family = integrated_weights if method == "integrated" else sampled_weights
    flat = [_weights([1.0])] * (3 - sigma.shape[1])
    space = codes.shape[1 + len(flat) :]
    weights = [
        [*flat, *(family(float(s), size) for s, size in zip(row, space, strict=True))]
        for row in sigma
    ]
    kind = codes.dtype.type
    largest = int(rule.sign) - 1 if rule.sign else np.iinfo(kind).max
    # A class that the labels' dtype cannot hold is nowhere; neither is the class to be ignored.
    present = [
        (c, kind(label))
        for c, label in enumerate(wanted)
        if label <= largest and not (rule.has_ignore and label == rule.ignore)
    ]
    own = np.full(len(wanted), rule.ignore)  # which never is a voxel's own label there
    for c, label in present:
        own[c] = label
    out[:, [c for c in range(len(wanted)) if c not in {c for c, _ in present}]] = 0
    _indicators(
        [
            (
                codes[item],
                label,
                np.float32(rule.constant and label == rule.cval),
                out[item, c],
                item,
            )
            for item in range(codes.shape[0])
            for c, label in present
        ],
        weights,
        rule.constant,
    )
    if rule.has_ignore:
        ignored = np.empty(codes.shape[1:], np.float32)
        fill = np.float32(rule.constant and rule.ignore == rule.cval)
        for item in range(codes.shape[0]):
            _indicators([(codes[item], rule.ignore, fill, ignored, item)], weights, rule.constant)
            _keep_ignored(
                codes[item].reshape(-1),
                rule.ignore,
                own,
                ignored.reshape(-1),
                out[item].reshape(out.shape[1], -1),
            )
