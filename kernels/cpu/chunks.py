"""Thresholds of maps in chunks: the tally of a map is the sum of the tallies of its chunks.

Tallies are integers, whose sum is exact in any order: a threshold has the same bits whatever the
chunks.
"""

import numpy as np

from gfnoise._shared.digits import BINS, DIGITS

from . import _dinkelbach, _maps, thresholding
from ._jit import as_writable

LEAST = _dinkelbach.SMALL
"""Voxels of a map beyond which tallies decide it; up to these, it is one chunk."""

SUMS = 3
"""What is tallied per bin: a count, and a sum in two halves."""

STATE = np.dtype([("prefix", "u8"), ("sums", "f8", (4,)), ("rank", "i8"), ("threshold", "f8")])
"""What is known of a map: the digits so far, the sums above their bin, its rank and threshold."""


def digits(itemsize):
    """How many digits there are to descend through, each of which needs a tally."""
    return len(DIGITS[itemsize])


def _bits(itemsize, digit):
    """Where a digit starts, and how many bits it has."""
    widths = DIGITS[itemsize]
    return sum(widths[digit + 1 :]), widths[digit]


def tally(maps, prefixes, *, digit):
    """Tables (maps, BINS, SUMS) of a chunk (maps, voxels) of float32 or float64 in [0, 1]."""
    shift, width = _bits(maps.itemsize, digit)
    bits = as_writable(maps).view(f"u{maps.itemsize}")
    tables = np.zeros((len(maps), BINS, SUMS), np.int64)
    left = thresholding.every_block(*maps.shape)
    for task in _maps.parts(*maps.shape):
        thresholding.tally_maps(bits, prefixes, shift, width, tables, left, *task)
    return tables


def begin(maps, rank):
    """The states of as many maps before the first digit."""
    states = np.zeros(maps, STATE)
    states["sums"][:, 3] = -1  # not known yet
    states["rank"] = rank
    return states


def descend(tables, states, *, dtype, weight, digit):
    """The states after the digit that the whole maps' tables decide."""
    shift, width = _bits(dtype.itemsize, digit)
    fields = {name: np.ascontiguousarray(states[name]) for name in STATE.names}
    words = np.empty(BINS, f"u{dtype.itemsize}")
    thresholding.descend(
        as_writable(np.ascontiguousarray(tables)),
        fields["prefix"],
        shift,
        width,
        fields["sums"],
        weight,
        fields["rank"],
        fields["threshold"],
        (words, words.view(dtype)),
    )
    after = np.empty_like(states)
    for name, values in fields.items():
        after[name] = values
    return after


def decide_votes(counts, **decision):
    """As `thresholding.decide_votes` but for the ranks: rows of float64, which hold it exactly."""
    *found, _ = thresholding.decide_votes(counts, **decision)
    return np.stack(found, axis=1, dtype=np.float64)
