"""How each library is called: one file per library, one function per piece of work.

A function takes the work's arrays, does what a user does once, and returns what is timed: a
function of the seed. Deformations take `volumes` (items, z, y, x) and the `Noise` to match;
volumes of floats are images, interpolated linearly. Item i is drawn from `seed + i`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any


def one_by_one(deform: Callable[[Any, int], Any], items: Sequence[Any]) -> Callable[[int], Any]:
    """For libraries that deform one volume at a time."""
    return lambda seed: [deform(item, seed + i) for i, item in enumerate(items)]
