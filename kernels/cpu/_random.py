"""Philox4x32-10 and Box-Muller: normals that are a function of a seed and a counter alone.

Salmon et al. 2011, "Parallel random numbers: as easy as 1, 2, 3".
"""

import math

import numpy as np

from ._jit import device

_M0, _M1 = np.uint64(0xD2511F53), np.uint64(0xCD9E8D57)
_W0, _W1 = np.uint32(0x9E3779B9), np.uint32(0xBB67AE85)
_LOW, _WORD = np.uint64(0xFFFFFFFF), np.uint64(32)
_SCALE = 2.0**-32
_TURN = 2 * math.pi


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
def normals(index, item, rater, seed):
    """Three independent normals of the stream (seed, item, rater), in float64.

    Float64 and a rounding to float32 by the caller: libraries whose logarithm or cosine differ in
    the last bit give the same float32, but for about one value in 10^8.
    """
    w0, w1, w2, w3 = philox4x32(
        np.uint32(index & _LOW),
        np.uint32(item),
        np.uint32(rater),
        np.uint32(index >> _WORD),
        np.uint32(seed & _LOW),
        np.uint32(seed >> _WORD),
    )
    radius = math.sqrt(-2 * math.log((w0 + 0.5) * _SCALE))
    angle = _TURN * ((w1 + 0.5) * _SCALE)
    third = math.sqrt(-2 * math.log((w2 + 0.5) * _SCALE)) * math.cos(_TURN * ((w3 + 0.5) * _SCALE))
    return radius * math.cos(angle), radius * math.sin(angle), third
