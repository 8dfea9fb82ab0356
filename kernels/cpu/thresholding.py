"""Thresholds of probability maps without sorting, and masks.

Where a score is largest, Dinkelbach's passes find it (`_dinkelbach`). The value of a rank, and both
of maps that come in chunks, are found by a descent through the digits of their bits.

The bits of floats in [0, 1] order as the floats do. A level counts and sums, per value of the next
ten bits, the voxels that share the digits found so far; within such a bin all values have one
exponent, so their sum is exact in integers, whatever the order. The optimum is bracketed by one
bin after the other until a bin is a single value: three levels for float32, seven for float64, of
which the first looks at all voxels, the others where some share the digits found so far.
"""

import math
from fractions import Fraction
from functools import partial

import numpy as np

from gfnoise._shared.digits import BINS, DIGITS, HALF, NO_RANK, OF_THE_MASS
from gfnoise._shared.scores import score_of

from . import _pool
from ._dinkelbach import TIE, best_thresholds
from ._jit import as_writable, device, kernel
from ._maps import BLOCK, CHUNK, parts

NOWHERE = np.uint64((1 << 64) - 1)  # a prefix that no value has
_GROUP = 1 << 10  # tables held at once
_ONE = np.uint64(1 << 44)  # a voxel; below it there is room for the halves of CHUNK remainders


# --- kernels ------------------------------------------------------------------------------------


@device
def _has_any(block, prefix, above):
    """Whether a block has a value, other than zero, that starts with the prefix."""
    code = block.dtype.type
    unsigned, shift, head = ~(code(1) << code(8 * block.itemsize - 1)), code(above), code(prefix)
    found = code(0)
    for i in range(BLOCK):  # a fixed length, without a branch: vectors
        value = block[i] & unsigned  # -0.0 is 0
        found |= code((value != 0) & (value >> shift == head))
    return found != 0


@device
def _tally_block(block, prefix, above, shift, bins, packed):
    """Count the values per digit, and sum what is left of their bits: in `packed`, as in `_tally`.

    Neighbours mostly share a digit: in turns, they go to two tables, and do not wait for each
    other.
    """
    unsigned = ~(np.uint64(1) << np.uint64(8 * block.itemsize - 1))
    rest = (np.uint64(1) << np.uint64(shift)) - np.uint64(1)
    low = np.uint64((1 << HALF) - 1)
    turn = 0
    for i in range(block.size):
        value = np.uint64(block[i]) & unsigned
        if value == 0 or value >> above != prefix:
            continue
        digit, remainder = (value >> np.uint64(shift)) & bins, value & rest
        packed[turn, 0, digit] += _ONE + (remainder & low)
        if block.itemsize == 8:
            packed[turn, 1, digit] += remainder >> np.uint64(HALF)
        turn ^= 1


@kernel
def _tally(bits, prefix, shift, width, table, left, start, stop):
    """Count the voxels per digit that share a prefix, and sum what is left of their bits.

    `left` says of each block whether any of its voxels may share the prefix, and then whether any
    does: of those that share the next prefix, which is longer, none is elsewhere.
    """
    above, bins = np.uint64(shift + width), np.uint64((1 << width) - 1)
    # A word has the count and the sum of the lower halves, of float64 another that of the upper.
    packed = np.zeros((2, bits.itemsize // 4, BINS), np.uint64)
    for first in range(start, stop, BLOCK):
        if not left[first // BLOCK]:
            continue
        block = bits[first : min(first + BLOCK, stop)]
        if block.size == BLOCK and not _has_any(block, prefix, above):
            left[first // BLOCK] = False
            continue
        _tally_block(block, prefix, above, shift, bins, packed)
    for digit in range(BINS):
        if packed[0, 0, digit] | packed[1, 0, digit] == 0:  # most of a small map's
            continue
        for turn in range(2):
            table[digit, 0] += np.int64(packed[turn, 0, digit] // _ONE)
            table[digit, 1] += np.int64(packed[turn, 0, digit] % _ONE)
            if bits.itemsize == 8:
                table[digit, 2] += np.int64(packed[turn, 1, digit])


@kernel
def tally_maps(bits, prefixes, shift, width, tables, left, first, last, start, stop):
    """`_tally` for several maps, (maps, voxels)."""
    for m in range(first, last):
        _tally(bits[m], prefixes[m], shift, width, tables[m], left[m], start, stop)


@device
def _add(total, carry, value):
    """Compensated sum (Neumaier)."""
    new = total + value
    if abs(total) >= abs(value):
        carry += (total - new) + value
    else:
        carry += (value - new) + total
    return new, carry


@device
def _bin_sum(table, digit, edge, unit):
    return table[digit, 0] * edge + (table[digit, 1] + table[digit, 2] * 2.0**HALF) * unit


@device
def _mass(table, edges, units):
    """The sum of a map, from its first table."""
    total, carry = 0.0, 0.0
    for digit in range(edges.size):
        total, carry = _add(total, carry, _bin_sum(table, digit, edges[digit], units[digit]))
    return total + carry


@device
def _next_digit(table, edges, units, state, weight, rank):
    """Choose a digit, from the largest down; also the threshold, if its bin is a single value.

    `state` is (voxels above the bin, their sum, its carry, sum of the map). With rank < 0 the bin
    is that of the least value at or above the root of ``sum (m - t)+ = t weight sum m`` or, if all
    values are above it, the last; else it is that of the rank-th largest value, of which there may
    be none but the zeros, which are not counted.
    """
    above, total, carry, mass = np.int64(state[0]), state[1], state[2], state[3]
    count, new, rest = above, total, carry
    digit, edge, found = -1, 0.0, False
    for bin_ in range(edges.size - 1, -1, -1):
        if table[bin_, 0] == 0:
            continue
        if digit >= 0:
            above, total, carry = count, new, rest
        digit, edge = bin_, edges[bin_]
        count = above + table[bin_, 0]
        new, rest = _add(total, carry, _bin_sum(table, bin_, edge, units[bin_]))
        if rank >= 0:
            found = count >= rank
        else:
            found = new + rest >= edge * (count + weight * mass) * (1 - 0.5 * TIE)
        if found:
            break
    if digit < 0 or (rank >= 0 and not found):
        return -1, 0.0 if rank >= 0 else 0.5
    state[0], state[1], state[2] = above, total, carry
    if rank >= 0:
        return digit, edge
    # The bin's voxels belong to the optimal set, or are as good as out of it, or are out of it.
    threshold = max(
        (new + rest) / (count + weight * mass), (total + carry) / (above + weight * mass)
    )
    return digit, edge if abs(threshold - edge) <= TIE * threshold else threshold


@kernel
def descend(tables, prefixes, shift, width, states, weight, ranks, thresholds, scratch):
    """Fix the next digit of each map's threshold.

    `scratch` is (bits, floats), two views of the same BINS words. A rank of OF_THE_MASS becomes
    that of the sum of the map, rounded.
    """
    bits, floats = scratch
    bins = 1 << width
    edges, units = np.empty(bins), np.empty(bins)
    for m in range(prefixes.size):
        for digit in range(bins):
            bits[digit] = ((prefixes[m] << np.uint64(width)) | np.uint64(digit)) << np.uint64(shift)
        for digit in range(bins):
            edges[digit] = floats[digit]
            bits[digit] += np.uint64(1)
        for digit in range(bins):
            units[digit] = floats[digit] - edges[digit]
        if states[m, 3] < 0:
            states[m, 3] = _mass(tables[m], edges, units)
            if ranks[m] == OF_THE_MASS:
                ranks[m] = np.int64(states[m, 3] + 0.5)
        digit, thresholds[m] = _next_digit(tables[m], edges, units, states[m], weight, ranks[m])
        if digit >= 0:
            prefixes[m] = (prefixes[m] << np.uint64(width)) | np.uint64(digit)
        else:
            prefixes[m] = NOWHERE


@kernel
def _mask(values, threshold, strict, out, start, stop):
    for i in range(start, stop):
        out[i] = values[i] > threshold if strict else values[i] >= threshold


@kernel
def _mask_first(values, threshold, rank, out):
    """The `rank` largest values, of those equal to the threshold the first."""
    left = rank
    for i in range(values.size):
        left -= values[i] > threshold
    for i in range(values.size):
        tied = values[i] == threshold and left > 0
        left -= tied
        out[i] = values[i] > threshold or tied


@kernel
def _levels(votes, counts, start, stop):
    most = counts.size - 1
    for i in range(start, stop):
        counts[min(np.int64(votes[i]), most)] += 1  # another thread may change checked votes


@kernel
def _overlap(segmentation, values, start, stop):
    """Sum of the values inside the segmentation and of all, and its size."""
    inside, total, size = 0.0, 0.0, 0
    for i in range(start, stop):
        value = np.float64(values[i])
        total += value
        if segmentation[i] != 0:
            inside += value
            size += 1
    return inside, total, size


# --- launching ----------------------------------------------------------------------------------


def every_block(maps, voxels):
    """What is `left` of (maps, voxels) before the first digit."""
    return np.ones((maps, -(-voxels // BLOCK)), np.bool_)


def optimal_threshold(maps, *, weight, rank):
    """The threshold of each of (maps, voxels), and its rank.

    The rank is NO_RANK for the root of ``sum (m - t)+ = t weight sum m``, OF_THE_MASS for the value
    at the rank of the map's sum, or given.
    """
    thresholds, ranks = np.empty(len(maps)), np.full(len(maps), rank, np.int64)
    maps = as_writable(maps)
    if rank == NO_RANK:
        return best_thresholds(maps, weight), ranks
    bits = maps.view(f"u{maps.itemsize}")
    for first in range(0, len(maps), _GROUP):
        group = slice(first, first + _GROUP)
        _threshold_group(bits[group], maps.dtype, weight, ranks[group], thresholds[group])
    thresholds[ranks == 0] = np.inf
    return thresholds, ranks


def _threshold_group(bits, dtype, weight, ranks, thresholds):
    maps, voxels = bits.shape
    tasks = parts(maps, voxels)
    if voxels > CHUNK:  # the threads share a map: each lane of tasks has a table of its own
        lanes = min(_pool.threads(), len(tasks))
        tables = np.empty((lanes, maps, BINS, 3), np.int64)
        shares = [(tables[lane], tasks[lane::lanes]) for lane in range(lanes)]
    else:
        tables = np.empty((1, maps, BINS, 3), np.int64)
        shares = [(tables[0], [task]) for task in tasks]
    prefixes, states = np.zeros(maps, np.uint64), np.zeros((maps, 4))
    states[:, 3] = -1
    words, left = np.empty(BINS, bits.dtype), every_block(maps, voxels)
    shift = sum(DIGITS[dtype.itemsize])
    for width in DIGITS[dtype.itemsize]:
        shift -= width
        tables[...] = 0
        args = (bits, prefixes, shift, width)
        _pool.run([partial(_tally_tasks, *args, left, *share) for share in shares])
        total = tables[0] if len(tables) == 1 else tables.sum(0)
        scratch = words, words.view(dtype)
        descend(total, prefixes, shift, width, states, weight, ranks, thresholds, scratch)


def _tally_tasks(bits, prefixes, shift, width, left, tables, tasks):
    for task in tasks:
        tally_maps(bits, prefixes, shift, width, tables, left, *task)


def count_votes(votes, raters):
    """How many voxels of (maps, voxels) have 0, 1, ... votes: (maps, raters + 1)."""
    votes = as_writable(votes)
    slabs = _pool.slabs(votes.shape[1], CHUNK)
    lanes = max(1, min(_pool.threads(), len(slabs)))
    tables = np.zeros((len(votes), lanes, raters + 1), np.int64)

    def lane(map_, number):
        for slab in slabs[number::lanes]:
            _levels(votes[map_], tables[map_, number], *slab)

    _pool.run([partial(lane, m, number) for m in range(len(votes)) for number in range(lanes)])
    return tables.sum(1)


def optimal_level(votes, *, raters, weight, metric, rank):
    """As `optimal_threshold` for integer votes (maps, voxels), in exact arithmetic.

    Returns the thresholds as fractions of `raters`, the least votes of the largest and of the
    smallest optimal set, and the ranks.
    """
    counts = count_votes(votes, raters)
    return decide_votes(counts, raters=raters, weight=weight, metric=metric, rank=rank)


def decide_votes(counts, *, raters, weight, metric, rank):
    """As `optimal_level`, of the counts of each map's votes."""
    rows = [_solve(tally.tolist(), raters, weight, metric, rank) for tally in counts]
    thresholds, ranks = [threshold for threshold, _ in rows], [rank for _, rank in rows]
    # Votes are integers: v >= raters t where v >= ceil(raters t), v > raters t beyond its floor.
    largest = [math.ceil(raters * t) if t <= 1 else raters + 1 for t in thresholds]
    smallest = [math.floor(raters * t) + 1 if t <= 1 else raters + 1 for t in thresholds]
    found = np.array([float(t) for t in thresholds], np.float64)
    return found, np.array(largest), np.array(smallest), np.array(ranks, np.int64)


def _solve(tally, raters, weight, metric, rank):
    """Threshold, as a Fraction or inf, and rank of one map whose level v has tally[v] voxels."""
    mass = sum(level * count for level, count in enumerate(tally))  # in votes
    if metric == "accuracy":
        return Fraction(1, 2), NO_RANK
    if metric == "volume":
        if rank == OF_THE_MASS:
            rank = (2 * mass + raters) // (2 * raters)
        above = 0
        for level in range(raters, -1, -1):
            above += tally[level]
            if 0 < rank <= above:
                return Fraction(level, raters), rank
        return math.inf, 0
    if mass == 0:
        return Fraction(1, 2), NO_RANK
    # (inside / raters) / (size + weight mass / raters), as a numerator and a denominator.
    best, inside, size = (0, 1), 0, 0
    for level in range(raters, 0, -1):
        if not tally[level]:
            continue
        inside += level * tally[level]
        size += tally[level]
        top = weight.denominator * inside
        bottom = weight.denominator * raters * size + weight.numerator * mass
        if top * best[1] > best[0] * bottom:
            best = top, bottom
    return Fraction(*best), NO_RANK


def segment(maps, out, *, thresholds, strict, ranks):
    """Fill (maps, voxels) with values >= thresholds, or >, or the largest of each map's rank."""
    maps = as_writable(maps)
    if ranks is not None:
        for m, (threshold, rank) in enumerate(zip(thresholds, ranks, strict=True)):
            _mask_first(maps[m], threshold, rank, out[m])
        return
    slabs = _pool.slabs(maps.shape[1], CHUNK)
    _pool.run(
        [
            partial(_mask, values, threshold, strict, to, *slab)
            for values, threshold, to in zip(maps, thresholds, out, strict=True)
            for slab in slabs
        ]
    )


def score(segmentation, maps, *, metric, weight):
    """The scores of segmentations (maps, voxels), bytes, for maps of values."""
    segmentation, maps = as_writable(segmentation), as_writable(maps)
    count, voxels = maps.shape
    slabs = _pool.slabs(voxels, CHUNK)
    sums = np.zeros((count, len(slabs), 3))

    def task(m, i):
        sums[m, i] = _overlap(segmentation[m], maps[m], *slabs[i])

    _pool.run([partial(task, m, i) for m in range(count) for i in range(len(slabs))])
    return score_of(metric, weight, *sums.sum(1).T, voxels)
