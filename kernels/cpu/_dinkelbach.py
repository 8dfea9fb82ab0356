"""Where a score is largest: Dinkelbach's passes over probability maps.

The score of the voxels >= t is, but for a factor, a better threshold: ``t <- sum(m >= t) /
(voxels(m >= t) + weight sum m)``. None scores more than the optimal one. The first step, from
anywhere, ends at its threshold or below; the others rise to it, and are few (Dinkelbach 1967, "On
Nonlinear Fractional Programming").

Of a large map one pass sees everything. It goes by a guess, the threshold of a sample: a block of
voxels without any value close to the guess is settled, and the steps look at the other blocks. If
they leave the surroundings of the guess, they end below the threshold, and a second pass takes all
values from there on as close.
"""

from functools import partial

import numpy as np
from llvmlite import ir
from numba.core import types
from numba.extending import intrinsic

from gfnoise._shared.runs import RUN

from . import _pool
from ._jit import device, kernel
from ._maps import BLOCK, CHUNK, parts
from ._vector import FLAGS, INT, LONG, load, repeated

SMALL = 1 << 13  # voxels of a map that needs no sample
TIE = 1e-12  # relative; a threshold this close to a value of the map is that value
_SURE = 1.0  # a guess of n voxels is trusted to this share over sqrt(n)
_GOLDEN = 0.618  # of a cube's edge: the steps of a sample, which fall on all columns alike
_LANES, _BYTE = ir.VectorType(ir.DoubleType(), RUN), ir.IntType(8)


# --- a block ------------------------------------------------------------------------------------


def _sum_of_lanes(builder, lanes):
    """The sum of a vector, by halves: in the same order on every machine."""
    count = lanes.type.count
    while count > 1:
        count //= 2
        halves = (
            ir.Constant(ir.VectorType(INT, count), list(range(first, first + count)))
            for first in (0, count)
        )
        lanes = builder.fadd(*(builder.shuffle_vector(lanes, lanes, half) for half in halves))
    return builder.extract_element(lanes, INT(0))


@intrinsic
def _look(typing, address, low, high):
    """The sum of a block; the sum and the number of its values >= high; if any is in [low, high).

    Zeros are in no set. Bounds are of the map's type, and compared as bits: whether a processor
    takes subnormal numbers for zeros changes nothing.
    """

    def generate(context, builder, signature, arguments):
        address, *bounds = arguments
        kind, bits = ir.VectorType(bounds[0].type, RUN), ir.IntType(signature.args[1].bitwidth)
        size, none = bits.width // 8, ir.Constant(kind, [0.0] * RUN)
        for i, bound in enumerate(bounds):
            bound = builder.bitcast(bound, bits)
            positive = builder.icmp_signed(">", bound, bits(0))
            bounds[i] = repeated(builder, builder.select(positive, bound, bits(1)))
        total = above = ir.Constant(_LANES, [0.0] * RUN)
        number, near = _BYTE(0), FLAGS(0)
        for at in range(0, BLOCK, RUN):
            values = load(builder, builder.add(address, LONG(size * at)), kind, size)
            codes = builder.bitcast(values, ir.VectorType(bits, RUN))
            reached, beyond = (builder.icmp_signed(">=", codes, bound) for bound in bounds)
            chosen = builder.select(beyond, values, none)
            if kind != _LANES:
                values, chosen = (builder.fpext(each, _LANES) for each in (values, chosen))
            total, above = builder.fadd(total, values), builder.fadd(above, chosen)
            reached, beyond = (builder.bitcast(each, FLAGS) for each in (reached, beyond))
            number = builder.add(number, builder.ctpop(beyond))
            near = builder.or_(near, builder.xor(reached, beyond))
        found = (
            _sum_of_lanes(builder, total),
            _sum_of_lanes(builder, above),
            builder.zext(number, LONG),
            builder.icmp_unsigned("!=", near, FLAGS(0)),
        )
        return context.make_tuple(builder, signature.return_type, found)

    found = types.Tuple((types.float64, types.float64, types.int64, types.boolean))
    return found(types.intp, low, low), generate


# --- maps ---------------------------------------------------------------------------------------


@device
def _block(values, first, tail):
    """The address of a block; of the last one, if it is short, of a copy that zeros fill."""
    block = values[first : first + BLOCK]
    if block.size == BLOCK:
        return block.ctypes.data
    for i in range(BLOCK):
        tail[i] = block[i] if i < block.size else 0
    return tail.ctypes.data


@kernel
def _survey(maps, bounds, near, sums, first, last, start, stop):
    """Note the blocks of [start, stop) with values in [low, high); sum, and count, the others.

    Fills `near` (maps, blocks) and, of this slab, `sums` (maps, slabs, 3): the sum of all values;
    of those >= high of the other blocks the sum and the number.
    """
    tail = np.empty(BLOCK, maps.dtype)
    for m in range(first, last):
        low, high = bounds[m]
        mass, inside, count = 0.0, 0.0, 0
        for at in range(start, stop, BLOCK):
            total, above, number, is_near = _look(_block(maps[m], at, tail), low, high)
            mass += total
            near[m, at // BLOCK] = is_near
            if not is_near:
                inside += above
                count += number
        slab = sums[m, start // CHUNK]
        slab[0], slab[1], slab[2] = mass, inside, count


@device
def _level_set(values, blocks, bound, tail):
    """The sum and the number of the values >= bound of some blocks."""
    inside, count = 0.0, 0
    for i in blocks:
        _, above, number, _ = _look(_block(values, i * BLOCK, tail), bound, bound)
        inside += above
        count += number
    return inside, count


@device
def _least(threshold, like):
    """The least value of a map's type that is no less than a threshold."""
    least = like.dtype.type(threshold)
    return _next(least) if least < threshold else least


@device
def _next(value):
    return np.nextafter(value, type(value)(np.inf))


@device
def _nearest(values, blocks, threshold, tail):
    """The nearest value to a threshold within a tie, if any is in some blocks, or itself."""
    gap, nearest = TIE * threshold, threshold
    low, high = _least(threshold - gap, values), _next(_least(threshold + gap, values))
    for i in blocks:
        if not _look(_block(values, i * BLOCK, tail), low, high)[3]:
            continue
        for value in values[i * BLOCK : (i + 1) * BLOCK]:
            if abs(value - threshold) <= gap:
                nearest, gap = np.float64(value), abs(value - threshold)
    return nearest


@kernel
def _rise(maps, bounds, near, sums, weight, thresholds, voxels, start, stop):
    """Step to the threshold of each map, or to where the surroundings of its guess are left.

    Fills `thresholds`, and `voxels` with the number of a threshold's voxels, or -1 where it is no
    more than a bound from below.
    """
    tail = np.empty(BLOCK, maps.dtype)
    for m in range(start, stop):
        values, (low, high), blocks = maps[m], bounds[m], np.flatnonzero(near[m])
        mass, inside, count = sums[m, :, 0].sum(), sums[m, :, 1].sum(), sums[m, :, 2].sum()
        thresholds[m], voxels[m] = 0.5, 0
        if mass == 0:
            continue
        bound, threshold = low, 0.0
        while True:
            total, number = _level_set(values, blocks, bound, tail)
            higher = (inside + total) / (count + number + weight * mass)
            if not higher > threshold:
                break
            threshold = higher
            if _least(threshold, values) <= bound or threshold >= high:
                break
            bound = _least(threshold, values)
        is_within = low <= threshold * (1 - TIE) and threshold * (1 + TIE) < high
        thresholds[m] = _nearest(values, blocks, threshold, tail) if is_within else threshold
        voxels[m] = count + number if is_within else -1


# --- launching ----------------------------------------------------------------------------------


def _pass_over(maps, weight, low, high):
    """The thresholds of (maps, voxels) and their voxels, by surroundings of each: see `_rise`."""
    bounds = np.stack([low, high], axis=1).astype(maps.dtype)
    count, voxels = maps.shape
    near = np.empty((count, -(-voxels // BLOCK)), np.bool_)
    sums = np.empty((count, -(-voxels // CHUNK), 3))
    _pool.run([partial(_survey, maps, bounds, near, sums, *part) for part in parts(*maps.shape)])
    thresholds, found = np.empty(count), np.empty(count, np.int64)
    args = maps, bounds, near, sums, weight, thresholds, found
    step = max(1, CHUNK // max(1, voxels))
    _pool.run(_pool.tasks(_rise, *args, size=count, step=step))
    return thresholds, found


def best_thresholds(maps, weight):
    """The threshold of each of (maps, voxels) at the root of ``sum (m - t)+ = t weight sum m``."""
    return _best(maps, weight)[0]


def _best(maps, weight):
    """And the number of each threshold's voxels: of large maps, after a guess by a sample."""
    count, voxels = maps.shape
    endless = np.full(count, np.inf)
    if voxels <= SMALL:
        return _pass_over(maps, weight, np.zeros(count), endless)
    stride = round(_GOLDEN * voxels ** (1 / 3)) | 1
    guess, size = _best(np.ascontiguousarray(maps[:, ::stride]), weight)
    error = np.minimum(_SURE / np.sqrt(np.maximum(size, 1)), 1)
    thresholds, found = _pass_over(maps, weight, guess * (1 - error), guess * (1 + error))
    lost = found < 0
    if lost.any():
        rest = maps if lost.all() else maps[lost]
        low = thresholds[lost] * (1 - 1e-6)
        thresholds[lost], found[lost] = _pass_over(rest, weight, low, endless[lost])
    return thresholds, found
