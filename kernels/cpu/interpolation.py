"""Where a displaced voxel takes its label from: one gather (order 0) or a vote (order 1)."""

from functools import partial

import numpy as np

from . import _pool
from ._jit import device, kernel, same_type, seldom

RUN = 8  # voxels along x that are decided together
_CORNERS = 8
_FAR = np.float32(5e8)  # voxels; further than any image reaches, and safe to cast
_HALF = np.float32(0.5)
_NONE = np.float32(0)
_ALL = np.float32(1)


@device
def floor32(value):
    """Floor as int32, without a branch; NaN and whatever is too far are far outside."""
    value = value if value > -_FAR else -_FAR
    value = value if value < _FAR else _FAR
    whole = np.int32(value)
    return whole - np.int32(np.float32(whole) > value)


@device
def clamp(index, size):
    """The nearest index within [0, size - 1]."""
    return min(max(index, 0), size - 1)


@device
def run_scratch(labels):
    """Working memory of `take_run`: displacement, its floor, corners, weights."""
    return (
        np.zeros((3, RUN), np.float32),
        np.empty((3, RUN), np.int32),
        np.empty(_CORNERS, labels.dtype),
        np.empty(_CORNERS, np.float32),
    )


@device
def take_run(labels, voxel, order, rule, scratch, out, place):
    """Decide a run of voxels displaced by `scratch[0]`.

    `voxel` is (z, y, x, step): the run's first voxel in the labels, and its step along x. `place`
    is (z, y, x, length): where in `out` the run starts, and how long it is.

    The displacement is split into floor and fraction, not the coordinate: index + displacement
    would cost float32 its last digits.
    """
    z, y, x, step = voxel
    out_z, out_y, left, length = place
    shift, whole, corner, weight = scratch
    _, ignore, _, has_ignore, _ = rule
    bias = _NONE if order == 1 else _HALF
    for c in range(3):
        for i in range(RUN):
            whole[c, i] = floor32(shift[c, i] + bias)
    for i in range(length):
        own = labels[z, y, x + step * i]
        if has_ignore and own == ignore:
            out[out_z, out_y, left + i] = own
            continue
        sz, sy, sx = z + whole[0, i], y + whole[1, i], x + step * i + whole[2, i]
        if order == 1:
            label = _vote(labels, sz, sy, sx, shift, i, own, rule, corner, weight)
        else:
            label = _gather(labels, sz, sy, sx, rule)
        out[out_z, out_y, left + i] = own if has_ignore and label == ignore else label


@device
def _gather(labels, z, y, x, rule):
    """The label at a voxel of the grid or, outside, cval or the nearest label."""
    cval, _, _, _, constant = rule
    nz, ny, nx = labels.shape
    if 0 <= z < nz and 0 <= y < ny and 0 <= x < nx:
        return labels[z, y, x]
    if constant:
        return cval
    return labels[clamp(z, nz), clamp(y, ny), clamp(x, nx)]


@device
def _vote(labels, z, y, x, shift, i, own, rule, corner, weight):
    """Weigh the eight voxels around a point; the heaviest class wins, ties to the smaller label."""
    nz, ny, nx = labels.shape
    if 0 <= z < nz - 1 and 0 <= y < ny - 1 and 0 <= x < nx - 1:
        c0, c1, c2, c3 = _square(labels, z, y, x)
        c4, c5, c6, c7 = _square(labels, z + 1, y, x)
    else:
        c0, c1, c2, c3 = _square_or_outside(labels, z, y, x, rule)
        c4, c5, c6, c7 = _square_or_outside(labels, z + 1, y, x, rule)
    if not (c0 ^ c1) | (c0 ^ c2) | (c0 ^ c3) | (c0 ^ c4) | (c0 ^ c5) | (c0 ^ c6) | (c0 ^ c7):
        return c0
    corner[0], corner[1], corner[2], corner[3] = c0, c1, c2, c3
    corner[4], corner[5], corner[6], corner[7] = c4, c5, c6, c7
    return _heaviest(shift, i, own, rule, corner, weight)


@device
def _square(labels, z, y, x):
    return labels[z, y, x], labels[z, y, x + 1], labels[z, y + 1, x], labels[z, y + 1, x + 1]


@seldom
def _square_or_outside(labels, z, y, x, rule):
    return (
        _gather(labels, z, y, x, rule),
        _gather(labels, z, y, x + 1, rule),
        _gather(labels, z, y + 1, x, rule),
        _gather(labels, z, y + 1, x + 1, rule),
    )


@seldom
def _heaviest(shift, i, own, rule, corner, weight):
    """The class with the largest sum of trilinear weights; `own` if none may vote."""
    _, ignore, sign, has_ignore, _ = rule
    tz, ty, tx = _fraction(shift[0, i]), _fraction(shift[1, i]), _fraction(shift[2, i])
    for j in range(_CORNERS):
        weight[j] = (
            (tz if j & 4 else _ALL - tz)
            * (ty if j & 2 else _ALL - ty)
            * (tx if j & 1 else _ALL - tx)
        )
        if has_ignore and corner[j] == ignore:
            weight[j] = _NONE
    winner, most = own, _NONE
    for j in range(_CORNERS):
        if weight[j] > _NONE:
            total = _NONE
            for k in range(_CORNERS):
                if corner[k] == corner[j]:
                    total += weight[k]
            # `sign` is the sign bit of a signed dtype: codes compare as the labels they stand for.
            if total > most or (total == most and (corner[j] ^ sign) < (winner ^ sign)):
                winner, most = corner[j], total
    return winner


@device
def _fraction(value):
    """What the floor leaves of a displacement, in [0, 1]."""
    return value - np.float32(floor32(value)) if abs(value) < _FAR else _NONE


@kernel
def _warp(labels, displacement, out, order, rule, start, stop):
    components = displacement.shape[0]
    _, ny, nx = out.shape
    scratch = run_scratch(labels)
    shift = scratch[0]
    for line in range(start, stop):
        z, y = line // ny, line % ny
        for left in range(0, nx, RUN):
            length = min(RUN, nx - left)
            for c in range(components):
                for i in range(length):
                    shift[3 - components + c, i] = displacement[c, z, y, left + i]
            take_run(labels, (z, y, left, 1), order, rule, scratch, out, (z, y, left, length))


def warp_labels(labels, displacement, out, *, order, rule):
    """Fill (items, raters, z, y, x) with (items, z, y, x) moved by (items, raters, ndim, z, y, x).

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
