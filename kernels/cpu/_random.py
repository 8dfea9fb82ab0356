"""Philox4x32-10 and Box-Muller: normals that are a function of a seed and a counter alone.

Salmon et al. 2011, "Parallel random numbers: as easy as 1, 2, 3". The logarithm and the sines are
their power series, in plain arithmetic without a branch: loops over many numbers vectorise, and the
bits do not depend on a library for mathematics.
"""

import math

import numpy as np
from numba.core import types
from numba.extending import intrinsic

from ._jit import device

_M0, _M1 = np.uint64(0xD2511F53), np.uint64(0xCD9E8D57)
_W0, _W1 = np.uint32(0x9E3779B9), np.uint32(0xBB67AE85)
_LOW, _WORD = np.uint64(0xFFFFFFFF), np.uint64(32)
_HALF_TURN, _EIGHTH_TURN, _QUARTERS = np.uint32(1 << 31), np.uint32(1 << 29), np.uint32(30)
_SCALE = 2.0**-32
_TURN = 2 * math.pi
_MANTISSA, _EXPONENT = (1 << 52) - 1, 52  # the bits of a float64
_ONE = 1023 << _EXPONENT  # 1.0
_WHOLE = 1075 << _EXPONENT  # 2^52: of its mantissa, the last bit counts ones
_LOG_2, _ROOT_2 = math.log(2), math.sqrt(2)

# Of the logarithm about 1 in s = (x - 1) / (x + 1), |s| < 0.172; of sine and cosine within an
# eighth of a turn. The first term that is left out is below 1e-16 of the sum.
_LOGARITHM = tuple(2 / (2 * k + 1) for k in range(11))
_SINE = tuple((-1) ** k / math.factorial(2 * k + 1) for k in range(8))
_COSINE = tuple((-1) ** k / math.factorial(2 * k) for k in range(9))


@device
def philox4x32(c0, c1, c2, c3, k0, k1):
    """Ten rounds: four uint32 of counter and two of key give four uint32."""
    for _ in range(10):
        p0 = _M0 * np.uint64(c0)
        p1 = _M1 * np.uint64(c2)
        c0 = np.uint32(np.uint32(p1 >> _WORD) ^ c1 ^ k0)
        c2 = np.uint32(np.uint32(p0 >> _WORD) ^ c3 ^ k1)
        c1 = np.uint32(p1 & _LOW)
        c3 = np.uint32(p0 & _LOW)
        k0 = np.uint32(k0 + _W0)
        k1 = np.uint32(k1 + _W1)
    return c0, c1, c2, c3


@device
def draw_words(words, count, item, rater, seed):
    """Replace the first `count` columns of (4, numbers) by what Philox makes of their counters.

    Rows 0 and 3 hold the index on entry, low and high; the stream gives the other two words.
    """
    first, second, third, fourth = words[0], words[1], words[2], words[3]
    k0, k1 = np.uint32(seed & _LOW), np.uint32(seed >> _WORD)
    for i in range(count):
        counter = first[i], np.uint32(item), np.uint32(rater), fourth[i]
        first[i], second[i], third[i], fourth[i] = philox4x32(*counter, k0, k1)


def _reinterpreted(source, result):
    """An intrinsic that reads the bits of a number as another type's."""

    def generate(context, builder, signature, arguments):
        return builder.bitcast(arguments[0], context.get_value_type(result))

    @intrinsic
    def reinterpret(typing, value):
        return result(source), generate

    return reinterpret


_bits = _reinterpreted(types.float64, types.int64)
_float = _reinterpreted(types.int64, types.float64)


@device
def _polynomial(coefficients, x):
    total = coefficients[-1]
    for k in range(len(coefficients) - 2, -1, -1):
        total = total * x + coefficients[k]
    return total


@device
def _logarithm(word):
    """log((word + 1/2) / 2^32)."""
    bits = _bits((np.float64(np.int32(word ^ _HALF_TURN)) + (2.0**31 + 0.5)) * _SCALE)
    part = _float((bits & _MANTISSA) | _ONE)  # in [1, 2)
    power = _float((bits >> _EXPONENT) | _WHOLE) - (2.0**52 + 1023)
    large = part > _ROOT_2
    part, power = part * (0.5 if large else 1.0), power + (1.0 if large else 0.0)
    s = (part - 1) / (part + 1)
    return power * _LOG_2 + s * _polynomial(_LOGARITHM, s * s)


@device
def _cosine_and_sine(word):
    """Of (word + 1/2) / 2^32 turns."""
    quarter = np.uint32(word + _EIGHTH_TURN) >> _QUARTERS
    rest = np.int32(np.uint32(word - np.uint32(quarter << _QUARTERS)))
    angle = (rest + 0.5) * (_TURN * _SCALE)
    square = angle * angle
    cosine, sine = _polynomial(_COSINE, square), angle * _polynomial(_SINE, square)
    upright = (quarter & 1) != 0
    cosine, sine = (sine if upright else cosine), (cosine if upright else sine)
    return -cosine if (quarter == 1) | (quarter == 2) else cosine, -sine if quarter >= 2 else sine


@device
def normal_pair(first, second):
    """Two independent normals of two words, in float64: to be rounded to float32.

    Other implementations of the logarithm and of the sines differ in the last bits of a float64,
    and give the same float32 but for a few values in 10^8.
    """
    radius = math.sqrt(-2 * _logarithm(first))
    cosine, sine = _cosine_and_sine(second)
    return radius * cosine, radius * sine
