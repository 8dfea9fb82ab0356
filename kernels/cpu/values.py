"""What the values of an array amount to, for the checks of the public functions."""

from functools import partial

import numpy as np

from . import _pool


def extremes(values):
    """Smallest and largest value of a contiguous, non-empty array; NaN if there is any."""
    flat = values.reshape(-1)
    starts = range(0, flat.size, _pool.SLAB)
    found = np.empty((2, len(starts)), values.dtype)

    def slab(i):
        part = flat[starts[i] : starts[i] + _pool.SLAB]
        found[0, i], found[1, i] = part.min(), part.max()

    _pool.run([partial(slab, i) for i in range(len(starts))])
    return found[0].min(), found[1].max()
