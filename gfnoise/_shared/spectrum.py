"""The Fourier basis of the squared-exponential kernel, one axis at a time.

On an axis of n voxels, the field is a Fourier series on a torus of whole period
``P = ceil(n - 1 + 4.1 b)`` voxels, with weights proportional to the kernel's spectrum
``exp(-w² b² / 2)`` at ``w = 2 pi k / P``. Since ``cos² + sin² = 1``, its variance is exact at
every voxel; its covariance is off by the wrap-around term ``exp(-(P - n + 1)² / (2 b²))``, and by
at most twice the tail of the spectrum that is cut.

Terms are numbered by frequency (0: constant, 2k - 1: cosine k, 2k: sine k), so that neither the
size of the image nor a tolerance renumbers the coefficients of a field.
"""

import math
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from .kept import kept

MAX_TERMS = 1 << 21
"""Terms per axis that a coefficient's 63-bit number has room for."""

KEPT = 16 << 20
"""Bytes of each kind of basis that are kept."""

_AT_ONCE = 1 << 20  # phases, of which each takes some thirty bytes
PADDING = 4.1  # correlation lengths between the image and its periodic copy
TAIL = 1e-4  # share of the spectrum that is cut
WHITE = 0.1  # voxels; below, neighbours correlate by less than exp(-50): white noise
CONSTANT = 1e15  # voxels; above, a field is the same at all voxels, for float32
LARGEST = 1e30  # voxels: a larger amplitude would overflow float32, and is as far outside


@dataclass(frozen=True, eq=False)
class AxisBasis:
    """The basis of one axis, evaluated on a window of it.

    Attributes
    ----------
    values : float32 array, (terms, count)
        ``sqrt(weight) cos(w (x - L/2))`` and the same with sin, at the window's voxels.
    frequencies : float64 array, (terms,)
        w of each term, in radians per voxel.
    scales : float64 array, (terms,)
        The square root of each term's weight.
    """

    values: NDArray[np.float32]
    frequencies: NDArray[np.float64]
    scales: NDArray[np.float64]


@dataclass(frozen=True)
class Harmonics:
    """The part of the spectrum of an axis that is kept.

    Attributes
    ----------
    period : float
        P, in voxels.
    length : float
        The length scale, within what makes a difference.
    kept : int
        Harmonics k = 0, 1, ... of the torus.
    terms : int
        Terms of the basis: at whole voxels, harmonics beyond P / 2 are those below it.
    """

    period: float
    length: float
    kept: int
    terms: int


@lru_cache(maxsize=256)
def harmonics(size: int, length_scale: float) -> Harmonics:
    """Cut the spectrum of an axis of `size` voxels where its tail is below 1e-4 of the sum."""
    length = min(max(length_scale, WHITE), CONSTANT)
    period = float(math.ceil(size - 1 + PADDING * length))
    unit = 2 * math.pi / period * length
    terms = 1 + 2 * min(4 / unit, period / 2)
    if terms > MAX_TERMS:
        raise ValueError(
            f"length_scale must leave at most {MAX_TERMS} terms per axis, got {terms:.0f} on an "
            f"axis of {size} voxels with a length scale of {length} voxels"
        )
    weights = _weights(unit, math.ceil(6 / unit) + 1)  # beyond, nothing is left in float32
    tail = np.cumsum(weights[::-1])[::-1]
    kept = max(1, int(np.count_nonzero(tail >= TAIL * _total(unit))))
    highest = min(kept - 1, int(period) // 2)
    return Harmonics(period, length, kept, 2 * highest + 1)


def _total(unit: float) -> float:
    """The sum of the spectrum, which is a few terms of its transform's by Poisson's formula.

    (The CUDA kernel sums as many; unit is below 2 pi / 4.1, so that the next term is exp(-75).)
    """
    x = (math.pi / unit) ** 2
    return math.sqrt(2 * math.pi) / unit * (1 + 2 * math.exp(-2 * x) + 2 * math.exp(-8 * x))


def _weights(unit: float, count: int) -> NDArray[np.float64]:
    """The spectrum at ``w b = unit * k``, k < count; cosine and sine make one of k > 0."""
    weights = np.exp(-0.5 * (unit * np.arange(count, dtype=np.float64)) ** 2)
    weights[1:] *= 2
    return weights


def spectrum(size: int, length_scale: float) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Frequencies (radians per voxel) and weights (sum 1) of k = 0, 1, 2, ...

    Parameters
    ----------
    size : int
        Voxels along the axis.
    length_scale : float
        Correlation length b along the axis, in voxels.
    """
    cut = harmonics(size, length_scale)
    step = 2 * math.pi / cut.period
    harmonic = np.arange(cut.kept, dtype=np.float64)
    alias = np.minimum(harmonic % cut.period, -harmonic % cut.period).astype(np.int64)
    folded = np.bincount(alias, _weights(step * cut.length, cut.kept))
    return np.arange(folded.size) * np.float64(step), np.asarray(folded / folded.sum())


@kept(KEPT)
def axis_basis(
    size: int, length_scale: float, start: int = 0, count: int | None = None, step: int = 1
) -> AxisBasis:
    """Evaluate the basis of an axis at the voxels ``start + step * i``, i < count.

    Parameters
    ----------
    size : int
        Voxels along the whole axis.
    length_scale : float
        Correlation length along the axis, in voxels.
    start, count, step : int
        The window; the whole axis by default. It may reach past the end of the axis.
    """
    frequency, weight = spectrum(size, length_scale)
    terms = 2 * frequency.size - 1
    count = size if count is None else count
    position = start + step * np.arange(count, dtype=np.float64) - 0.5 * (size - 1)
    scales = np.sqrt(np.concatenate([weight[:1], np.repeat(weight[1:], 2)]))
    frequencies = np.concatenate([frequency[:1], np.repeat(frequency[1:], 2)])
    values = np.empty((terms, count), np.float32)
    values[0] = scales[0]
    share = max(1, _AT_ONCE // max(1, count))  # a long axis has many terms: no phases of all
    for first in range(1, frequency.size, share):
        last = min(first + share, frequency.size)
        phase = np.multiply.outer(frequency[first:last], position)
        cosines, sines = slice(2 * first - 1, 2 * last - 1, 2), slice(2 * first, 2 * last, 2)
        values[cosines] = scales[cosines, None] * np.cos(phase)
        values[sines] = scales[sines, None] * np.sin(phase)
    for array in (values, frequencies, scales):
        array.flags.writeable = False
    return AxisBasis(values, frequencies, scales)
