"""The values of arrays: whether they are looked at, and what is found then."""

from typing import Any

import numpy as np

from ._loading import load

_SMALL = 1 << 17  # elements that one thread looks through in no time
_checked = False


def check_values(flag: bool) -> None:
    """Say whether values of arrays on a device are checked, as those of NumPy arrays always are.

    By default they are not: a check would wait for the device. NaN in a map then gives a NaN
    threshold and an empty mask, or of "accuracy", whose threshold is always 1/2, a mask without
    that voxel; NaN in a displacement gives `cval` or, in the mode "nearest", the first voxel along
    its axis; a label out of range counts for no class, and votes beyond the raters as theirs. With
    the checks on, each call waits for the device and raises as on the CPU.

    Parameters
    ----------
    flag : bool
        For all threads of the process.

    Raises
    ------
    TypeError
        If `flag` is not a bool.

    Examples
    --------
    >>> import gfnoise
    >>> gfnoise.check_values(True)  # while looking for a mistake
    >>> gfnoise.check_values(False)
    """
    global _checked
    if not isinstance(flag, bool):
        raise TypeError(f"flag must be True or False, got {flag!r}")
    _checked = flag


def readable(array: Any) -> bool:
    """Whether the values of an array are to be looked at."""
    return isinstance(array, np.ndarray) or _checked


def extremes(array: Any) -> tuple[Any, Any]:
    """Smallest and largest value of a non-empty array; NaN if there is any."""
    if not isinstance(array, np.ndarray):
        return array.min().item(), array.max().item()
    if array.size <= _SMALL or not array.flags.c_contiguous:
        return array.min(), array.max()
    values = load("gfnoise._cpu.values")
    least, most = values.extremes(array)
    return least, most


def stranger(codes: Any, classes: int, rule: Any) -> int | None:
    """Index of a code that is neither one of the classes nor to be ignored."""
    largest = int(np.iinfo(codes.dtype).max)
    if not readable(codes) or (classes > largest and not rule.sign):
        return None
    # Of a signed dtype, the codes from the sign bit on are the negative labels.
    limit = codes.dtype.type(min(classes, int(rule.sign)) if rule.sign else classes)
    if not isinstance(codes, np.ndarray):
        strange = codes >= limit
        if rule.has_ignore:
            strange &= codes != rule.ignore
        return int(strange.argmax()) if strange.any() else None
    values = load("gfnoise._cpu.values")
    index: int = values.stranger(codes, limit, rule)
    return None if index < 0 else index
