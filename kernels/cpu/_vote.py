"""A run of voxels decided in vector registers: all its gathers, or all its votes, side by side.

What is left open is decided voxel by voxel, in `interpolation`: where more than two classes meet,
or one that is to be ignored.
"""

from functools import reduce
from itertools import product

import numpy as np
from llvmlite import ir
from numba.core import types
from numba.core.cgutils import unpack_tuple
from numba.extending import intrinsic

from gfnoise._shared.runs import RUN

from ._codes import address, by_width
from ._jit import not_inlined
from ._vector import (
    FAR,
    FLAGS,
    FLOATS,
    INT,
    INTS,
    LONG,
    LONGEST,
    either,
    floors,
    load,
    repeated,
    store,
)

_LANES, _NOUGHT = ir.Constant(INTS, list(range(RUN))), ir.Constant(INTS, [0] * RUN)
EVERY = np.uint8((1 << RUN) - 1)  # voxels of a run, as flags
_FULL = FLAGS(int(EVERY))
_LONGS = ir.VectorType(LONG, RUN)
_CORNERS = tuple(product((0, 1), repeat=3))  # along z, y, x; x varies fastest


# --- the sources --------------------------------------------------------------------------------


def _places(builder, coordinates, ny, nx):
    """The numbers of voxels (z, y, x) of a grid, which has at most LONGEST rows."""
    z, y, x = coordinates
    ny, nx = (repeated(builder, builder.trunc(size, INT)) for size in (ny, nx))
    row = builder.add(builder.mul(z, ny), y)
    row, nx, x = (builder.zext(values, _LONGS) for values in (row, nx, x))
    return builder.add(builder.mul(row, nx), x)


def _gathered(builder, labels, places, kind, size):
    """A vector of what is at labels + size * places."""
    values = ir.Constant(ir.VectorType(kind, RUN), ir.Undefined)
    for lane in range(RUN):
        place = builder.extract_element(places, INT(lane))
        at = builder.add(labels, builder.mul(place, place.type(size)))
        value = load(builder, at, kind, 1)
        values = builder.insert_element(values, value, INT(lane))
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


def _bits(builder, flags):
    """The flags of a run as a byte."""
    return builder.bitcast(flags, FLAGS)


def _inside(builder, ends, shape):
    """Whether all voxels have all their sources on the grid."""
    flags = (  # without a sign, what is negative is beyond any size
        builder.icmp_unsigned("<", at, repeated(builder, builder.trunc(size, INT)))
        for along, size in zip(ends, shape, strict=True)
        for at in along
    )
    return builder.icmp_signed("==", _bits(builder, reduce(builder.and_, flags)), _FULL)


def _squares(builder, labels, places, plane, line, code):
    """The codes of the eight voxels around each point: those of two squares, `plane` apart."""
    size = LONG(code.width // 8)
    plane, line = builder.mul(plane, size), builder.mul(line, size)
    below = builder.add(labels, plane)
    first = labels, builder.add(labels, line), below, builder.add(below, line)
    return [codes for at in first for codes in _pairs(builder, at, places, code)]


def _clamped(builder, labels, ends, shape, code, outside):
    """The codes of all sources; of one beyond the grid `outside`, if constant, or the nearest."""
    cval, constant = outside
    axes = []
    for along, size in zip(ends, shape, strict=True):
        last = repeated(builder, builder.sub(builder.trunc(size, INT), INT(1)))
        axes.append([])
        for at in along:
            index = builder.select(builder.icmp_signed("<", at, _NOUGHT), _NOUGHT, at)
            index = builder.select(builder.icmp_signed(">", index, last), last, index)
            axes[-1].append((index, builder.icmp_signed("!=", index, at)))
    sources = []
    for corner in product(*axes):
        indices, beyond = zip(*corner, strict=True)
        places = _places(builder, indices, *shape[1:])
        codes = _gathered(builder, labels, places, code, code.width // 8)
        lost = builder.and_(reduce(builder.or_, beyond), repeated(builder, constant))
        sources.append(builder.select(lost, repeated(builder, cval), codes))
    return sources


def _sources(builder, labels, ends, shape, moved, code, outside):
    """The codes that decide each voxel: of its source, or of the eight voxels around it."""
    _, ny, nx = shape
    places = _places(builder, [along[0] for along in ends], ny, nx)
    inside = _inside(builder, ends, shape)
    if len(ends[0]) > 1:  # of all voxels the second plane must be as far from the first
        every, none = (builder.icmp_signed("==", moved, flags) for flags in (_FULL, FLAGS(0)))
        inside = builder.and_(inside, builder.or_(every, none))
        plane = builder.select(every, builder.mul(ny, nx), LONG(0))
    with builder.if_else(inside) as (then, otherwise):
        with then:
            if len(ends[0]) > 1:
                within = _squares(builder, labels, places, plane, nx, code)
            else:
                within = [_gathered(builder, labels, places, code, code.width // 8)]
            near = within, builder.block
        with otherwise:
            clamped = _clamped(builder, labels, ends, shape, code, outside)
            edge = clamped, builder.block
    return either(builder, near, edge)


# --- the decision -------------------------------------------------------------------------------


def _fractions(builder, value, whole):
    """What the floors leave of a displacement; of one that goes too far, nothing."""
    low, none, high = (ir.Constant(FLOATS, [float(each)] * RUN) for each in (-FAR, 0, FAR))
    beyond = builder.or_(
        builder.fcmp_unordered("<=", value, low), builder.fcmp_unordered(">=", value, high)
    )
    return builder.select(beyond, none, builder.fsub(value, builder.sitofp(whole, FLOATS)))


def _weights(builder, values, wholes):
    """The trilinear weights of the corners, in their order."""
    one = ir.Constant(FLOATS, [1.0] * RUN)
    far = [_fractions(builder, *pair) for pair in zip(values, wholes, strict=True)]
    near = [builder.fsub(one, value) for value in far]
    return [
        reduce(builder.fmul, ((near, far)[at][axis] for axis, at in enumerate(corner)))
        for corner in _CORNERS
    ]


def _heavier(builder, corners, weights, sign):
    """The heavier of two classes, ties to the smaller label; and whether there are but two."""
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


def _first(builder, sources, values, wholes, sign):
    """The one source of each voxel: there is no doubt about any."""
    return sources[0], FLAGS(0)


def _vote(builder, sources, values, wholes, sign):
    """The label with the largest weight around each point, and where more than two compete."""
    first = sources[0]
    unlike = reduce(builder.or_, (builder.xor(first, code) for code in sources))
    mixed = builder.icmp_unsigned("!=", unlike, ir.Constant(unlike.type, [0] * RUN))
    alike = (first, FLAGS(0)), builder.block
    with builder.if_then(builder.icmp_signed("!=", _bits(builder, mixed), FLAGS(0))):
        weights = _weights(builder, values, wholes)
        heavier, two = _heavier(builder, sources, weights, sign)
        voted = (heavier, _bits(builder, builder.not_(two))), builder.block
    return either(builder, alike, voted)


def _ignored(builder, sources, ignore, has_ignore):
    """Flags of the voxels that have a source which is to be ignored."""
    silent = repeated(builder, ignore)
    found = (builder.icmp_unsigned("==", source, silent) for source in sources)
    flags = _bits(builder, reduce(builder.or_, found))
    return builder.select(has_ignore, flags, FLAGS(0))


def _floors(builder, voxel, shift, apart, bias):
    """The displacement of a run, and the voxels (z, y, x) that its sources are in, or behind."""
    biases = ir.Constant(FLOATS, [bias] * RUN)
    *first, step = voxel
    rows = (builder.add(shift, builder.mul(apart, LONG(c))) for c in range(3))
    values = [load(builder, row, FLOATS, 1) for row in rows]
    wholes = [floors(builder, builder.fadd(value, biases)) for value in values]
    along = builder.mul(repeated(builder, builder.trunc(step, INT)), _LANES)
    steps = _NOUGHT, _NOUGHT, along
    near = [
        builder.add(builder.add(repeated(builder, builder.trunc(at, INT)), further), whole)
        for at, further, whole in zip(first, steps, wholes, strict=True)
    ]
    return values, wholes, near


def _decision(bias, decide):
    """An intrinsic that fills a run by `_first` or `_vote`, and flags what is left open."""

    def generate(context, builder, signature, arguments):
        labels, shape, voxel, shift, apart, codes, flags, out = arguments
        voxel, codes, flags = (unpack_tuple(builder, each) for each in (voxel, codes, flags))
        *shape, width = unpack_tuple(builder, shape)
        has_ignore, constant = flags
        values, wholes, near = _floors(builder, voxel, shift, apart, bias)
        ends = [[at] for at in near]
        # Without a displacement along z, as in an image, there is no second plane.
        moved = builder.fcmp_ordered("!=", values[0], ir.Constant(FLOATS, [0.0] * RUN))
        if decide is _vote:
            one = ir.Constant(INTS, [1] * RUN)
            further = builder.zext(moved, INTS), one, one
            ends = [[at, builder.add(at, far)] for at, far in zip(near, further, strict=True)]

        def decided(code):
            cval, ignore, sign = (builder.trunc(each, code) for each in codes)
            args = ends, shape, _bits(builder, moved), code, (cval, constant)
            sources = _sources(builder, labels, *args)
            chosen, undecided = decide(builder, sources, values, wholes, sign)
            store(builder, chosen, out)
            return [builder.or_(undecided, _ignored(builder, sources, ignore, has_ignore))]

        return by_width(builder, width, decided)[0]

    @intrinsic
    def decision(typing, labels, shape, voxel, shift, apart, codes, flags, out):
        size, four = types.intp, types.UniTuple(types.intp, 4)
        codes, flags = types.UniTuple(types.uint64, 3), types.UniTuple(types.boolean, 2)
        return types.uint8(size, four, four, size, size, codes, flags, size), generate

    return decision


_gather_run, _vote_run = _decision(0.5, _first), _decision(0.0, _vote)


@not_inlined
def decide_run(labels, voxel, shift, order, rule, out, place):
    """Fill a whole run, as `interpolation.take_run`; flags say which voxels are left open."""
    cval, ignore, sign, has_ignore, constant = rule
    z, y, x, _ = place
    nz, ny, nx, _ = labels.shape
    if max(nz * ny, nx) > LONGEST:
        return EVERY
    grid = labels.ctypes.data, labels.shape, voxel
    move = shift.ctypes.data, shift.strides[0]
    codes, flags, to = (cval, ignore, sign), (has_ignore, constant), address(out, z, y, x)
    if order == 1:
        return _vote_run(*grid, *move, codes, flags, to)
    return _gather_run(*grid, *move, codes, flags, to)
