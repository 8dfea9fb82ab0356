"""The weights of Gaussian filters, w[0..radius] of one side: how far they reach, what they are."""

import math
from collections.abc import Iterable, Sequence
from functools import lru_cache
from typing import NamedTuple

import numpy as np

_TAIL = 5.5  # standard deviations beyond which a normal mass is less than half a bit of float32
_MANY = 1 << 20


class Taps(NamedTuple):
    """A symmetric filter.

    Attributes
    ----------
    sigma : float
        In voxels.
    radius : int
        How many voxels the weights reach.
    integrated : bool
        A weight is the normal mass of its voxel, the last one's with the tail; else it is the
        density at its centre, normalised.
    beyond : float
        Instead of the density, the last weight of a sampled filter; 0: the density.
    """

    sigma: float
    radius: int
    integrated: bool
    beyond: float = 0.0


IDENTITY = Taps(0.0, 0, False)


def integrated(sigma: float, size: int) -> Taps:
    """The normal mass of each voxel, on an axis of `size`."""
    if sigma == 0:
        return IDENTITY
    return Taps(sigma, min(math.ceil(_TAIL * sigma + 0.5), size), True)


def sampled(sigma: float, radius: int, size: int | None = None) -> Taps:
    """SciPy's taps: the density at the voxels within the radius, normalised.

    With a `size`, taps that are outside an axis of so many voxels from anywhere on it are one.
    """
    if sigma == 0 or radius == 0:
        return IDENTITY
    if size is None or radius <= size:
        return Taps(sigma, radius, False)
    return Taps(sigma, size, False, _density_sum(sigma, size, radius))


def marginal_taps(sigma: Iterable[float], shape: Sequence[int], method: str) -> list[Taps]:
    """The filters of a marginal along (z, y, x), of the last axes that `sigma` is given for."""
    sigmas = [float(s) for s in sigma]
    pairs = zip(sigmas, shape[len(shape) - len(sigmas) :], strict=True)
    if method == "integrated":
        taps = [integrated(s, size) for s, size in pairs]
    else:
        taps = [sampled(s, int(4 * s + 0.5), size) for s, size in pairs]
    return [IDENTITY] * (3 - len(taps)) + taps


@lru_cache(maxsize=64)
def weights(taps: Taps) -> tuple[float, ...]:
    """w[0..radius], in float64."""
    sigma, radius = taps.sigma, taps.radius
    if radius == 0:
        return (1.0,)
    if taps.integrated:
        # Upper tails, not the distribution: their differences keep their digits.
        root = sigma * math.sqrt(2)
        tails = [math.erfc((d - 0.5) / root) / 2 for d in range(1, radius + 1)]
        masses = (a - b for a, b in zip(tails, [*tails[1:], 0.0], strict=True))
        return (math.erf(0.5 / root), *masses)
    with np.errstate(over="ignore"):
        density = np.exp(-0.5 * (np.arange(radius + 1) / sigma) ** 2)
    if taps.beyond:
        density[-1] = taps.beyond
    return tuple((density / (density[0] + 2 * density[1:].sum())).tolist())


@lru_cache(maxsize=64)
def _density_sum(sigma: float, first: int, last: int) -> float:
    """The sum of the densities from `first` to `last`; of very many, the integral."""
    if last <= _MANY:
        return float(np.exp(-0.5 * (np.arange(first, last + 1) / sigma) ** 2).sum())
    root = sigma * math.sqrt(2)
    mass = math.erf((last + 0.5) / root) - math.erf((first - 0.5) / root)
    return root * math.sqrt(math.pi) / 2 * mass
