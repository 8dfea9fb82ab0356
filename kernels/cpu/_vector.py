"""Sums that stay in vector registers from the first term to the last, as loops over arrays do not.

Each product and each sum is rounded to float32, in the order of the terms: the width of a vector
changes no bit.
"""

from llvmlite import ir
from numba.core import types
from numba.extending import intrinsic

from gfnoise._runs import RUN

from ._jit import device

WIDE = 32
_REAL, _WORD, _INT = ir.FloatType(), ir.IntType(64), ir.IntType(32)
_BYTES = 4


def _sum_of_products(width):
    """``out[:width] = sum_k factors[k] terms[k, :width]``: of addresses and strides in bytes."""
    vector = ir.VectorType(_REAL, width)
    nothing = ir.Constant(vector, ir.Undefined)
    repeat = ir.Constant(ir.VectorType(_INT, width), [0] * width)

    def generate(context, builder, signature, arguments):
        factors, factor_step, terms, term_step, count, out = arguments
        before = builder.block
        loop, after = (builder.append_basic_block(name) for name in ("terms", "after"))
        builder.branch(loop)
        builder.position_at_end(loop)
        number, factor, line = (builder.phi(_WORD) for _ in range(3))
        total = builder.phi(vector)
        one = builder.load(builder.inttoptr(factor, _REAL.as_pointer()))
        single = builder.insert_element(nothing, one, _INT(0))
        repeated = builder.shuffle_vector(single, nothing, repeat)
        values = builder.load(builder.inttoptr(line, vector.as_pointer()), align=_BYTES)
        reached = builder.fadd(total, builder.fmul(repeated, values))
        done = builder.add(number, _WORD(1))
        for phi, first, later in (
            (number, _WORD(0), done),
            (factor, factors, builder.add(factor, factor_step)),
            (line, terms, builder.add(line, term_step)),
            (total, ir.Constant(vector, [0.0] * width), reached),
        ):
            phi.add_incoming(first, before)
            phi.add_incoming(later, loop)
        builder.cbranch(builder.icmp_signed("<", done, count), loop, after)
        builder.position_at_end(after)
        builder.store(reached, builder.inttoptr(out, vector.as_pointer()), align=_BYTES)
        return context.get_dummy_value()

    @intrinsic
    def products(typing, factors, factor_step, terms, term_step, count, out):
        return types.void(*[types.intp] * 6), generate

    return products


_sum_wide, _sum_run = _sum_of_products(WIDE), _sum_of_products(RUN)


@device
def contract(factors, terms, out, width):
    """out[:width] = factors @ terms, summed in the order of the terms; the last axes contiguous."""
    factor, line, to = factors.ctypes.data, terms.ctypes.data, out.ctypes.data
    steps = factors.strides[0], terms.strides[0], factors.size
    at = 0
    while at + WIDE <= width:
        _sum_wide(factor, steps[0], line + _BYTES * at, steps[1], steps[2], to + _BYTES * at)
        at += WIDE
    while at + RUN <= width:
        _sum_run(factor, steps[0], line + _BYTES * at, steps[1], steps[2], to + _BYTES * at)
        at += RUN
    for i in range(at, width):
        out[i] = 0
        for k in range(factors.size):
            out[i] += factors[k] * terms[k, i]
