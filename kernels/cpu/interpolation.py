"""Where a displaced voxel takes its label from: one gather (order 0) or a vote (order 1)."""

import math
from functools import partial

import numpy as np

from . import _pool
from ._jit import device, kernel, same_type

_FAR = np.float32(1e9)  # voxels; further than any image reaches, and safe to cast
_HALF = np.float32(0.5)
_NONE = np.float32(0)
_ALL = np.float32(1)
_CORNERS = 8


@device
def floor(value):
    """Floor of a displacement as int64; NaN and whatever is too far are far outside."""
    if not value >= -_FAR:
        return np.int64(-_FAR)
    if value > _FAR:
        return np.int64(_FAR)
    return np.int64(math.floor(value))


@device
def clamp(index, size):
    """The nearest index within [0, size - 1]."""
    return min(max(index, 0), size - 1)


@device
def gather(labels, z, y, x, cval, constant):
    """The label at a voxel of the grid or, outside, cval or the nearest label."""
    nz, ny, nx = labels.shape
    inside = 0 <= z < nz and 0 <= y < ny and 0 <= x < nx
    if constant and not inside:
        return cval
    return labels[clamp(z, nz), clamp(y, ny), clamp(x, nx)]


@device
def vote(labels, z, y, x, dz, dy, dx, own, rule, corner, weight):
    """Weigh the eight voxels around a point; the heaviest class wins, ties to the smaller label.

    `corner` and `weight` are scratch of eight. Fractions are those of the displacement, not of
    the coordinate: index + displacement would cost float32 its last digits.
    """
    cval, ignore, sign, has_ignore, constant = rule
    fz, fy, fx = floor(dz), floor(dy), floor(dx)
    same = True
    for i in range(_CORNERS):
        corner[i] = gather(
            labels, z + fz + (i >> 2), y + fy + (i >> 1 & 1), x + fx + (i & 1), cval, constant
        )
        same = same and corner[i] == corner[0]
    if same:
        return own if has_ignore and corner[0] == ignore else corner[0]
    tz, ty, tx = dz - np.float32(fz), dy - np.float32(fy), dx - np.float32(fx)
    for i in range(_CORNERS):
        weight[i] = (
            (tz if i & 4 else _ALL - tz) * (ty if i & 2 else _ALL - ty) * (tx if i & 1 else _ALL - tx)
        )
        if has_ignore and corner[i] == ignore:
            weight[i] = _NONE
    winner, most = own, _NONE
    for i in range(_CORNERS):
        if weight[i] > _NONE:
            total = _NONE
            for j in range(_CORNERS):
                if corner[j] == corner[i]:
                    total += weight[j]
            # `sign` is the sign bit of a signed dtype: codes are compared as the labels they are.
            if total > most or (total == most and (corner[i] ^ sign) < (winner ^ sign)):
                winner, most = corner[i], total
    return winner


@device
def source_label(labels, z, y, x, dz, dy, dx, order, rule, corner, weight):
    """The label of the point (z + dz, y + dy, x + dx), for the voxel (z, y, x)."""
    cval, ignore, _, has_ignore, constant = rule
    own = labels[z, y, x] if has_ignore else cval
    if has_ignore and own == ignore:
        return own
    if order == 1:
        return vote(labels, z, y, x, dz, dy, dx, own, rule, corner, weight)
    label = gather(
        labels, z + floor(dz + _HALF), y + floor(dy + _HALF), x + floor(dx + _HALF), cval, constant
    )
    return own if has_ignore and label == ignore else label


@kernel
def _warp(labels, displacement, out, order, rule, start, stop):
    corner = np.empty(_CORNERS, labels.dtype)
    weight = np.empty(_CORNERS, np.float32)
    _, ny, nx = out.shape
    two = displacement.shape[0] == 2
    for row in range(start, stop):
        z, y = row // ny, row % ny
        for x in range(nx):
            dz = _NONE if two else displacement[0, z, y, x]
            dy = displacement[-2, z, y, x]
            dx = displacement[-1, z, y, x]
            out[z, y, x] = source_label(
                labels, z, y, x, dz, dy, dx, order, rule, corner, weight
            )


def warp_labels(labels, displacement, out, *, order, rule):
    """Labels (items, z, y, x) moved by (items, raters, ndim, z, y, x) into (items, raters, z, y, x).

    Labels are codes: unsigned integers. `rule` is (cval, ignore, sign, has_ignore, constant), the
    first three of the labels' type.
    """
    labels, displacement = same_type(labels), same_type(displacement)
    items, raters, nz, ny, nx = out.shape
    rows = max(1, min(nz * ny, _pool.SLAB // max(1, nx)))

    def slab(item, rater, start):
        _warp(
            labels[item],
            displacement[item, rater],
            out[item, rater],
            order,
            rule,
            start,
            min(start + rows, nz * ny),
        )

    _pool.run(
        [
            partial(slab, item, rater, start)
            for item in range(items)
            for rater in range(raters)
            for start in range(0, nz * ny, rows)
        ]
    )
