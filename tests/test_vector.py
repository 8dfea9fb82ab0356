"""What the CPU's kernels keep in vector registers: multiply-adds against exact rationals."""

from __future__ import annotations

import os
import platform
import subprocess
import sys
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path
from typing import Any

import numba
import numpy as np
import pytest
from numba.core import types
from numba.extending import intrinsic
from numpy.typing import NDArray

from gfnoise._cpu import _vector, _vote
from gfnoise._shared.runs import RUN
from limits import LIMIT

pytestmark = pytest.mark.cpu

Array = NDArray[Any]
WAYS = {
    "the machine's": _vector.multiply_add,
    "emulated": lambda context, builder, *values: _vector.emulated_multiply_add(builder, *values),
}


def on_arrays(way: str) -> Callable[..., Array]:
    """``a * b + c`` of arrays of float32, whole runs of them."""

    @intrinsic
    def operation(typing: Any, a: Any, b: Any, c: Any, out: Any) -> Any:
        def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
            *places, to = arguments
            values = (_vector.load(builder, place, _vector.FLOATS) for place in places)
            _vector.store(builder, WAYS[way](context, builder, *values), to)
            return context.get_dummy_value()

        return types.void(*[types.intp] * 4), generate

    @numba.njit
    def fill(a: Array, b: Array, c: Array, out: Array) -> None:
        for i in range(0, out.size, RUN):
            at = i * out.itemsize
            operation(
                a.ctypes.data + at, b.ctypes.data + at, c.ctypes.data + at, out.ctypes.data + at
            )

    def call(*arrays: Array) -> Array:
        out = np.empty(arrays[0].shape, np.float32)
        fill(*map(np.ascontiguousarray, arrays), out)
        return out

    return call


def nearest(exact: Fraction) -> np.float32:
    """The float32 next to a number, ties to the even one."""
    near = np.float32(float(exact))
    around = [np.nextafter(near, np.float32(far)) for far in (-np.inf, np.inf)]
    return min(
        (near, *around), key=lambda x: (abs(Fraction(float(x)) - exact), x.view(np.uint32) % 2)
    )


def awkward(count: int) -> list[Array]:
    """Numbers whose sum of a product lies on, or next to, the middle between two float32."""
    rng = np.random.default_rng(0)
    odd = rng.integers(1, 2**12, (2, count)) * 2 + 1  # of 13 bits: products have 25 or 26
    tiny = rng.choice([-1, 0, 1], count) * 2.0 ** rng.integers(-140, 30, count)
    usual = rng.normal(size=(3, count))
    cancelled = -(usual[0] * usual[1])
    kinds = ((*odd, tiny), tuple(usual), (*usual[:2], cancelled), (*(usual[:2] * 2.0**-70), tiny))
    return [np.concatenate(one).astype(np.float32) for one in zip(*kinds, strict=True)]


@pytest.mark.parametrize("way", WAYS)
def test_a_multiply_add_is_rounded_once(way: str) -> None:
    a, b, c = awkward(2048)
    exact = (Fraction(x) * Fraction(y) + Fraction(z) for x, y, z in np.stack([a, b, c], 1).tolist())
    expected = np.array([nearest(one) for one in exact])
    twice = a * b + c
    assert np.mean(expected != twice) > 0.1  # it makes a difference
    in_float64 = (a.astype(np.float64) * b + c).astype(np.float32)
    assert np.any(expected != in_float64)
    np.testing.assert_array_equal(on_arrays(way)(a, b, c), expected)


@pytest.mark.parametrize("way", WAYS)
def test_a_multiply_add_of_what_is_not_finite(way: str) -> None:
    inf, nan, large = np.inf, np.nan, np.finfo(np.float32).max
    rows = (
        (inf, 1, 1, inf),
        (inf, 0, 1, nan),
        (inf, 1, -inf, nan),
        (1, 1, -inf, -inf),
        (nan, 1, 1, nan),
        (large, large, 0, inf),
        (large, 2, -large, large),
        (-0.0, 1, -0.0, -0.0),
    )
    *given, expected = np.array(rows, np.float32).T
    found = on_arrays(way)(*given)
    np.testing.assert_array_equal(found, expected)
    assert np.signbit(found[-1])


FIELD = """
import hashlib
import numpy as np
from numba.core.registry import cpu_target
from gfnoise import GaussianField

# Of 53 columns: in wide vectors, in runs, and singly.
move = GaussianField(2.0, 5.0, ndim=3).displacement((9, 20, 53), seed=1)
print("+fma" in cpu_target.target_context.codegen().magic_tuple()[2])
print(hashlib.sha256(move.tobytes()).hexdigest())
"""


@pytest.mark.skipif(platform.machine() not in ("x86_64", "AMD64"), reason="others all have them")
def test_a_machine_without_multiply_adds_gives_the_same_bits(tmp_path: Path) -> None:
    found = []
    generic = {
        "NUMBA_CPU_NAME": "generic",
        "NUMBA_CPU_FEATURES": "",
        "NUMBA_CACHE_DIR": str(tmp_path),
    }
    for chosen in ({}, generic):
        done = subprocess.run(
            [sys.executable, "-c", FIELD],
            env={**os.environ, **chosen},
            capture_output=True,
            text=True,
            timeout=LIMIT,
            check=True,
        )
        found.append(done.stdout.split())
    (_, here), (has, there) = found
    assert has == "False"
    assert here == there


@numba.njit
def decide(labels: Array, shift: Array, rule: Any, out: Array) -> Any:
    return _vote.decide_run(labels, (0, 0, 0, 1), shift, 0, rule, out, (0, 0, 0, RUN))


@pytest.mark.parametrize(("rows", "left"), [(2**15, 0), (2**15 + 1, 2**RUN - 1)])
def test_rows_that_32_bits_do_not_number(rows: int, left: int) -> None:
    """They are left to be decided one by one. Of these only the first row is in memory."""
    row = np.arange(RUN, dtype=np.uint8).reshape(1, 1, RUN, 1)
    labels = np.lib.stride_tricks.as_strided(row, (2**15, rows, RUN, 1), row.strides)
    out = np.zeros_like(row)
    zero = np.uint64(0)
    rule = zero, zero, zero, False, False
    assert decide(labels, np.zeros((3, RUN), np.float32), rule, out) == left
    assert left or np.array_equal(out, row)
