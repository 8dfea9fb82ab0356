"""A run of voxels decided in vector registers: all its gathers, or all its votes, side by side.

That is where all sources are inside the grid, and no more than two classes meet in a voxel: almost
everywhere. What is left open is decided voxel by voxel, in `interpolation`.
"""

from functools import reduce
from itertools import product

from llvmlite import ir
from numba.core import types
from numba.core.cgutils import unpack_tuple
from numba.extending import intrinsic

from gfnoise._runs import RUN

from ._jit import device
from ._vector import FLOATS, INTS, floors, load, repeated, store

_INT, _SIZE, _BYTE = INTS.element, ir.IntType(64), ir.IntType(RUN)
_LANES = ir.Constant(INTS, list(range(RUN)))
_LONGS = ir.VectorType(_SIZE, RUN)
_CORNERS = tuple(product((0, 1), repeat=3))  # along z, y, x; x varies fastest


def _places(builder, coordinates, ny, nx):
    """The numbers of voxels (z, y, x) of a grid."""
    z, y, x = (builder.zext(values, _LONGS) for values in coordinates)
    row = builder.add(builder.mul(z, repeated(builder, ny)), y)
    return builder.add(builder.mul(row, repeated(builder, nx)), x)


def _inside(builder, coordinates, limits):
    """Whether each coordinate of all voxels is in [0, limit)."""
    flags = (
        builder.icmp_unsigned("<", values, repeated(builder, builder.trunc(limit, _INT)))
        for values, limit in zip(coordinates, limits, strict=True)
    )
    return builder.icmp_signed("==", _bits(builder, reduce(builder.and_, flags)), _BYTE(-1))


def _bits(builder, flags):
    return builder.bitcast(flags, _BYTE)


def _gathered(builder, labels, places, kind, size):
    """A vector of what is at labels + size * places."""
    values = ir.Constant(ir.VectorType(kind, RUN), ir.Undefined)
    for lane in range(RUN):
        place = builder.extract_element(places, _INT(lane))
        at = builder.add(labels, builder.mul(place, place.type(size)))
        value = builder.load(builder.inttoptr(at, kind.as_pointer()), align=1)
        values = builder.insert_element(values, value, _INT(lane))
    return values


def _pairs(builder, labels, places, code):
    """The codes at `places` and those after them, as two vectors."""
    size = code.width // 8
    pairs = _gathered(builder, labels, places, ir.IntType(2 * code.width), size)
    codes = builder.bitcast(pairs, ir.VectorType(code, 2 * RUN))
    return [
        builder.shuffle_vector(codes, codes, ir.Constant(INTS, list(range(first, 2 * RUN, 2))))
        for first in (0, 1)
    ]


def _corners(builder, labels, places, plane, line, code):
    """The codes of the eight voxels around each point, in the order of `_CORNERS`."""
    size = plane.type(code.width // 8)
    plane, line = builder.mul(plane, size), builder.mul(line, size)
    below = builder.add(labels, plane)
    first = labels, builder.add(labels, line), below, builder.add(below, line)
    return [codes for at in first for codes in _pairs(builder, at, places, code)]


def _weights(builder, values, wholes):
    """The trilinear weights of the corners, in their order."""
    one = ir.Constant(FLOATS, [1.0] * RUN)
    far = [
        builder.fsub(value, builder.sitofp(whole, FLOATS))
        for value, whole in zip(values, wholes, strict=True)
    ]
    near = [builder.fsub(one, value) for value in far]
    return [
        reduce(builder.fmul, ((near, far)[at][axis] for axis, at in enumerate(corner)))
        for corner in _CORNERS
    ]


def _heavier(builder, corners, weights, sign):
    """The heavier one of two classes per voxel, ties to the smaller label; and whether it is two."""
    zero = ir.Constant(FLOATS, [0.0] * RUN)
    first = corners[0]
    of_first = [builder.icmp_unsigned("==", code, first) for code in corners]
    second = first
    for code, same in zip(corners, of_first, strict=True):
        second = builder.select(same, second, code)
    two = [
        builder.or_(same, builder.icmp_unsigned("==", code, second))
        for code, same in zip(corners, of_first, strict=True)
    ]
    sums = zero, zero
    for weight, same in zip(weights, of_first, strict=True):
        parts = builder.select(same, weight, zero), builder.select(same, zero, weight)
        sums = [builder.fadd(total, part) for total, part in zip(sums, parts, strict=True)]
    # `sign` is the sign bit of a signed dtype: codes compare as the labels they stand for.
    smaller = builder.icmp_unsigned(
        "<", *(builder.xor(codes, repeated(builder, sign)) for codes in (first, second))
    )
    tie = builder.and_(builder.fcmp_ordered("==", *sums), smaller)
    wins = builder.or_(builder.fcmp_ordered(">", *sums), tie)
    return builder.select(wins, first, second), reduce(builder.and_, two)


def _gather(builder, labels, places, values, wholes, grid, sign):
    """The label at each place: there is no doubt about any."""
    code = sign.type
    codes = _gathered(builder, labels, places, code, code.width // 8)
    return codes, [codes], _BYTE(0)


def _vote(builder, labels, places, values, wholes, grid, sign):
    """The label with the largest weight around each point, and where more than two compete."""
    plane, line = grid
    corners = _corners(builder, labels, places, plane, line, sign.type)
    first = corners[0]
    unlike = reduce(builder.or_, (builder.xor(first, code) for code in corners))
    mixed = builder.icmp_unsigned("!=", unlike, ir.Constant(unlike.type, [0] * RUN))
    before = builder.block
    with builder.if_then(builder.icmp_signed("!=", _bits(builder, mixed), _BYTE(0))):
        weights = _weights(builder, values, wholes)
        heavier, two = _heavier(builder, corners, weights, sign)
        more = _bits(builder, builder.not_(two))
        voting = builder.block
    codes, open_ = builder.phi(first.type), builder.phi(_BYTE)
    for phi, alike, unlike in (codes, first, heavier), (open_, _BYTE(0), more):
        phi.add_incoming(alike, before)
        phi.add_incoming(unlike, voting)
    return codes, corners, open_


def _decision(bias, decide):
    """An intrinsic that decides a run, and says which voxels it leaves open: a byte of flags."""
    biases = ir.Constant(FLOATS, [bias] * RUN)

    def generate(context, builder, signature, arguments):
        labels, grid, limits, voxel, shift, ignore, has_ignore, sign, out = arguments
        ny, nx, plane = unpack_tuple(builder, grid)
        *first, step = unpack_tuple(builder, voxel)
        values = [load(builder, builder.add(shift, _SIZE(c * RUN * 4)), FLOATS) for c in range(3)]
        wholes = [floors(builder, builder.fadd(value, biases)) for value in values]
        coordinates = [
            builder.add(repeated(builder, builder.trunc(at, _INT)), whole)
            for at, whole in zip(first, wholes, strict=True)
        ]
        along = builder.mul(repeated(builder, builder.trunc(step, _INT)), _LANES)
        coordinates[2] = builder.add(coordinates[2], along)
        inside = _inside(builder, coordinates, unpack_tuple(builder, limits))
        outside = builder.block
        with builder.if_then(inside):
            places = _places(builder, coordinates, ny, nx)
            found = decide(builder, labels, places, values, wholes, (plane, nx), sign)
            codes, corners, undecided = found
            store(builder, codes, out)
            silent = repeated(builder, ignore)
            ignored = (builder.icmp_unsigned("==", code, silent) for code in corners)
            ignored = builder.and_(
                _bits(builder, reduce(builder.or_, ignored)), builder.sext(has_ignore, _BYTE)
            )
            undecided = builder.or_(undecided, ignored)
            within = builder.block
        result = builder.phi(_BYTE)
        result.add_incoming(_BYTE(-1), outside)
        result.add_incoming(undecided, within)
        return result

    @intrinsic
    def decision(typing, labels, grid, limits, voxel, shift, ignore, has_ignore, sign, out):
        three, four = types.UniTuple(types.intp, 3), types.UniTuple(types.intp, 4)
        address, code = types.intp, ignore
        args = address, three, three, four, address, code, types.boolean, code, address
        return types.uint8(*args), generate

    return decision


_gather_run, _vote_run = _decision(0.5, _gather), _decision(0.0, _vote)


@device
def decide_run(labels, voxel, shift, order, rule, out):
    """Fill a whole run, and say which of its voxels are left open: a byte of flags.

    As `interpolation.take_run`; `out` is what the run is stored in.
    """
    _, ignore, sign, has_ignore, _ = rule
    nz, ny, nx = labels.shape
    # Without a second plane, as in an image, the far one has no weight.
    plane = ny * nx if nz > 1 else 0
    args = voxel, shift.ctypes.data, ignore, has_ignore, sign, out.ctypes.data
    if order == 1:
        limits = max(nz - 1, 1), ny - 1, nx - 1
        return _vote_run(labels.ctypes.data, (ny, nx, plane), limits, *args)
    return _gather_run(labels.ctypes.data, (ny, nx, plane), (nz, ny, nx), *args)
