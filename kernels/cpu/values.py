"""What the values of an array amount to, for the checks of the public functions."""

from functools import partial

import numpy as np

from . import _pool
from ._jit import as_writable, device, kernel

_BLOCK = 1 << 12  # values that are looked at before it is asked whether one was strange


def extremes(values):
    """Smallest and largest value of a contiguous, non-empty array; NaN if there is any."""
    flat = values.reshape(-1)
    share = 8 * _pool.SLAB // flat.itemsize  # NumPy's calls cost more than the values of a slab
    slabs = _pool.slabs(flat.size, max(1, share))
    found = np.empty((2, len(slabs)), values.dtype)

    def task(i, start, stop):
        part = flat[start:stop]
        found[0, i], found[1, i] = part.min(), part.max()

    _pool.run([partial(task, i, *slab) for i, slab in enumerate(slabs)])
    return found[0].min(), found[1].max()


@device
def _is_strange(code, classes, ignore, has_ignore):
    return (code >= classes) & (not has_ignore or code != ignore)


@kernel
def _stranger(codes, classes, ignore, has_ignore, start, stop):
    kind = codes.dtype.type
    for first in range(start, stop, _BLOCK):
        block = codes[first : min(first + _BLOCK, stop)]
        found = kind(0)
        for i in range(block.size):  # without a branch: vectors
            found |= kind(_is_strange(block[i], classes, ignore, has_ignore))
        if found:
            for i in range(block.size):
                if _is_strange(block[i], classes, ignore, has_ignore):
                    return first + i
    return -1


def stranger(codes, classes, rule):
    """Index of a code that is neither one of the classes nor to be ignored; -1 if there is none.

    The codes of negative labels are above those of all classes.
    """
    flat = as_writable(codes).reshape(-1)
    slabs = _pool.slabs(flat.size)
    found = np.empty(len(slabs), np.int64)

    def task(i, start, stop):
        found[i] = _stranger(flat, classes, rule.ignore, rule.has_ignore, start, stop)

    _pool.run([partial(task, i, *slab) for i, slab in enumerate(slabs)])
    return int(found.max(initial=-1))
