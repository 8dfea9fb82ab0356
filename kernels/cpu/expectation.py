"""Overlaps of a mask with samples of a label."""

from functools import partial

import numpy as np

from . import _pool
from ._jit import as_writable, kernel
from ._maps import CHUNK


@kernel
def _overlaps(segmentation, samples, start, stop, found):
    """How many voxels each sample has inside the segmentation, and in all."""
    for sample in range(samples.shape[0]):
        inside, size = 0, 0
        for i in range(start, stop):
            inside += segmentation[i] & samples[sample, i]
            size += samples[sample, i]
        found[sample, 0], found[sample, 1] = inside, size


def overlaps(segmentation, samples):
    """Of (samples, voxels), bytes 0 and 1: how many are inside (voxels,), and how many in all."""
    segmentation, samples = as_writable(segmentation), as_writable(samples)
    slabs = _pool.slabs(segmentation.size, CHUNK)
    found = np.zeros((len(slabs), len(samples), 2), np.int64)
    pairs = zip(slabs, found, strict=True)
    _pool.run([partial(_overlaps, segmentation, samples, *slab, part) for slab, part in pairs])
    inside, size = found.sum(0).T
    return inside, size
