"""What is to stay in vector registers, where loops over arrays would not: sums and floors.

Each product and each sum is rounded to float32, in the order of the terms: the width of a vector
changes no bit.
"""

import numpy as np
from llvmlite import ir
from numba.core import types
from numba.extending import intrinsic

from gfnoise._runs import RUN

from ._jit import device

WIDE = 32
_REAL, _WORD, _INT = ir.FloatType(), ir.IntType(64), ir.IntType(32)
_BYTES = 4
FAR = np.float32(5e8)  # voxels; further than any image reaches, and safe to cast


def _sums_of_products(width, sums):
    """``out[s, :width] = sum_k factors[s, k] terms[k, :width]``, s < sums, side by side.

    Of addresses, and strides in bytes from term to term and from sum to sum.
    """
    vector = ir.VectorType(_REAL, width)
    nothing = ir.Constant(vector, ir.Undefined)
    repeat = ir.Constant(ir.VectorType(_INT, width), [0] * width)

    def generate(context, builder, signature, arguments):
        factors, factor_step, factors_apart, terms, term_step, count, out, out_apart = arguments
        before = builder.block
        loop, after = (builder.append_basic_block(name) for name in ("terms", "after"))
        builder.branch(loop)
        builder.position_at_end(loop)
        number, factor, line = (builder.phi(_WORD) for _ in range(3))
        totals = [builder.phi(vector) for _ in range(sums)]
        values = builder.load(builder.inttoptr(line, vector.as_pointer()), align=_BYTES)
        reached, at = [], factor
        for total in totals:
            one = builder.load(builder.inttoptr(at, _REAL.as_pointer()))
            single = builder.insert_element(nothing, one, _INT(0))
            repeated = builder.shuffle_vector(single, nothing, repeat)
            reached.append(builder.fadd(total, builder.fmul(repeated, values)))
            at = builder.add(at, factors_apart)
        done = builder.add(number, _WORD(1))
        zero = ir.Constant(vector, [0.0] * width)
        for phi, first, later in (
            (number, _WORD(0), done),
            (factor, factors, builder.add(factor, factor_step)),
            (line, terms, builder.add(line, term_step)),
            *((total, zero, sum_) for total, sum_ in zip(totals, reached, strict=True)),
        ):
            phi.add_incoming(first, before)
            phi.add_incoming(later, loop)
        builder.cbranch(builder.icmp_signed("<", done, count), loop, after)
        builder.position_at_end(after)
        at = out
        for sum_ in reached:
            builder.store(sum_, builder.inttoptr(at, vector.as_pointer()), align=_BYTES)
            at = builder.add(at, out_apart)
        return context.get_dummy_value()

    @intrinsic
    def products(
        typing, factors, factor_step, factors_apart, terms, term_step, count, out, out_apart
    ):
        return types.void(*[types.intp] * 8), generate

    return products


_sum_wide, _sum_run = _sums_of_products(WIDE, 1), _sums_of_products(RUN, 1)
_two_sums, _three_sums = _sums_of_products(RUN, 2), _sums_of_products(RUN, 3)


@device
def floor32(value):
    """Floor as int32, without a branch; NaN and whatever is too far are far outside."""
    value = value if value > -FAR else -FAR
    value = value if value < FAR else FAR
    whole = np.int32(value)
    return whole - np.int32(np.float32(whole) > value)


@intrinsic
def _floors(typing, values, bias, out):
    """``out[:RUN] = floor(values[:RUN] + bias)``, of addresses; as `floor32`."""
    vector, whole = ir.VectorType(_REAL, RUN), ir.VectorType(_INT, RUN)
    first = ir.Constant(whole, [0] * RUN)
    low, high = (ir.Constant(vector, [float(far)] * RUN) for far in (-FAR, FAR))

    def generate(context, builder, signature, arguments):
        values, bias, out = arguments
        single = builder.insert_element(ir.Constant(vector, ir.Undefined), bias, _INT(0))
        value = builder.load(builder.inttoptr(values, vector.as_pointer()), align=_BYTES)
        value = builder.fadd(value, builder.shuffle_vector(single, single, first))
        value = builder.select(builder.fcmp_ordered(">", value, low), value, low)
        value = builder.select(builder.fcmp_ordered("<", value, high), value, high)
        nearest = builder.fptosi(value, whole)
        above = builder.fcmp_ordered(">", builder.sitofp(nearest, vector), value)
        floor = builder.sub(nearest, builder.zext(above, whole))
        builder.store(floor, builder.inttoptr(out, whole.as_pointer()), align=_BYTES)
        return context.get_dummy_value()

    return types.void(types.intp, types.float32, types.intp), generate


@device
def floor_run(values, bias, out):
    """out[:RUN] = floor32(values[:RUN] + bias)."""
    _floors(values.ctypes.data, bias, out.ctypes.data)


@device
def contract(factors, terms, out, width):
    """out[:width] = factors @ terms, summed in the order of the terms; the last axes contiguous."""
    factor, line, to = factors.ctypes.data, terms.ctypes.data, out.ctypes.data
    factor_step, step, count = factors.strides[0], terms.strides[0], factors.size
    at = 0
    while at + WIDE <= width:
        _sum_wide(factor, factor_step, 0, line + _BYTES * at, step, count, to + _BYTES * at, 0)
        at += WIDE
    while at + RUN <= width:
        _sum_run(factor, factor_step, 0, line + _BYTES * at, step, count, to + _BYTES * at, 0)
        at += RUN
    for i in range(at, width):
        out[i] = 0
        for k in range(factors.size):
            out[i] += factors[k] * terms[k, i]


@device
def contract_run(factors, terms, out):
    """out[:, :RUN] = factors @ terms as in `contract`; components side by side share the terms."""
    apart, step = factors.strides
    args = factors.ctypes.data, step, apart, terms.ctypes.data, terms.strides[0]
    to = out.ctypes.data
    if factors.shape[0] == 3:
        _three_sums(*args, factors.shape[1], to, out.strides[0])
    else:
        _two_sums(*args, factors.shape[1], to, out.strides[0])
