"""Metrics by one pass over the voxels: counts, squared differences, entropies, calibration."""

import math
from functools import partial

import numpy as np

from . import _pool
from ._jit import as_writable, device, kernel, not_inlined

_BLOCK = 256  # sums side by side, one for each voxel of a block
_PART = 512  # voxels whose classes are compared together: they stay in the nearest cache
_STRIP = 4096  # voxels whose labels are compared in pairs: those of all stay in the second cache
_APART = 4  # sums side by side, which do not wait for each other
# Where a number of 64 bits holds sums over a part: confidences, then counts of up to 2^10.
_UNIT, _COUNT, _RIGHT = 29, 40, 51
_MANY = (1 << (_RIGHT - _COUNT)) - 1
_FINE = 1 << 20  # bins that float32 no longer tells apart


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
    last = counts.shape[0] - 1
    for i in range(start, stop):  # another thread may change checked labels
        p, t = min(np.int64(prediction[i]), last), min(np.int64(target[i]), last)
        counts[p, 1] += 1
        counts[t, 2] += 1
        if p == t:
            counts[t, 0] += 1


@kernel
def _pairs(labels, pairs, counts, start, stop):
    """Per pair of labels and class above 0: voxels in both, (pairs, classes - 1)."""
    for left in range(start, stop, _STRIP):
        width = min(_STRIP, stop - left)
        for k in range(pairs.shape[0]):
            one = labels[pairs[k, 0], left : left + width]
            other = labels[pairs[k, 1], left : left + width]
            if counts.shape[1] == 1:
                both = np.int32(0)
                for i in range(width):
                    both += np.int32(one[i] & other[i])
                counts[k, 0] += both
            else:
                for i in range(width):
                    if one[i] != 0 and one[i] == other[i]:
                        counts[k, np.int64(one[i]) - 1] += 1


@kernel
def _squares(first, second, found, start, stop):
    """Sum of the squared differences, and how many values are not in [0, 1]: (2,)."""
    apart = np.zeros(_BLOCK)  # a sum of its own for each voxel of a block: vectorised
    outside = np.int64(0)
    for left in range(start, stop, _BLOCK):
        width = min(_BLOCK, stop - left)
        one, other = first[left : left + width], second[left : left + width]
        for i in range(width):
            difference = np.float64(one[i]) - np.float64(other[i])
            apart[i] += difference * difference
        outside += _count_outside(one) + _count_outside(other)
    found[0], found[1] = apart.sum(), outside


@device
def _count_outside(values):
    """How many values are not in [0, 1]; NaN is not."""
    zero, one = values.dtype.type(0), values.dtype.type(1)
    outside = np.int32(0)
    for i in range(values.size):
        outside += np.int32(1) - (np.int32(values[i] >= zero) & np.int32(values[i] <= one))
    return outside


@device
def _log_share(p):
    return p * math.log(p) if p > 0 else 0.0


@kernel
def _entropy(values, two_sided, found, start, stop):
    total = 0.0
    for i in range(start, stop):
        p = np.float64(values[i])
        total -= _log_share(p)
        if two_sided:
            total -= _log_share(1 - p)
    found[0] = total


@not_inlined
def _scan(values, left, width, tolerance, total, top, best):
    """The largest probability of a block of voxels, and its class: of equals the first.

    `values` are (classes, voxels). Returned is how many are below 0, and voxels whose sum is not 1,
    or NaN: counted, as a maximum would not be vectorised. A single row is the foreground of two
    classes, and not looked at.
    """
    zero, one = values.dtype.type(0), values.dtype.type(1)
    odd = np.int32(0)
    row = values[0, left : left + width]
    if values.shape[0] == 1:
        for i in range(width):
            rest = one - row[i]
            best[i] = row[i] > rest
            top[i] = max(row[i], rest)
        return odd
    for i in range(width):
        total[i] = row[i]
        top[i] = row[i]
        best[i] = 0
        odd += np.int32(row[i] < zero)
    for c in range(1, values.shape[0]):
        own, row = np.int32(c), values[c, left : left + width]
        for i in range(width):
            # Without a branch, which would keep the loop from being vectorised.
            best[i] += (own - best[i]) * np.int32(row[i] > top[i])
            top[i] = max(top[i], row[i])
            total[i] += row[i]
            odd += np.int32(row[i] < zero)
    for i in range(width):
        odd += np.int32(1) - np.int32(abs(total[i] - one) <= tolerance)
    return odd


@kernel
def _improper(values, tolerance, found, start, stop):
    """What `_scan` returns, of the voxels [start, stop) of several classes."""
    total, top = np.empty(_PART, values.dtype), np.empty(_PART, values.dtype)
    best = np.empty(_PART, np.int32)
    for left in range(start, stop, _PART):
        found[0] += _scan(values, left, min(_PART, stop - left), tolerance, total, top, best)


@not_inlined
def _place(top, width, bins, more, place):
    """Where a voxel's confidence is counted: its bin, of the sums that its neighbours have not.

    Bins are [k / bins, (k + 1) / bins), of rounded edges, the last closed. `more` is a little more
    than `bins`: the product finds the bin or the next one, and the edge between them decides.
    """
    one, count, last = top.dtype.type(1), top.dtype.type(bins), np.int32(bins - 1)
    for i in range(width):
        confidence = min(top[i], one)
        k = np.int32(confidence * more)
        k -= np.int32(confidence < top.dtype.type(k) / count)
        place[i] = min(k, last) + np.int32(i % _APART) * np.int32(bins)


@not_inlined
def _words(top, best, labels, width, words):
    """Each voxel as one number: confidence, count, and whether its class is the label."""
    one, unit = top.dtype.type(1), top.dtype.type(1 << _UNIT)
    for i in range(width):
        right = np.int64(best[i] == np.int32(labels[i]))
        share = np.int64(np.int32(min(top[i], one) * unit))
        words[i] = share + (np.int64(1) << _COUNT) + (right << _RIGHT)


@not_inlined
def _settle(sums, table):
    """Add up the sums (apart * bins,) of a part, and leave zeros."""
    bins = table.shape[0]
    for k in range(bins):
        total = np.int64(0)
        for apart in range(_APART):
            total += sums[apart * bins + k]
            sums[apart * bins + k] = 0
        table[k, 0] += (total >> _COUNT) & _MANY
        table[k, 1] += (total & ((np.int64(1) << _COUNT) - 1)) / (1 << _UNIT)
        table[k, 2] += total >> _RIGHT


@kernel
def _reliability(values, labels, bins, more, tolerance, found, start, stop):
    """Per bin of confidence: voxels, sum of confidences, voxels that are right, (bins, 3).

    `values` are (classes, voxels); of several, `found` has one more row that is told how many are
    no probabilities, and if there are any, the rest is left out. A voxel is one number: its
    confidence in units of 2^-29, above it a one for the count, above that one if it is right; a
    block of them fits into 64 bits. Neighbours, which often share a bin, add to sums apart.
    """
    total, top = np.empty(_PART, values.dtype), np.empty(_PART, values.dtype)
    best, place = np.empty(_PART, np.int32), np.empty(_PART, np.int32)
    words = np.empty(_PART, np.int64)
    sums = np.zeros(_APART * bins, np.int64)
    table = np.zeros((bins, 3))  # not shared: tables of other threads may be next to `found`
    for left in range(start, stop, _PART):
        width = min(_PART, stop - left)
        odd = _scan(values, left, width, tolerance, total, top, best)
        if odd:
            found[bins, 0] = odd
            return
        _place(top, width, bins, more, place)
        _words(top, best, labels[left : left + width], width, words)
        for i in range(width):
            sums[min(np.uint32(place[i]), np.uint32(sums.size - 1))] += words[i]
        _settle(sums, table)
    found[:bins] = table


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


def _share():
    """Voxels of a task: these do little to each."""
    return 4 * _pool.SLAB


def _in_slabs(voxels, shape, dtype, *runs):
    """Sum over slabs of what `run(table, start, stop)` adds to tables of zeros, for each run."""
    slabs = _pool.slabs(voxels, _share())
    tables = np.zeros((len(runs), len(slabs), *shape), dtype)
    _pool.run(
        [
            partial(run, table, *slab)
            for run, own in zip(runs, tables, strict=True)
            for slab, table in zip(slabs, own, strict=True)
        ]
    )
    return tables


def overlap(prediction, target, classes):
    """(items, classes, 3) counts of (items, voxels): in both, in the first, in the second."""
    prediction, target = as_writable(prediction), as_writable(target)
    runs = [partial(_overlap, p, t) for p, t in zip(prediction, target, strict=True)]
    return _in_slabs(prediction.shape[1], (max(classes, 2), 3), np.int64, *runs).sum(1)


def pairs(labels, pairs, classes):
    """(items, pairs, classes - 1) counts of (items, labels, voxels): voxels in both of a pair.

    `pairs` are (pairs, 2). One table per thread, not per slab: there are many pairs.
    """
    items, _, voxels = labels.shape
    slabs = _pool.slabs(voxels, max(_share(), -(-voxels // _pool.threads())))
    tables = np.zeros((items, len(slabs), len(pairs), classes - 1), np.int64)
    _pool.run(
        [
            partial(_pairs, item, pairs, table, *slab)
            for item, own in zip(as_writable(labels), tables, strict=True)
            for slab, table in zip(slabs, own, strict=True)
        ]
    )
    return tables[:, 0] if len(slabs) == 1 else tables.sum(1)


def squared_difference(first, second):
    """Sum of the squared differences of each item of (items, voxels).

    And how many values of both are not in [0, 1].
    """
    first, second = as_writable(first), as_writable(second)

    runs = [partial(_squares, a, b) for a, b in zip(first, second, strict=True)]
    tables = _in_slabs(first.shape[1], (2,), np.float64, *runs).sum(1)
    return tables[:, 0], bool(tables[:, 1].any())


def entropy(values, two_sided):
    """Entropy of each item of (items, values)."""
    runs = [partial(_entropy, item, two_sided) for item in as_writable(values)]
    return _in_slabs(values.shape[1], (1,), np.float64, *runs).sum((1, 2))


def improper(values, tolerance):
    """0 where all voxels of (items, classes, voxels) have probabilities that sum to 1."""
    limit = values.dtype.type(tolerance)
    runs = [partial(_improper, item, limit) for item in as_writable(values)]
    return int(_in_slabs(values.shape[2], (1,), np.int64, *runs).sum())


def reliability(values, labels, bins, tolerance):
    """(items, bins, 3) sums of (items, classes, voxels): count, confidence, right.

    And whether `improper` would find any; the sums mean nothing then.
    """
    if bins >= _FINE:
        values = values.astype(np.float64)
    number = values.dtype.type
    more = number(bins * (1 + 4 * np.finfo(number).eps))
    args = bins, more, number(tolerance)
    values, labels = as_writable(values), as_writable(labels)
    runs = [partial(_reliability, v, t, *args) for v, t in zip(values, labels, strict=True)]
    tables = _in_slabs(values.shape[2], (bins + 1, 3), np.float64, *runs)
    return tables[:, :, :-1].sum(1), bool(tables[:, :, -1].any())


def levels(values, target, edges):
    """(items, edges + 1, 2) counts of (items, voxels) by how many edges a value reaches."""
    values, target = as_writable(values), as_writable(target)
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
