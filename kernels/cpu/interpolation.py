"""Where a displaced voxel takes its label from: one gather (order 0) or a vote (order 1)."""

from functools import partial

import numpy as np

from gfnoise._shared.modes import BEYOND, OF_COORDINATES
from gfnoise._shared.runs import RUN

from . import _pool
from ._codes import as_bytes, code_at, matches, of_codes, put
from ._jit import allocating, as_writable, device, kernel, not_inlined
from ._vector import FAR, bias_of, floor32
from ._vote import EVERY, decide_run

_CORNERS = 8
_NONE = np.float32(0)
_ALL = np.float32(1)


@device
def clamp(index, size):
    """The nearest index within [0, size - 1]."""
    return min(max(index, 0), size - 1)


@allocating
def run_scratch():
    """Working memory of `take_run`: classes, and their votes."""
    return np.empty(_CORNERS, np.uint64), np.empty(_CORNERS, np.float32)


@device
def take_run(labels, voxel, shift, order, rule, scratch, out, place):
    """Decide a run of voxels displaced by `shift` (3, length).

    `voxel` is (z, y, x, step): the run's first voxel in the labels, and its step along x. `place`
    is (z, y, x, length): where in `out` the run starts, and how long it is. Labels are bytes.

    The displacement is split into floor and fraction, not the coordinate: index + displacement
    would cost float32 its last digits.
    """
    length = place[3]
    undecided = EVERY
    if length == RUN:
        undecided = decide_run(labels, voxel, shift, order, rule, out, place)
    if undecided:
        _take_singly(labels, voxel, shift, order, rule, scratch, undecided, out, place)
    keep_ignored(labels, voxel, rule, out, place)


@device
def keep_ignored(labels, voxel, rule, out, place):
    """Store what is to be ignored where it was."""
    _, ignore, _, has_ignore, _ = rule
    z, y, x, step = voxel
    out_z, out_y, left, length = place
    if has_ignore:
        for at in range(0, length, RUN):
            count = min(RUN, length - at)
            ignored = matches(labels, (z, y, x + step * at, step), count, ignore)
            if ignored:
                for i in range(count):
                    if ignored >> i & 1:
                        put(out, out_z, out_y, left + at + i, ignore)


@not_inlined
def _take_singly(labels, voxel, shift, order, rule, scratch, undecided, out, place):
    """Decide voxels of a run, flagged as undecided, one by one."""
    z, y, x, step = voxel
    out_z, out_y, left, length = place
    cval, ignore, _, has_ignore, _ = rule
    for i in range(length):
        if undecided >> i & 1:
            source = z, y, x + step * i
            own = code_at(labels, *source) if has_ignore else cval
            label = _take(labels, source, shift[:, i], order, own, rule, scratch)
            put(out, out_z, out_y, left + i, own if has_ignore and label == ignore else label)


@device
def _take(labels, voxel, shift, order, own, rule, scratch):
    """The label of one displaced voxel; `own` if none may vote."""
    bias = bias_of(order)
    z = voxel[0] + floor32(shift[0] + bias)
    y = voxel[1] + floor32(shift[1] + bias)
    x = voxel[2] + floor32(shift[2] + bias)
    if order == 0:
        return _gather(labels, z, y, x, rule)
    # Without a displacement along z, as in an image, the far plane has no weight.
    far = z + (shift[0] != _NONE)
    corners = (*_square(labels, z, y, x, rule), *_square(labels, far, y, x, rule))
    fractions = _fraction(shift[0]), _fraction(shift[1]), _fraction(shift[2])
    return _heaviest(corners, fractions, own, rule, scratch)


@device
def _gather(labels, z, y, x, rule):
    """The label at a voxel of the grid or, outside, cval or the nearest label."""
    cval, _, _, _, constant = rule
    nz, ny, nx, _ = labels.shape
    at_z, at_y, at_x = clamp(z, nz), clamp(y, ny), clamp(x, nx)
    if constant and (at_z != z or at_y != y or at_x != x):
        return cval
    return code_at(labels, at_z, at_y, at_x)


@device
def _square(labels, z, y, x, rule):
    return (
        _gather(labels, z, y, x, rule),
        _gather(labels, z, y, x + 1, rule),
        _gather(labels, z, y + 1, x, rule),
        _gather(labels, z, y + 1, x + 1, rule),
    )


@not_inlined
def _heaviest(corners, fractions, own, rule, scratch):
    """The class with the largest sum of trilinear weights; `own` if none may vote."""
    tz, ty, tx = fractions
    classes, votes = scratch
    _, ignore, sign, has_ignore, _ = rule
    count = 0
    for j, code in enumerate(corners):
        weight = (
            (tz if j & 4 else _ALL - tz)
            * (ty if j & 2 else _ALL - ty)
            * (tx if j & 1 else _ALL - tx)
        )
        if weight == _NONE or (has_ignore and code == ignore):
            continue
        k = 0
        while k < count and classes[k] != code:
            k += 1
        if k == count:
            classes[k], votes[k] = code, _NONE
            count += 1
        votes[k] += weight
    winner, most = own, _NONE
    for k in range(count):
        # `sign` is the sign bit of a signed dtype: codes compare as the labels they stand for.
        smaller = (classes[k] ^ sign) < (winner ^ sign)
        if votes[k] > most or (votes[k] == most and smaller):
            winner, most = classes[k], votes[k]
    return winner


@device
def _fraction(value):
    """What the floor leaves of a displacement, in [0, 1]."""
    return value - np.float32(floor32(value)) if abs(value) < FAR else _NONE


@kernel
def _warp(labels, displacement, out, order, rule, start, stop):
    components = displacement.shape[0]
    _, ny, nx, _ = out.shape
    scratch = run_scratch()
    one = np.int64(1)  # of a variable's type: as a literal, `take_run` would be compiled once more
    shift = np.zeros((3, RUN), np.float32)
    for line in range(start, stop):
        z, y = line // ny, line % ny
        for left in range(0, nx, RUN):
            length = min(RUN, nx - left)
            part = displacement[:, z, y, left : left + length]
            if components == 2:
                for i in range(length):
                    shift[1, i], shift[2, i] = part[0, i], part[1, i]
                part = shift[:, :length]
            place = z, y, left, length
            take_run(labels, (z, y, left, one), part, order, rule, scratch, out, place)


def warp_labels(labels, displacement, out, *, order, rule):
    """Fill (items, raters, z, y, x) with (items, z, y, x) moved by (items, raters, ndim, z, y, x).

    Labels are codes: unsigned integers. `rule` is (cval, ignore, sign, has_ignore, constant), the
    first three of the labels' type.
    """
    displacement = as_writable(displacement)
    items, raters, nz, ny, nx = out.shape
    rows = max(1, min(nz * ny, _pool.SLAB // max(1, nx)))
    labels, out, how = as_bytes(labels), as_bytes(out), (order, of_codes(rule))
    _pool.run(
        [
            partial(_warp, labels[item], displacement[item, rater], out[item, rater], *how, *slab)
            for item in range(items)
            for rater in range(raters)
            for slab in _pool.slabs(nz * ny, rows)
        ]
    )


# --- values at coordinates ----------------------------------------------------------------------

# What a mode does outside [0, n - 1]: the coordinate is folded into a period, clamped, or lost.
CONSTANT, GRID_CONSTANT, NEAREST, REFLECT, MIRROR, GRID_WRAP, WRAP = range(len(OF_COORDINATES))


@not_inlined
def _fold(value, size, mode):
    """A coordinate as SciPy maps it; NaN where it is lost."""
    last = size - 1.0
    if 0.0 <= value <= last or mode == GRID_CONSTANT:
        return value
    if mode == CONSTANT or np.isnan(value):
        return np.nan
    if mode == NEAREST:
        return min(max(value, 0.0), last)
    if abs(value) > BEYOND:
        return np.nan
    if mode == GRID_WRAP:
        return value - size * np.floor(value / size)
    if size == 1:
        return 0.0
    if mode == WRAP:  # SciPy's own: the last voxel is the first
        return value + last * (np.floor(-value / last) + 1) if value < 0 else value % last
    if mode == MIRROR:
        folded = abs(value) % (2 * last)
        # SciPy leaves (last, size) to the grid: rounding half a voxel up depends on it.
        turn = folded > last if value < 0 else folded >= size
        return 2 * last - folded if turn else folded
    value = (value + 0.5) % (2.0 * size)
    return (2.0 * size - value if value > size else value) - 0.5


@device
def _index(index, size, mode):
    """The voxel of a grid point next to the grid; -1 where there is none."""
    if 0 <= index < size:
        return index
    if mode in (CONSTANT, GRID_CONSTANT):
        return -1
    if mode == GRID_WRAP:
        return index % size
    if mode == MIRROR:
        return clamp(abs(index) if index < 0 else 2 * (size - 1) - index, size)
    return clamp(index, size)


@device
def _value(image, z, y, x, cval):
    """The value at a voxel, or cval where an index is -1."""
    return cval if z < 0 or y < 0 or x < 0 else np.float64(image[z, y, x])


@device
def _mix(corners, tz, ty, tx):
    """Trilinear interpolation of eight corners; x varies fastest."""
    c0, c1, c2, c3, c4, c5, c6, c7 = corners
    sz, sy, sx = 1.0 - tz, 1.0 - ty, 1.0 - tx
    # A row or plane without weight, as where there is but one, may be infinite.
    near, away = c0 * sx + c1 * tx, c4 * sx + c5 * tx
    if ty != 0.0:
        near, away = near * sy + (c2 * sx + c3 * tx) * ty, away * sy + (c6 * sx + c7 * tx) * ty
    return near * sz + away * tz if tz != 0.0 else near


@device
def _inside(image, z, y, x):
    """Linear interpolation between the outermost voxel centres, where all modes agree."""
    nz, ny, nx = image.shape
    wz, wy, wx = np.int64(z), np.int64(y), np.int64(x)
    # Without a sign: it is not asked of any index whether it counts from the end.
    z0, z1 = np.uint64(wz), np.uint64(wz + (wz < nz - 1))
    y0, y1 = np.uint64(wy), np.uint64(wy + (wy < ny - 1))
    x0, x1 = np.uint64(wx), np.uint64(wx + (wx < nx - 1))
    corners = (
        np.float64(image[z0, y0, x0]),
        np.float64(image[z0, y0, x1]),
        np.float64(image[z0, y1, x0]),
        np.float64(image[z0, y1, x1]),
        np.float64(image[z1, y0, x0]),
        np.float64(image[z1, y0, x1]),
        np.float64(image[z1, y1, x0]),
        np.float64(image[z1, y1, x1]),
    )
    return _mix(corners, z - wz, y - wy, x - wx)


@not_inlined
def _outside(image, z, y, x, mode, cval):
    """Linear interpolation on the grid as the mode extends it."""
    nz, ny, nx = image.shape
    fz, fy, fx = np.int64(np.floor(z)), np.int64(np.floor(y)), np.int64(np.floor(x))
    z0, z1 = _index(fz, nz, mode), _index(fz + 1, nz, mode)
    y0, y1 = _index(fy, ny, mode), _index(fy + 1, ny, mode)
    x0, x1 = _index(fx, nx, mode), _index(fx + 1, nx, mode)
    corners = (
        _value(image, z0, y0, x0, cval),
        _value(image, z0, y0, x1, cval),
        _value(image, z0, y1, x0, cval),
        _value(image, z0, y1, x1, cval),
        _value(image, z1, y0, x0, cval),
        _value(image, z1, y0, x1, cval),
        _value(image, z1, y1, x0, cval),
        _value(image, z1, y1, x1, cval),
    )
    return _mix(corners, z - fz, y - fy, x - fx)


@kernel
def _map(image, coordinates, order, mode, cval, out, start):
    """Fill `out` with the image at the coordinates (axes, points) from `start` on."""
    nz, ny, nx = image.shape
    axes = coordinates.shape[0]
    far = max(nz, ny, nx) + 2.0
    for i in range(out.size):
        z = np.float64(coordinates[0, start + i]) if axes == 3 else 0.0
        y = np.float64(coordinates[-2, start + i]) if axes >= 2 else 0.0
        x = np.float64(coordinates[-1, start + i])
        inside = 0.0 <= z <= nz - 1 and 0.0 <= y <= ny - 1 and 0.0 <= x <= nx - 1
        if not inside:
            z, y, x = _fold(z, nz, mode), _fold(y, ny, mode), _fold(x, nx, mode)
            if not (abs(z) < far and abs(y) < far and abs(x) < far):
                out[i] = cval
                continue
        if order == 0 and inside:
            z0, y0, x0 = np.int64(z + 0.5), np.int64(y + 0.5), np.int64(x + 0.5)
            out[i] = image[np.uint64(z0), np.uint64(y0), np.uint64(x0)]
        elif order == 0:
            z0 = _index(np.int64(np.floor(z + 0.5)), nz, mode)
            y0 = _index(np.int64(np.floor(y + 0.5)), ny, mode)
            x0 = _index(np.int64(np.floor(x + 0.5)), nx, mode)
            out[i] = cval if z0 < 0 or y0 < 0 or x0 < 0 else image[z0, y0, x0]
        elif inside:
            out[i] = _inside(image, z, y, x)
        else:
            out[i] = _outside(image, z, y, x, mode, np.float64(cval))


def map_coordinates(image, coordinates, out, *, order, mode, cval):
    """Fill (items, points) with (items, z, y, x) at the coordinates (axes, points).

    Integers are rounded, halves away from zero, and clipped; those of the image's own type, at the
    nearest voxel, are as they are.
    """
    image, coordinates = as_writable(image), as_writable(coordinates)
    exact = order == 0 and image.dtype == out.dtype and out.dtype.kind in "biu"
    fill = _rounded(np.array(cval), out.dtype)[()] if exact else np.float64(cval)
    number = OF_COORDINATES.index(mode)
    direct = exact or out.dtype in (np.float32, np.float64)

    def part(item, start, stop):
        to = out[item, start:stop]
        values = to if direct else np.empty(to.size)
        _map(image[item], coordinates, order, number, fill, values, start)
        if not direct:
            to[:] = _rounded(values, to.dtype)

    slabs = _pool.slabs(coordinates.shape[1])
    _pool.run([partial(part, item, *slab) for item in range(len(image)) for slab in slabs])


def _rounded(values, dtype):
    """As integers, halves away from zero, NaN as 0, and clipped; or as float16."""
    if dtype.kind == "f":
        with np.errstate(over="ignore"):
            return values.astype(dtype)
    low, high = (0, 1) if dtype.kind == "b" else (np.iinfo(dtype).min, np.iinfo(dtype).max)
    values = np.nan_to_num(values)  # infinities become the largest floats, and are clipped too
    whole = np.trunc(values)
    rounded = whole + np.copysign(np.abs(values - whole) >= 0.5, values)
    below, above = rounded <= low, rounded >= high
    within = np.where(below | above, 0, rounded).astype(dtype)
    return np.where(below, dtype.type(low), np.where(above, dtype.type(high), within))
