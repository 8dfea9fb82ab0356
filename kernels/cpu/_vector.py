"""What is to stay in vector registers, where loops over arrays would not: sums and floors.

Sums are of fused multiply-adds, each rounded once, in the order of the terms, as on a device: the
width of a vector changes no bit, and neither does a machine without such an instruction.
"""

import numpy as np
from llvmlite import ir
from numba.core import cgutils, types
from numba.extending import intrinsic

from gfnoise._shared.runs import RUN

from ._jit import device, not_inlined

WIDE = 32
LONG, INT, FLAGS = ir.IntType(64), ir.IntType(32), ir.IntType(RUN)
_REAL, _DOUBLE = ir.FloatType(), ir.DoubleType()
_BYTES = 4
FAR = np.float32(5e8)  # voxels; further than any image reaches, and safe to cast
LONGEST = 1 << 30  # voxels of an axis, to which an int32 can still add FAR
FLOATS, INTS = ir.VectorType(_REAL, RUN), ir.VectorType(INT, RUN)


def load(builder, address, kind, align=_BYTES):
    """What is at an address."""
    return builder.load(builder.inttoptr(address, kind.as_pointer()), align=align)


def store(builder, value, address):
    """Store a value at any address."""
    builder.store(value, builder.inttoptr(address, value.type.as_pointer()), align=1)


def repeated(builder, value, width=RUN):
    """A vector of a single value."""
    nothing = ir.Constant(ir.VectorType(value.type, width), ir.Undefined)
    single = builder.insert_element(nothing, value, INT(0))
    zeros = ir.Constant(ir.VectorType(INT, width), [0] * width)
    return builder.shuffle_vector(single, nothing, zeros)


def either(builder, *ways):
    """The values, one per way, of the block that was run: ways are (values, block)."""
    phis = []
    for values in zip(*(values for values, _ in ways), strict=True):
        phis.append(builder.phi(values[0].type))
        for value, (_, block) in zip(values, ways, strict=True):
            phis[-1].add_incoming(value, block)
    return phis


def floors(builder, value):
    """The floors of a vector of floats as integers; as `floor32`."""
    low, high = (ir.Constant(FLOATS, [float(far)] * RUN) for far in (-FAR, FAR))
    value = builder.select(builder.fcmp_ordered(">", value, low), value, low)
    value = builder.select(builder.fcmp_ordered("<", value, high), value, high)
    nearest = builder.fptosi(value, INTS)
    above = builder.fcmp_ordered(">", builder.sitofp(nearest, FLOATS), value)
    return builder.sub(nearest, builder.zext(above, INTS))


def multiply_add(context, builder, factor, other, term):
    """``factor * other + term`` of vectors of float32, rounded once."""
    triple, _, features = context.codegen().magic_tuple()
    if triple.startswith("x86") and "+fma" not in features.split(","):
        return emulated_multiply_add(builder, factor, other, term)
    kind = term.type
    signature = ir.FunctionType(kind, [kind] * 3)
    name = f"llvm.fma.v{kind.count}f32"
    function = cgutils.get_or_insert_function(builder.module, signature, name)
    return builder.call(function, (factor, other, term))


def emulated_multiply_add(builder, factor, other, term):
    """`multiply_add` for a machine that has none: in float64, whose last bit is then made odd.

    Products of float32 are exact there. A sum that is not, made odd, is rounded to float32 as the
    exact one would be (Boldo and Melquiond 2008, "Emulation of a FMA and correctly rounded sums").
    """
    kind, count = term.type, term.type.count
    wide, longs = ir.VectorType(_DOUBLE, count), ir.VectorType(LONG, count)
    up, none, down = (ir.Constant(longs, [step] * count) for step in (1, 0, -1))
    factor, other, term = (builder.fpext(value, wide) for value in (factor, other, term))
    product = builder.fmul(factor, other)
    total = builder.fadd(product, term)
    added = builder.fsub(total, product)
    of_product = builder.fsub(product, builder.fsub(total, added))
    lost = builder.fadd(of_product, builder.fsub(term, added))  # exactly: Knuth's TwoSum
    bits = builder.bitcast(total, longs)
    inexact = builder.fcmp_ordered("!=", lost, ir.Constant(wide, [0.0] * count))
    even = builder.icmp_signed("==", builder.and_(bits, up), none)
    outwards = builder.icmp_signed(">=", builder.xor(bits, builder.bitcast(lost, longs)), none)
    step = builder.select(outwards, up, down)
    step = builder.select(builder.and_(inexact, even), step, none)
    return builder.fptrunc(builder.bitcast(builder.add(bits, step), wide), kind)


def _sums_of_products(width, sums, groups=1):
    """``out[g, s, :width] = factors[g, s] @ terms[:, :width]``, for all g and s side by side.

    Of addresses, and strides in bytes: from term to term, from sum to sum, from group to group.
    """
    vector = ir.VectorType(_REAL, width)

    def places(builder, first, sums_apart, groups_apart):
        for _ in range(groups):
            at = first
            for _ in range(sums):
                yield at
                at = builder.add(at, sums_apart)
            first = builder.add(first, groups_apart)

    def generate(context, builder, signature, arguments):
        factors, factor_step, *factors_apart, terms, term_step, count, out, by_sum, by_group = (
            arguments
        )
        before = builder.block
        loop, after = (builder.append_basic_block(name) for name in ("terms", "after"))
        builder.branch(loop)
        builder.position_at_end(loop)
        number, factor, line = (builder.phi(LONG) for _ in range(3))
        totals = [builder.phi(vector) for _ in range(groups * sums)]
        values = load(builder, line, vector)
        reached = []
        for total, at in zip(totals, places(builder, factor, *factors_apart), strict=True):
            one = builder.load(builder.inttoptr(at, _REAL.as_pointer()))
            spread = repeated(builder, one, width)
            reached.append(multiply_add(context, builder, spread, values, total))
        done = builder.add(number, LONG(1))
        zero = ir.Constant(vector, [0.0] * width)
        for phi, first, later in (
            (number, LONG(0), done),
            (factor, factors, builder.add(factor, factor_step)),
            (line, terms, builder.add(line, term_step)),
            *((total, zero, sum_) for total, sum_ in zip(totals, reached, strict=True)),
        ):
            phi.add_incoming(first, before)
            phi.add_incoming(later, loop)
        builder.cbranch(builder.icmp_signed("<", done, count), loop, after)
        builder.position_at_end(after)
        for sum_, at in zip(reached, places(builder, out, by_sum, by_group), strict=True):
            builder.store(sum_, builder.inttoptr(at, vector.as_pointer()), align=_BYTES)
        return context.get_dummy_value()

    @intrinsic
    def products(
        typing,
        factors,
        factor_step,
        sums_apart,
        groups_apart,
        terms,
        term_step,
        count,
        out,
        out_sums_apart,
        out_groups_apart,
    ):
        return types.void(*[types.intp] * 10), generate

    return products


TOGETHER = 4  # sums that share their terms
_two_groups, _three_groups = (_sums_of_products(RUN, TOGETHER, groups) for groups in (2, 3))


def _along_lines(width, sums):
    """Sums over a line: most of them `width` wide, the last ones a run, or a single column."""
    wide, narrow, single = (_sums_of_products(each, sums) for each in (width, RUN, 1))

    @device
    def along(factors, factor_step, apart, terms, step, count, out, out_apart, columns):
        at = 0
        while at + width <= columns:
            line, to = terms + _BYTES * at, out + _BYTES * at
            wide(factors, factor_step, apart, 0, line, step, count, to, out_apart, 0)
            at += width
        while at + RUN <= columns:
            line, to = terms + _BYTES * at, out + _BYTES * at
            narrow(factors, factor_step, apart, 0, line, step, count, to, out_apart, 0)
            at += RUN
        while at < columns:
            line, to = terms + _BYTES * at, out + _BYTES * at
            single(factors, factor_step, apart, 0, line, step, count, to, out_apart, 0)
            at += 1

    return along


_one_sum, _some_sums = _along_lines(WIDE, 1), _along_lines(WIDE // 2, TOGETHER)


def _in_32_bits(act):
    """An intrinsic of two integers: Numba's own would widen them, and halve a vector's lanes."""

    @intrinsic
    def operation(typing, left, right):
        def generate(context, builder, signature, arguments):
            return getattr(builder, act)(*arguments)

        return types.int32(types.int32, types.int32), generate

    return operation


plus, minus, times, shifted = (_in_32_bits(act) for act in ("add", "sub", "mul", "ashr"))


@device
def floor32(value):
    """Floor as int32, without a branch; NaN and whatever is too far are far outside."""
    value = value if value > -FAR else -FAR
    value = value if value < FAR else FAR
    whole = np.int32(value)
    return minus(whole, np.float32(whole) > value)


@device
def bias_of(order):
    """What is added to a coordinate before its floor: order 0 asks for the nearest voxel."""
    return np.float32(0) if order == 1 else np.float32(0.5)


@not_inlined
def contract(factors, terms, out, width):
    """out[:, :width] = factors @ terms, summed in the order of the terms; the last axes contiguous.

    Sums side by side share the terms, and none waits for its last addition.
    """
    apart, factor_step = factors.strides
    sums, count = factors.shape
    line, step, out_apart = terms.ctypes.data, terms.strides[0], out.strides[0]
    together = sums - sums % TOGETHER
    for row in range(0, together, TOGETHER):
        factor, to = factors[row:].ctypes.data, out[row:].ctypes.data
        _some_sums(factor, factor_step, apart, line, step, count, to, out_apart, width)
    for row in range(together, sums):
        factor, to = factors[row:].ctypes.data, out[row:].ctypes.data
        _one_sum(factor, factor_step, 0, line, step, count, to, 0, width)


@device
def contract_runs(factors, terms, out):
    """out[row, c, :RUN] = factors[c, :, row] @ terms, as in `contract`, for TOGETHER rows at once.

    All of `factors`, of two or three components, must have as many rows in memory.
    """
    apart, step, row_apart = factors.strides
    args = factors.ctypes.data, step, row_apart, apart, terms.ctypes.data, terms.strides[0]
    places = out.ctypes.data, out.strides[0], out.strides[1]
    if factors.shape[0] == 3:
        _three_groups(*args, factors.shape[1], *places)
    else:
        _two_groups(*args, factors.shape[1], *places)
