"""A cache that is bounded by the memory of what it keeps: bases differ in size by thousands."""

from collections.abc import Callable, Hashable, Iterable
from functools import wraps
from typing import TypeVar

import numpy as np

Arrays = TypeVar("Arrays")

ENTRIES = 24
"""Results of a function that are kept at most."""


def kept(most: int) -> Callable[[Callable[..., Arrays]], Callable[..., Arrays]]:
    """Keep the results of a function that were used last, up to `most` bytes of arrays.

    Results are arrays, or tuples or dataclasses of them; arguments are hashable and positional.
    There is no lock, as a forked process would inherit it: threads at worst compute a result twice.
    """

    def decorate(function: Callable[..., Arrays]) -> Callable[..., Arrays]:
        held: dict[Hashable, tuple[int, Arrays]] = {}  # in the order of their use

        @wraps(function)
        def look_up(*key: Hashable) -> Arrays:
            found = held.pop(key, None)
            if found is None:
                result = function(*key)
                found = _bytes(result), result
                room = most - found[0]
                if room < 0:
                    return result
                while len(held) >= ENTRIES or sum(size for size, _ in list(held.values())) > room:
                    held.pop(next(iter(list(held)), None), None)
            held[key] = found
            return found[1]

        return look_up

    return decorate


def _bytes(result: object) -> int:
    """Of all arrays in a result."""
    if isinstance(result, np.ndarray):
        return result.nbytes
    parts: Iterable[object] = result if isinstance(result, tuple) else vars(result).values()
    return sum(map(_bytes, parts))
