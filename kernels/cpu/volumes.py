"""Sizes of the level sets of maps, and histograms of their values."""

from functools import partial

import numpy as np

from gfnoise._shared.digits import HALF

from . import _pool
from ._jit import as_writable, kernel
from ._maps import CHUNK

OCTAVE = 8  # log2 of the bins between a power of two and the next
OCTAVES = 127  # below 1: what a float32 has
_FRACTION = {4: 23, 8: 52}  # bits of a float after its exponent
_BIAS = {4: 0, 8: 1023 - OCTAVES}  # exponents below those of a float32


# --- kernels ------------------------------------------------------------------------------------


@kernel
def _sizes(maps, largest, smallest, found, first, last, start, stop):
    """Sum of the values, and how many are in the largest and in the smallest set."""
    for m in range(first, last):
        total, reached, passed = 0.0, 0, 0
        for i in range(start, stop):
            value = np.float64(maps[m, i])
            total += value
            reached += value >= largest[m]
            passed += value >= smallest[m]
        found[m, 0], found[m, 1], found[m, 2] = total, reached, passed


@kernel
def _histogram(bits, shift, offset, table, start, stop):
    """Count, sum of the remainders in two halves, least and largest remainder of each bin.

    What is below the exponents of a float32 counts as 0.
    """
    unsigned = ~(np.uint64(1) << np.uint64(8 * bits.itemsize - 1))  # -0.0 is 0
    rest = (np.uint64(1) << np.uint64(shift)) - np.uint64(1)
    low = np.uint64((1 << HALF) - 1)
    bottom = np.uint64(offset) << np.uint64(shift)
    least = np.uint64(offset + (offset > 0)) << np.uint64(shift)
    last = np.int64(table.shape[0] - 1)  # another thread may change checked values
    for i in range(start, stop):
        value = np.uint64(bits[i]) & unsigned
        value = value - bottom if value >= least else np.uint64(0)
        row = table[min(np.int64(value >> np.uint64(shift)), last)]
        remainder = np.int64(value & rest)
        if row[0] == 0 or remainder < row[3]:
            row[3] = remainder
        row[4] = max(row[4], remainder)
        row[0] += 1
        row[1] += np.int64(np.uint64(remainder) & low)
        row[2] += remainder >> HALF


# --- launching ----------------------------------------------------------------------------------


def sizes(maps, *, largest, smallest):
    """Of (maps, voxels): the sums, and how many values are >= the bounds of two sets of each."""
    maps = as_writable(maps)
    count, voxels = maps.shape
    slabs = _pool.slabs(voxels, CHUNK)
    bundles = _pool.slabs(count, max(1, CHUNK // max(1, voxels)))
    found = np.zeros((len(slabs), count, 3))
    _pool.run(
        [
            partial(_sizes, maps, largest, smallest, part, *some, *slab)
            for part, slab in zip(found, slabs, strict=True)
            for some in bundles
        ]
    )
    totals = found.sum(0)
    return totals[:, 0], totals[:, 1].astype(np.int64), totals[:, 2].astype(np.int64)


def histogram(values):
    """The values of (voxels,) by bins of their floats' leading digits, from the largest down.

    Returns, for each bin that has any: how many, their sum (exact but for one rounding), the least
    and the largest. All are those of float64; the bins divide each octave into 2**OCTAVE parts.
    """
    values = as_writable(values)
    size = values.itemsize
    shift = _FRACTION[size] - OCTAVE
    offset = _BIAS[size] << OCTAVE
    bits = values.view(f"u{size}")
    slabs = _pool.slabs(values.size, CHUNK)
    lanes = max(1, min(_pool.threads(), len(slabs)))
    tables = np.zeros((lanes, (OCTAVES << OCTAVE) + 1, 5), np.int64)

    def lane(number):
        for slab in slabs[number::lanes]:
            _histogram(bits, shift, offset, tables[number], *slab)

    _pool.run([partial(lane, number) for number in range(lanes)])
    # All are integers: they are the same for any number of lanes.
    least = np.where(tables[..., 0] > 0, tables[..., 3], np.iinfo(np.int64).max).min(0)
    counts, low, high = tables[..., :3].sum(0).T
    most = tables[..., 4].max(0)
    bins = np.flatnonzero(counts)[::-1]
    counts, low, high, least, most = (part[bins] for part in (counts, low, high, least, most))

    def as_floats(code):
        code = (code + (offset << shift)) * (code > 0)  # 0 has no exponent
        return code.astype(bits.dtype).view(values.dtype).astype(np.float64)

    edges = as_floats(bins << shift)
    units = as_floats((bins << shift) + 1) - edges
    sums = counts * edges + (low + high * 2.0**HALF) * units
    return counts, sums, as_floats((bins << shift) + least), as_floats((bins << shift) + most)
