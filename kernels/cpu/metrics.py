"""Metrics by one pass over the voxels: counts, squared differences, entropies, calibration."""

import math
from functools import partial

import numpy as np

from . import _pool
from ._jit import device, kernel, same_type

_BLOCK = 1024  # voxels whose classes are compared together: they stay in cache
_APART = 4  # sums side by side, which do not wait for each other


# --- kernels ------------------------------------------------------------------------------------


@kernel
def _overlap(prediction, target, counts, start, stop):
    """Per class: voxels in both, in the prediction, in the target, (classes, 3)."""
    if counts.shape[0] == 2:  # the foreground alone: sums instead of a table
        both, first, second = 0, 0, 0
        for i in range(start, stop):
            p, t = np.int64(prediction[i]), np.int64(target[i])
            both += p & t
            first += p
            second += t
        counts[1, 0], counts[1, 1], counts[1, 2] = both, first, second
        voxels = stop - start
        counts[0, 0] = voxels - first - second + both
        counts[0, 1], counts[0, 2] = voxels - first, voxels - second
        return
    for i in range(start, stop):
        counts[prediction[i], 1] += 1
        counts[target[i], 2] += 1
        if prediction[i] == target[i]:
            counts[target[i], 0] += 1


@kernel
def _squares(first, second, sums, at, start, stop):
    total = 0.0
    for i in range(start, stop):
        difference = np.float64(first[i]) - np.float64(second[i])
        total += difference * difference
    sums[at] = total


@device
def _log_share(p):
    return p * math.log(p) if p > 0 else 0.0


@kernel
def _entropy(values, two_sided, sums, at, start, stop):
    total = 0.0
    for i in range(start, stop):
        p = np.float64(values[i])
        total -= _log_share(p)
        if two_sided:
            total -= _log_share(1 - p)
    sums[at] = total


@device
def _sum_up(values, left, width, sums, found):
    """Least value and largest distance of a sum over the classes from 1, into `found`; NaN stays.

    `values` are (classes, voxels), of which the block of `width` from `left` on is looked at.
    """
    zero = values.dtype.type(0)
    lowest = zero
    for i in range(width):
        sums[i] = zero
    for c in range(values.shape[0]):
        for i in range(width):
            value = values[c, left + i]
            sums[i] += value
            lowest = min(lowest, value)
    furthest, nan = zero, 0
    for i in range(width):
        distance = abs(sums[i] - values.dtype.type(1))
        nan += distance != distance
        furthest = max(furthest, distance)
    found[0] = min(found[0], lowest)
    found[1] = np.nan if nan or np.isnan(found[1]) else max(found[1], furthest)


@kernel
def _deviation(values, found, start, stop):
    """`_sum_up` of the voxels [start, stop)."""
    sums = np.empty(_BLOCK, values.dtype)
    for left in range(start, stop, _BLOCK):
        _sum_up(values, left, min(_BLOCK, stop - left), sums, found)


@device
def _predict(values, left, width, top, best):
    """The largest probability of a block of voxels, and its class: of equals the first.

    A single row of `values` is the foreground of two classes.
    """
    if values.shape[0] == 1:
        for i in range(width):
            p = values[0, left + i]
            rest = values.dtype.type(1) - p
            best[i] = p > rest
            top[i] = max(p, rest)
        return
    for i in range(width):
        top[i] = values[0, left + i]
        best[i] = 0
    for c in range(1, values.shape[0]):
        for i in range(width):
            p = values[c, left + i]
            best[i] = c if p > top[i] else best[i]
            top[i] = p if p > top[i] else top[i]


@kernel
def _reliability(values, labels, edges, table, found, start, stop):
    """Per bin of confidence: voxels, sum of confidences, voxels that are right, (bins, 3).

    `values` are (classes, voxels); of several, `found` gets what `_sum_up` finds. The edges are
    those of the bins below, and infinity. Neighbours, which often share a bin, add to sums apart.
    """
    bins = edges.size - 1
    top = np.empty(_BLOCK, values.dtype)
    best, place = np.empty((2, _BLOCK), np.int32)
    sums = np.zeros((_APART, bins))
    counts = np.zeros((_APART, bins, 2), np.int64)
    for left in range(start, stop, _BLOCK):
        width = min(_BLOCK, stop - left)
        if values.shape[0] > 1:
            _sum_up(values, left, width, top, found)
            if not found[1] < np.inf:  # NaN has no bin
                return
        _predict(values, left, width, top, best)
        for i in range(width):
            k = np.int32(min(max(top[i] * bins, 0), bins - 1))
            k -= np.int32(top[i] < edges[k])
            place[i] = k + np.int32(top[i] >= edges[k + 1])
            best[i] = best[i] == np.int32(labels[left + i])
        for i in range(width):
            k, apart = place[i], i % _APART
            sums[apart, k] += top[i]
            counts[apart, k, 0] += 1
            counts[apart, k, 1] += best[i]
    for apart in range(_APART):
        for k in range(bins):
            table[k, 0] += counts[apart, k, 0]
            table[k, 1] += sums[apart, k]
            table[k, 2] += counts[apart, k, 1]


@kernel
def _levels(values, target, edges, table, start, stop):
    """Per number of edges that a value reaches: voxels, and those of the target, (edges + 1, 2)."""
    for i in range(start, stop):
        low, high = 0, edges.size
        while low < high:
            middle = (low + high) // 2
            if values[i] >= edges[middle]:
                low = middle + 1
            else:
                high = middle
        table[low, 0] += 1
        table[low, 1] += target[i]


# --- launching ----------------------------------------------------------------------------------


def _in_slabs(voxels, shape, dtype, *runs):
    """Sum over slabs of what `run(table, start, stop)` adds to tables of zeros, for each run."""
    starts = range(0, voxels, _pool.SLAB)
    tables = np.zeros((len(runs), len(starts), *shape), dtype)
    _pool.run(
        [
            partial(run, table, start, min(start + _pool.SLAB, voxels))
            for run, own in zip(runs, tables, strict=True)
            for start, table in zip(starts, own, strict=True)
        ]
    )
    return tables


def overlap(prediction, target, classes):
    """(items, classes, 3) counts of (items, voxels): in both, in the first, in the second."""
    prediction, target = same_type(prediction), same_type(target)
    runs = [partial(_overlap, p, t) for p, t in zip(prediction, target, strict=True)]
    return _in_slabs(prediction.shape[1], (max(classes, 2), 3), np.int64, *runs).sum(1)


def _sums(voxels, *runs):
    """One float64 per run, of `run(sums, at, start, stop)` over slabs."""

    def one(run, table, start, stop):
        run(table, 0, start, stop)

    return _in_slabs(voxels, (1,), np.float64, *(partial(one, run) for run in runs)).sum((1, 2))


def squared_difference(first, second):
    """Sum of the squared differences of each item of (items, voxels)."""
    first, second = same_type(first), same_type(second)
    runs = [partial(_squares, a, b) for a, b in zip(first, second, strict=True)]
    return _sums(first.shape[1], *runs)


def entropy(values, two_sided):
    """Entropy of each item of (items, values)."""
    return _sums(values.shape[1], *(partial(_entropy, v, two_sided) for v in same_type(values)))


def deviation(values):
    """Of (items, classes, voxels): the least value, the largest distance of a sum from 1."""
    runs = [partial(_deviation, item) for item in same_type(values)]
    found = _in_slabs(values.shape[2], (2,), np.float64, *runs)
    return found[..., 0].min(initial=0), found[..., 1].max(initial=0)


def reliability(values, labels, bins):
    """(items, bins, 3) sums of (items, classes, voxels): count, confidence, right.

    And what `deviation` finds; with NaN or infinity, the sums mean nothing.
    """
    edges = (np.arange(bins + 1) / bins).astype(values.dtype)
    edges[-1] = np.inf
    values, labels = same_type(values), same_type(labels)

    def one(item, own, table, start, stop):
        _reliability(item, own, edges, table[:-1], table[-1, :2], start, stop)

    runs = [partial(one, v, t) for v, t in zip(values, labels, strict=True)]
    tables = _in_slabs(values.shape[2], (bins + 1, 3), np.float64, *runs)
    least, most = tables[:, :, -1, 0].min(initial=0), tables[:, :, -1, 1].max(initial=0)
    return tables[:, :, :-1].sum(1), least, most


def levels(values, target, edges):
    """(items, edges + 1, 2) counts of (items, voxels) by how many edges a value reaches."""
    values, target = same_type(values), same_type(target)
    edges = edges.astype(values.dtype)
    runs = [partial(_levels, v, t, edges) for v, t in zip(values, target, strict=True)]
    return _in_slabs(values.shape[1], (edges.size + 1, 2), np.int64, *runs).sum(1)


def adaptive_calibration(values, labels, threshold, ranges):
    """Mean over (classes, ranges) of |accuracy - confidence|, for each of (items, classes, voxels).

    Each class's probabilities above the threshold are sorted, and cut into ranges of equal mass.
    """
    items, classes, _ = values.shape
    found = np.empty((items, classes))

    def one(item, c):
        own = values[item, c]
        kept = np.flatnonzero(own > threshold)
        kept = kept[np.argsort(own[kept], kind="stable")]
        right = labels[item, kept] == (c if classes > 1 else 1)
        edges = np.arange(ranges + 1) * kept.size // ranges
        sizes = np.diff(edges)
        gaps = np.zeros(ranges)
        if kept.size:
            surplus = np.concatenate(([0.0], np.cumsum(own[kept] - right, dtype=np.float64)))
            np.divide(np.diff(surplus[edges]), sizes, out=gaps, where=sizes > 0)
        found[item, c] = abs(gaps).sum() / ranges

    _pool.run([partial(one, item, c) for item in range(items) for c in range(classes)])
    return found.mean(1)
