"""Fusing the labels of several raters: votes, patterns of votes, and the EM of STAPLE."""

from functools import partial

import numpy as np

from . import _pool
from ._jit import device, kernel, same_type
from ._random import philox4x32

_BLOCK = 1 << 12  # voxels whose votes stay in cache
MAX_TABLE = 1 << 16  # patterns that are counted in a table; more are sorted
_LAST = np.uint64((1 << 64) - 1)  # an index, and below a rater, that no field draws from
_NOBODY = np.uint32((1 << 32) - 1)


# --- kernels ------------------------------------------------------------------------------------


@device
def _count_votes(codes, raters, own, left, width, votes):
    """How many raters have a label, in a block of voxels."""
    for i in range(width):
        votes[i] = 0
    for r in raters:
        row = codes[r, left : left + width]
        for i in range(width):
            votes[i] += row[i] == own


@kernel
def _average(codes, raters, first, out, start, stop):
    """Share of the raters: codes (raters, voxels), out (classes, voxels) from `first` on."""
    votes = np.empty(_BLOCK, np.uint16)
    share = 1 / raters.size
    for left in range(start, stop, _BLOCK):
        width = min(_BLOCK, stop - left)
        for c in range(out.shape[0]):
            _count_votes(codes, raters, codes.dtype.type(c + first), left, width, votes)
            target = out[c, left : left + width]
            for i in range(width):
                target[i] = np.float32(votes[i] * share)


@kernel
def _agree(codes, raters, first, least, out, start, stop):
    """Whether at least so many raters have a class: out (classes, voxels) as for `_average`."""
    votes = np.empty(_BLOCK, np.uint16)
    for left in range(start, stop, _BLOCK):
        width = min(_BLOCK, stop - left)
        for c in range(out.shape[0]):
            _count_votes(codes, raters, codes.dtype.type(c + first), left, width, votes)
            target = out[c, left : left + width]
            for i in range(width):
                target[i] = votes[i] >= least


@device
def _precedes(code, other, sign, largest):
    """Whether a label wins a tie with another."""
    return ((code ^ sign) > (other ^ sign)) == largest


@kernel
def _majority(codes, raters, sign, largest, out, start, stop):
    """The label that most raters have, (raters, voxels) to (voxels,)."""
    first = codes[raters[0]]
    for i in range(start, stop):
        out[i] = first[i]
    for i in range(start, stop):
        equal = True
        for r in raters:
            equal &= codes[r, i] == first[i]
        if equal:
            continue
        best, most = first[i], 0
        for r in raters:
            code, votes = codes[r, i], 0
            for s in raters:
                votes += codes[s, i] == code
            if votes > most or (votes == most and _precedes(code, best, sign, largest)):
                best, most = code, votes
        out[i] = best


@kernel
def _choose(seeds, numbers, counts, out):
    """A rater per item, of the stream (seed, item): uniform in range(counts[item])."""
    for i in range(seeds.size):
        word, _, _, _ = philox4x32(
            np.uint32(_LAST & np.uint64(_NOBODY)),
            np.uint32(numbers[i]),
            _NOBODY,
            _NOBODY,
            np.uint32(seeds[i] & np.uint64(_NOBODY)),
            np.uint32(seeds[i] >> np.uint64(32)),
        )
        out[i] = np.int64((np.uint64(word) * np.uint64(counts[i])) >> np.uint64(32))


@kernel
def _patterns(codes, raters, classes, out, start, stop):
    """What the raters said, as one number: digits of base `classes`, the first rater's lowest."""
    for i in range(start, stop):
        out[i] = 0
    for j in range(raters.size - 1, -1, -1):
        row = codes[raters[j]]
        for i in range(start, stop):
            out[i] = out[i] * out.dtype.type(classes) + out.dtype.type(row[i])


@kernel
def _count(patterns, table, start, stop):
    for i in range(start, stop):
        table[patterns[i]] += 1


@kernel
def _look_up(patterns, table, out, start, stop):
    """Fill (classes, voxels) with what the table (classes, patterns) says of each pattern."""
    for c in range(out.shape[0]):
        row, target = table[c], out[c]
        for i in range(start, stop):
            target[i] = row[patterns[i]]


# --- launching ----------------------------------------------------------------------------------


def _over(voxels, run, *args):
    """Tasks `run(*args, start, stop)` over slabs of voxels."""
    return [
        partial(run, *args, start, min(start + _pool.SLAB, voxels))
        for start in range(0, voxels, _pool.SLAB)
    ]


def _over_items(codes, annotated, run, out, *args):
    """Run `run(codes, raters, *args, out, start, stop)` over the slabs of all items.

    An argument that is a function is asked for its value for so many raters.
    """
    codes, tasks = same_type(codes), []
    for item in range(len(codes)):
        raters = np.flatnonzero(annotated[item])
        own = [arg(raters.size) if callable(arg) else arg for arg in args]
        tasks += _over(codes.shape[-1], run, codes[item], raters, *own, out[item])
    _pool.run(tasks)


def _at_least(codes, annotated, out, first, least):
    """Fill (items, classes, voxels) of bool: what at least `least(raters)` raters marked."""
    _over_items(codes, annotated, _agree, out, first, least)


def average(codes, annotated, out, *, first):
    """Fill (items, classes, voxels) with votes in [0, 1]; codes are (items, raters, voxels).

    `first` is the first class that is asked for.
    """
    _over_items(codes, annotated, _average, out, first)


def union(codes, annotated, out, *, first):
    """Fill (items, classes, voxels) of bool: what any rater marked."""
    _at_least(codes, annotated, out, first, lambda raters: 1)


def intersection(codes, annotated, out, *, first):
    """Fill (items, classes, voxels) of bool: what every rater marked."""
    _at_least(codes, annotated, out, first, lambda raters: raters)


def majority(codes, annotated, out, *, sign, largest, binary):
    """Fill (items, voxels) with the label of most raters, of ties the largest or smallest.

    `binary`: all codes are 0 or 1, of one byte.
    """
    if binary:
        marked = out.view(bool)[:, None]  # (items, 1, voxels)
        half = (lambda raters: (raters + 1) // 2) if largest else (lambda raters: raters // 2 + 1)
        _at_least(codes, annotated, marked, 1, half)
        return
    _over_items(codes, annotated, _majority, out, sign, largest)


def choose(seeds, numbers, annotated):
    """Index of a rater per item, of those who annotated it."""
    ranks = np.empty(len(seeds), np.int64)
    _choose(seeds, numbers, annotated.sum(1), ranks)
    order = np.argsort(~annotated, axis=1, kind="stable")
    return order[np.arange(len(seeds)), ranks]


def staple(codes, raters, out, *, classes, prior, iterations, tolerance):
    """Estimate one item's truth: codes (raters, voxels), out (classes, voxels) or (1, voxels).

    Returns the prior, the confusion matrices (raters, truth, said) and the number of iterations.
    A single row of `out` is the last class: the foreground of two.
    """
    voxels = codes.shape[1]
    size = classes**raters.size
    small = size <= MAX_TABLE
    kind = np.uint8 if size <= 256 else np.uint16 if small else np.uint64
    patterns = np.empty(voxels, kind)
    _pool.run(_over(voxels, _patterns, same_type(codes), raters, classes, patterns))
    if small:
        counts = _histogram(patterns, size)
        met = np.flatnonzero(counts)
        counts = counts[met]
    else:
        met, inverse, counts = np.unique(patterns, return_inverse=True, return_counts=True)
        patterns = inverse
    place = np.array([classes**j for j in range(raters.size)], kind)
    said = (met[:, None].astype(kind) // place % kind(classes)).astype(np.int64)
    truth, prior, confusion, taken = expectation_maximisation(
        said, counts.astype(np.float64), classes, prior, iterations, tolerance
    )
    table = np.zeros((len(out), size if small else len(met)), np.float32)
    table[:, met if small else slice(None)] = truth[-len(out) :]
    _pool.run(_over(voxels, _look_up, patterns, table, out))
    return prior, confusion, taken


def _histogram(patterns, size):
    """How many voxels have each pattern."""
    starts = range(0, patterns.size, max(_pool.SLAB, 4 * size))
    tables = np.zeros((len(starts), size), np.int64)
    step = starts.step
    _pool.run(
        [
            partial(_count, patterns, table, start, min(start + step, patterns.size))
            for start, table in zip(starts, tables, strict=True)
        ]
    )
    return tables.sum(0)


def expectation_maximisation(said, counts, classes, prior, iterations, tolerance):
    """STAPLE on patterns: `said` (patterns, raters), each met `counts` times.

    Starts as SimpleITK does: the prior is the raters' mean, every rater is right with probability
    0.99999. Returns P(truth | pattern) as (classes, patterns), prior, confusion matrices
    and iterations. A class without mass keeps perfect raters.
    """
    raters = said.shape[1]
    if prior is None:
        prior = np.array([(counts @ (said == c)).sum() for c in range(classes)])
        prior = prior / (counts.sum() * raters)
    eye = np.eye(classes)
    confusion = np.broadcast_to(
        np.where(eye == 1, 0.99999, 1e-5 / max(classes - 1, 1)), (raters, classes, classes)
    ).copy()
    votes = [np.eye(classes)[said[:, r]] * counts[:, None] for r in range(raters)]
    truth = _expectation(said, prior, confusion)
    taken = 0
    while taken < iterations:
        taken += 1
        new = confusion.copy()
        mass = truth @ counts
        for r in range(raters):
            joint = truth @ votes[r]
            np.divide(joint, mass[:, None], out=new[r], where=mass[:, None] > 0)
            new[r, mass == 0] = eye[mass == 0]
        change = abs(new - confusion).max()
        confusion = new
        truth = _expectation(said, prior, confusion)
        if change <= tolerance:
            break
    return truth, prior, confusion, taken


def _expectation(said, prior, confusion):
    """P(truth | pattern), in logarithms: products of many raters underflow."""
    with np.errstate(divide="ignore"):
        log = np.log(prior)[:, None] + sum(
            np.log(confusion[r])[:, said[:, r]] for r in range(said.shape[1])
        )
    top = log.max(0)
    odd = ~np.isfinite(top)  # a pattern that no truth explains
    likelihood = np.exp(log - np.where(odd, 0, top))
    likelihood[:, odd] = prior[:, None]
    return likelihood / likelihood.sum(0)
