"""Labels as bytes, (z, y, x, width): one kernel serves all their types, and is compiled once.

A code is read as an unsigned integer of 64 bits; which width it has is decided where it is read or
written, by a branch that always goes the same way.
"""

import numpy as np
from llvmlite import ir
from numba.core import types
from numba.extending import intrinsic

from gfnoise._shared.runs import RUN

from ._jit import as_writable, device
from ._vector import FLAGS, FLOATS, LONG, either, load, repeated, store

_WIDTHS = (1, 2, 4, 8)  # bytes
_CODES = ("cval", "ignore", "sign")


def as_bytes(codes):
    """Contiguous codes, unsigned integers of any shape, as bytes (*shape, width)."""
    codes = as_writable(codes)
    return codes.view(np.uint8).reshape(*codes.shape, codes.itemsize)


def of_codes(rule):
    """A `gfnoise._labels.Rule` in codes of 64 bits."""
    return rule._replace(**{name: np.uint64(getattr(rule, name)) for name in _CODES})


def by_width(builder, width, generate):
    """The values that `generate(type)` computes for the type of codes that have `width` bytes.

    Code is generated for all of them; `width` chooses when it runs.
    """
    blocks = [builder.append_basic_block(f"bytes{each}") for each in _WIDTHS]
    after = builder.append_basic_block("after")
    choice = builder.switch(width, blocks[-1])
    ways = []
    for each, block in zip(_WIDTHS, blocks, strict=True):
        if block is not blocks[-1]:
            choice.add_case(each, block)
        builder.position_at_end(block)
        ways.append((generate(ir.IntType(8 * each)), builder.block))
        builder.branch(after)
    builder.position_at_end(after)
    return either(builder, *ways)


@intrinsic
def read(typing, address, width):
    """The code at an address."""

    def generate(context, builder, signature, arguments):
        address, width = arguments

        def read(kind):
            return [builder.zext(load(builder, address, kind, 1), LONG)]

        return by_width(builder, width, read)[0]

    return types.uint64(types.intp, types.intp), generate


def _with_code(result, act):
    """An intrinsic of an address, a width and a code: what `act` does with them for a type."""

    def generate(context, builder, signature, arguments):
        address, width, code = arguments

        def act_on(kind):
            return act(builder, address, builder.trunc(code, kind))

        found = by_width(builder, width, act_on)
        return found[0] if found else context.get_dummy_value()

    @intrinsic
    def action(typing, address, width, code):
        return result(types.intp, types.intp, types.uint64), generate

    return action


def _put_one(builder, address, code):
    store(builder, code, address)
    return ()


def _put_run(builder, address, code):
    store(builder, repeated(builder, code), address)
    return ()


def _same(builder, address, code):
    """Which of RUN neighbours are a code."""
    codes = load(builder, address, ir.VectorType(code.type, RUN), 1)
    return builder.icmp_unsigned("==", codes, repeated(builder, code))


def _compare(builder, address, code):
    return [builder.bitcast(_same(builder, address, code), FLAGS)]


@intrinsic
def _keep_alike_run(typing, codes, others, width, values):
    """Zero those of RUN bytes whose codes at the two addresses differ."""

    def generate(context, builder, signature, arguments):
        codes, others, width, values = arguments

        def compare(kind):
            run = ir.VectorType(kind, RUN)
            here, there = load(builder, codes, run, 1), load(builder, others, run, 1)
            same = builder.icmp_unsigned("==", here, there)
            return [builder.bitcast(same, FLAGS)]

        (flags,) = by_width(builder, width, compare)
        same = builder.bitcast(flags, ir.VectorType(ir.IntType(1), RUN))
        run = ir.VectorType(ir.IntType(8), RUN)
        kept = builder.and_(load(builder, values, run, 1), builder.sext(same, run))
        store(builder, kept, values)
        return context.get_dummy_value()

    return types.void(types.intp, types.intp, types.intp, types.intp), generate


_write, _write_run = _with_code(types.void, _put_one), _with_code(types.void, _put_run)
_compare_run = _with_code(types.uint8, _compare)


@intrinsic
def _indicate_run(typing, address, width, code, out):
    """Write 1 or 0, as float32, for each of RUN neighbours."""

    def generate(context, builder, signature, arguments):
        address, width, code, out = arguments

        def indicate(kind):
            same = _same(builder, address, builder.trunc(code, kind))
            return [builder.uitofp(same, FLOATS)]

        store(builder, *by_width(builder, width, indicate), out)
        return context.get_dummy_value()

    return types.void(types.intp, types.intp, types.uint64, types.intp), generate


@device
def address(labels, z, y, x):
    """Where the code of a voxel is."""
    _, ny, nx, width = labels.shape
    return labels.ctypes.data + ((z * ny + y) * nx + x) * width


@device
def code_at(labels, z, y, x):
    """The code of a voxel."""
    return read(address(labels, z, y, x), labels.shape[3])


@device
def entry(codes, i):
    """The code at a place of a list, (entries, width)."""
    return read(codes.ctypes.data + i * codes.shape[1], codes.shape[1])


@device
def keep_alike(place, width, apart, values, count):
    """Zero those of the first `count` values whose code is not that of the one `apart` from it.

    The codes are at the address `place`, and on.
    """
    for i in range(0, count - count % RUN, RUN):
        to = values.ctypes.data + i
        _keep_alike_run(place + i * width, place + (i + apart) * width, width, to)
    for i in range(count - count % RUN, count):
        if read(place + i * width, width) != read(place + (i + apart) * width, width):
            values[i] = 0


@device
def put(labels, z, y, x, code):
    """Write the code of a voxel."""
    _write(address(labels, z, y, x), labels.shape[3], code)


@device
def repeat(place, width, length, code):
    """Write a code `length` times, from an address on."""
    whole = length - length % RUN
    for i in range(0, whole, RUN):
        _write_run(place + i * width, width, code)
    for i in range(whole, length):
        _write(place + i * width, width, code)


@device
def fill(labels, place, code):
    """Write a code to `place`, (z, y, x, length): neighbours along x."""
    z, y, x, length = place
    repeat(address(labels, z, y, x), labels.shape[3], length, code)


@device
def matches(labels, voxel, length, code):
    """Which of a run's voxels, (z, y, x, step) and on, hold a code: flags."""
    z, y, x, step = voxel
    if step == 1 and length == RUN:
        return _compare_run(address(labels, z, y, x), labels.shape[3], code)
    flags = 0
    for i in range(length):
        flags |= np.int64(code_at(labels, z, y, x + step * i) == code) << i
    return np.uint8(flags)


@device
def indicate(labels, z, y, code, out):
    """Fill a line of float32 with 1 where a row holds the code, else 0."""
    _, _, nx, width = labels.shape
    start, to = address(labels, z, y, 0), out.ctypes.data
    whole = nx - nx % RUN
    for x in range(0, whole, RUN):
        _indicate_run(start + x * width, width, code, to + x * out.itemsize)
    for x in range(whole, nx):
        out[x] = code_at(labels, z, y, x) == code
