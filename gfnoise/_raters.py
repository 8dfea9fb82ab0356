"""Labels of several raters: which axis is theirs, what are items and space, who outlined what."""

import math
import operator
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from . import _checks

MOST = 65535
"""Raters at most, where their votes are counted: in two bytes."""


class Stack(NamedTuple):
    """Labels of several raters, (*items, raters, *space)."""

    labels: NDArray[Any]
    items: tuple[int, ...]
    space: tuple[int, ...]
    annotated: NDArray[np.bool_]  # (items, raters), items flattened

    @property
    def raters(self) -> int:
        """How many they are."""
        return int(self.annotated.shape[1])


def stack(
    labels: NDArray[Any],
    axis: object,
    ndim: int | None,
    annotated: ArrayLike | None,
    *,
    least: int = 1,
    name: str = "masks",
) -> Stack:
    """Sort the axes of labels with a rater axis; at least `least` raters per item.

    `ndim` None: all axes but the raters' are space, of at most three.
    """
    number = _axis(axis, labels.ndim, name)
    rest = labels.ndim - 1
    dimensions = _checks.space_axes(f"{name} without the raters' axis", ndim, rest)
    split = rest - dimensions
    moved = np.moveaxis(labels.view(np.ndarray), number, split)
    items, raters, space = moved.shape[:split], moved.shape[split], moved.shape[split + 1 :]
    flags = _annotated(annotated, items, raters)
    fewest = int(flags.sum(1).min(initial=raters))
    if fewest < least:
        count = f"{least} rater{'s' * (least > 1)}"
        whose = "" if annotated is None else " per item that annotated it"
        raise ValueError(f"{name} must be of at least {count}{whose}, got {fewest}")
    return Stack(moved, items, space, flags)


def _axis(axis: Any, axes: int, name: str) -> int:
    """A rater axis of an array, counted from the front."""
    try:
        number = operator.index(axis)
    except TypeError:
        raise TypeError(f"axis must be an integer, got {axis!r}") from None
    if not -axes <= number < axes:
        raise ValueError(f"axis must be one of the {axes} axes of {name}, got {number}")
    if axes < 2:
        raise ValueError(f"{name} must have a rater axis and space, got {axes} axis")
    return number % axes


def _annotated(annotated: ArrayLike | None, items: tuple[int, ...], raters: int) -> NDArray[Any]:
    """Who annotated each item, as bool (items, raters)."""
    shape = (*items, raters)
    if annotated is None:
        return np.ones((math.prod(items), raters), bool)
    flags = _checks.plain("annotated must be of bool", annotated)
    if flags.dtype != bool:
        raise TypeError(f"annotated must be of bool, got {_checks.describe(flags)}")
    if flags.shape != shape:
        raise ValueError(f"annotated must be of shape {shape} (items, raters), got {flags.shape}")
    return flags.reshape(math.prod(items), raters)
