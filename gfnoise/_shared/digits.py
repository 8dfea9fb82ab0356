"""What a search for thresholds goes by, on the CPU and on a device: digits, and ranks."""

import math
from fractions import Fraction

DIGITS = {4: (10, 10, 10), 8: (10, 10, 10, 10, 10, 6, 6)}
"""Bits of each digit of a map's values, by their bytes, from the top.

They are the 30 and 62 bits of a float in [0, 1], which order as the floats do.
"""

BINS = 1 << 10
"""Values of a digit, at most."""

HALF = 26
"""Bits of the lower half of a remainder; a larger one is summed in two halves."""

NO_RANK = -1
"""Not the value of a rank is searched for, but where the score is largest."""

OF_THE_MASS = -2
"""The rank is the sum of the map, rounded, which the first digit's sums give."""


def rank_of(metric: str, volume: float | None, voxels: int) -> int:
    """Return the rank of the value that is the threshold, the largest being 1.

    Of the metric "volume" it is the number of voxels that are kept: `volume` is their share, None
    stands for that of the map itself.
    """
    if metric != "volume":
        return NO_RANK
    if volume is None:
        return OF_THE_MASS
    return math.floor(Fraction(volume) * voxels + Fraction(1, 2))
