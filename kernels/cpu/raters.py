"""Fusing the labels of several raters: votes, patterns of votes, and the EM of STAPLE."""

from functools import partial

import numpy as np

from . import _pool
from ._jit import as_writable, device, kernel
from ._random import philox4x32

_BLOCK = 1 << 12  # voxels whose votes stay in cache
MAX_TABLE = 1 << 16  # patterns that are counted in a table; more are sorted
_NOBODY = np.uint32((1 << 32) - 1)  # an index, and a rater, that no field draws from


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


@device
def _count_voters(codes, raters, silent, has_silent, left, width, voters):
    """How many raters have said anything, in a block of voxels."""
    if has_silent:
        _count_votes(codes, raters, silent, left, width, voters)
        for i in range(width):
            voters[i] = raters.size - voters[i]
    else:
        for i in range(width):
            voters[i] = raters.size


@kernel
def _average(codes, raters, first, silent, has_silent, out, start, stop):
    """Share of the raters: codes (raters, voxels), out (classes, voxels) from `first` on.

    A rater whose code is `silent` has said nothing; where none has, the share is 0.
    """
    votes, voters = np.empty((2, _BLOCK), np.uint16)
    for left in range(start, stop, _BLOCK):
        width = min(_BLOCK, stop - left)
        _count_voters(codes, raters, silent, has_silent, left, width, voters)
        for c in range(out.shape[0]):
            _count_votes(codes, raters, codes.dtype.type(c + first), left, width, votes)
            target = out[c, left : left + width]
            for i in range(width):
                target[i] = np.float32(votes[i]) / np.float32(max(voters[i], np.uint16(1)))


@kernel
def _agree(codes, raters, first, every, silent, has_silent, out, start, stop):
    """Whether any rater, or every one, has a class: out (classes, voxels) as for `_average`."""
    votes, voters = np.empty((2, _BLOCK), np.uint16)
    for left in range(start, stop, _BLOCK):
        width = min(_BLOCK, stop - left)
        _count_voters(codes, raters, silent, has_silent, left, width, voters)
        for c in range(out.shape[0]):
            _count_votes(codes, raters, codes.dtype.type(c + first), left, width, votes)
            target = out[c, left : left + width]
            for i in range(width):
                target[i] = votes[i] >= (max(voters[i], np.uint16(1)) if every else np.uint16(1))


@kernel
def _mark(codes, raters, least, out, strange, start, stop):
    """Whether at least so many raters, of at most 255, marked: codes (raters, voxels) of one byte.

    `strange` is told where a code is neither 0 nor 1; the result means nothing then.
    """
    seen = np.zeros(_BLOCK, np.uint8)
    for left in range(start, stop, _BLOCK):
        width = min(_BLOCK, stop - left)
        target = out[left : left + width]
        first = codes[raters[0], left : left + width]
        for i in range(width):
            target[i] = first[i]
            seen[i] |= first[i]
        for r in raters[1:]:
            row = codes[r, left : left + width]
            if least == 1:  # what any has marked
                for i in range(width):
                    target[i] |= row[i]
            elif least == raters.size:  # what every one has
                for i in range(width):
                    target[i] &= row[i]
            else:
                for i in range(width):
                    target[i] += row[i]
            for i in range(width):
                seen[i] |= row[i]
        if 1 < least < raters.size:
            for i in range(width):
                target[i] = target[i] >= least
    for code in seen:
        if code > 1:
            strange[0] = True


@device
def _precedes(code, other, sign, largest):
    """Whether a label wins a tie with another."""
    return ((code ^ sign) > (other ^ sign)) == largest


@kernel
def _majority(codes, raters, sign, largest, silent, has_silent, out, start, stop):
    """The label that most raters have, (raters, voxels) to (voxels,).

    That of a rater whose code is `silent` does not count; where all are, so is the result.
    """
    first = codes[raters[0]]
    differ = np.empty(_BLOCK, np.uint8)
    for left in range(start, stop, _BLOCK):
        width = min(_BLOCK, stop - left)
        own, target = first[left : left + width], out[left : left + width]
        for i in range(width):
            differ[i] = 0
            target[i] = own[i]
        for r in raters:
            row = codes[r, left : left + width]
            for i in range(width):
                differ[i] |= row[i] != own[i]
        for i in range(width):
            if differ[i] == 0:
                continue
            best, most = silent, 0
            for r in raters:
                code, votes = codes[r, left + i], 0
                if has_silent and code == silent:
                    continue
                for s in raters:
                    votes += codes[s, left + i] == code
                if votes > most or (votes == most and _precedes(code, best, sign, largest)):
                    best, most = code, votes
            target[i] = best


@kernel
def _choose(seeds, numbers, counts, out):
    """A rater per item, of the stream (seed, item): uniform in range(counts[item])."""
    for i in range(seeds.size):
        word, _, _, _ = philox4x32(
            _NOBODY,
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
    last = table.size - 1
    for i in range(start, stop):
        table[min(np.int64(patterns[i]), last)] += 1  # another thread may change checked masks


@kernel
def _count_together(truth, said, counts, joint):
    """Add up joint[c, s]: how often the truth is c and a rater says s.

    In no product of matrices: BLAS wakes threads of its own, which wait for one another.
    """
    for c in range(truth.shape[0]):
        for p in range(said.size):
            joint[c, said[p]] += truth[c, p] * counts[p]


@kernel
def _look_up(patterns, table, out, start, stop):
    """Fill (classes, voxels) with what the table (classes, patterns) says of each pattern."""
    for c in range(out.shape[0]):
        row, target = table[c], out[c]
        for i in range(start, stop):
            target[i] = row[min(np.int64(patterns[i]), row.size - 1)]


# --- launching ----------------------------------------------------------------------------------


def _over_items(codes, annotated, run, out, *args):
    """Run `run(codes, raters, *args, out, start, stop)` over the slabs of all items."""
    codes, tasks = as_writable(codes), []
    for item in range(len(codes)):
        raters = np.flatnonzero(annotated[item])
        given = codes[item], raters, *args, out[item]
        tasks += _pool.tasks(run, *given, size=codes.shape[-1])
    _pool.run(tasks)


def average(codes, annotated, out, *, first, silent):
    """Fill (items, classes, voxels) with votes in [0, 1]; codes are (items, raters, voxels).

    `first` is the first class that is asked for; `silent` the code of no answer, or None.
    """
    _over_items(codes, annotated, _average, out, first, *_code(codes, silent))


def union(codes, annotated, out, *, first, silent):
    """Fill (items, classes, voxels) of bool: what any rater marked."""
    _over_items(codes, annotated, _agree, out, first, False, *_code(codes, silent))


def intersection(codes, annotated, out, *, first, silent):
    """Fill (items, classes, voxels) of bool: what every rater marked who said anything."""
    _over_items(codes, annotated, _agree, out, first, True, *_code(codes, silent))


def majority(codes, annotated, out, *, sign, largest, silent):
    """Fill (items, voxels) with the label of most raters, of ties the largest or smallest."""
    _over_items(codes, annotated, _majority, out, sign, largest, *_code(codes, silent))


def mark(codes, annotated, out, *, least):
    """Fill (items, voxels) of bytes with what `least(raters)` raters marked, of 255 at most.

    Returns whether all codes, of one byte, are 0 or 1; else the result means nothing.
    """
    codes, tasks, strange = as_writable(codes), [], np.zeros(1, bool)
    for item in range(len(codes)):
        raters = np.flatnonzero(annotated[item])
        args = codes[item], raters, np.uint8(least(raters.size)), out[item], strange
        tasks += _pool.tasks(_mark, *args, size=codes.shape[-1], step=8 * _pool.SLAB)
    _pool.run(tasks)
    return not strange[0]


def _code(codes, silent):
    """The code of no answer, and whether there is one."""
    return codes.dtype.type(silent or 0), silent is not None


def choose(seeds, numbers, annotated):
    """Index of a rater per item, of those who annotated it."""
    ranks = np.empty(len(seeds), np.int64)
    _choose(seeds, numbers, annotated.sum(1), ranks)
    order = np.argsort(~annotated, axis=1, kind="stable")
    return order[np.arange(len(seeds)), ranks]


def staple(codes, raters, out, *, classes, silent, prior, iterations, tolerance):
    """Estimate one item's truth: codes (raters, voxels), out (classes, voxels) or (1, voxels).

    With `silent`, the code `classes` is that of no answer. Returns the prior, the confusion
    matrices (raters, truth, said) and the number of iterations.
    A single row of `out` is the last class: the foreground of two.
    """
    voxels = codes.shape[1]
    answers = classes + silent
    size = answers**raters.size
    small = size <= MAX_TABLE
    kind = np.uint8 if size <= 256 else np.uint16 if small else np.uint64
    patterns = np.empty(voxels, kind)
    args = as_writable(codes), raters, answers, patterns
    _pool.run(_pool.tasks(_patterns, *args, size=voxels))
    if small:
        counts = _histogram(patterns, size)
        met = np.flatnonzero(counts)
        counts = counts[met]
    else:
        met, inverse, counts = np.unique(patterns, return_inverse=True, return_counts=True)
        patterns = inverse
    place = np.array([answers**j for j in range(raters.size)], kind)
    said = (met[:, None].astype(kind) // place % kind(answers)).astype(np.int64)
    truth, prior, confusion, taken = expectation_maximisation(
        said, counts.astype(np.float64), classes, prior, iterations, tolerance
    )
    table = np.zeros((len(out), size if small else len(met)), np.float32)
    table[:, met if small else slice(None)] = truth[-len(out) :]
    _pool.run(_pool.tasks(_look_up, patterns, table, out, size=voxels))
    return prior, confusion, taken


def _histogram(patterns, size):
    """How many voxels have each pattern."""
    slabs = _pool.slabs(patterns.size, max(_pool.SLAB, 4 * size))
    tables = np.zeros((len(slabs), size), np.int64)
    pairs = zip(slabs, tables, strict=True)
    _pool.run([partial(_count, patterns, table, *slab) for slab, table in pairs])
    return tables.sum(0)


def expectation_maximisation(said, counts, classes, prior, iterations, tolerance):
    """STAPLE on patterns: `said` (patterns, raters), each met `counts` times; no answer: `classes`.

    Starts as SimpleITK does: the prior is the raters' mean, every rater is right with probability
    0.99999. Returns P(truth | pattern) as (classes, patterns), prior, confusion matrices
    and iterations. A class without mass keeps perfect raters.
    """
    raters = said.shape[1]
    if prior is None:
        prior = np.array([(counts[:, None] * (said == c)).sum() for c in range(classes)])
        prior = prior / prior.sum() if prior.any() else np.full(classes, 1 / classes)
    eye = np.eye(classes)
    confusion = np.broadcast_to(
        np.where(eye == 1, 0.99999, 1e-5 / max(classes - 1, 1)), (raters, classes, classes)
    ).copy()
    answers = np.ascontiguousarray(said.T)
    truth = _expectation(said, prior, confusion)
    taken = 0
    while taken < iterations:
        taken += 1
        new = confusion.copy()
        for r in range(raters):
            joint = np.zeros((classes, classes + 1))
            _count_together(truth, answers[r], counts, joint)
            joint = joint[:, :classes]  # the last are no answers
            mass = joint.sum(1)
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
        silent = np.zeros((*confusion.shape[:2], 1))
        factors = np.concatenate([np.log(confusion), silent], axis=2)
        log = np.log(prior)[:, None] + sum(factors[r][:, said[:, r]] for r in range(said.shape[1]))
    top = log.max(0)
    odd = ~np.isfinite(top)  # a pattern that no truth explains
    with np.errstate(under="ignore"):
        likelihood = np.exp(log - np.where(odd, 0, top))
    likelihood[:, odd] = prior[:, None]
    return np.ascontiguousarray(likelihood / likelihood.sum(0))  # in one order: compiled once
