"""Where on a grid a field is evaluated."""

import operator
from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Window:
    """The voxels ``start + step * i``, ``i < count``, of a grid of `shape`, per axis."""

    shape: tuple[int, ...]
    start: tuple[int, ...]
    count: tuple[int, ...]
    step: tuple[int, ...]


def whole(shape: Sequence[int]) -> Window:
    """All voxels of a grid."""
    ndim = len(shape)
    return Window(tuple(shape), (0,) * ndim, tuple(shape), (1,) * ndim)


def cut(shape: Sequence[int], slices: object) -> Window:
    """The part of a grid that `slices` selects; ValueError if it is not within the grid."""
    described = f"{len(shape)} slices within the shape {tuple(shape)}"
    if not isinstance(slices, tuple) or len(slices) != len(shape):
        raise ValueError(f"window must be a tuple of {described}, got {slices!r}")
    axes = []
    for size, part in zip(shape, slices, strict=True):
        try:
            start, stop, step = (
                default if value is None else operator.index(value)
                for value, default in ((part.start, 0), (part.stop, size), (part.step, 1))
            )
        except (AttributeError, TypeError):
            raise ValueError(f"window must be a tuple of {described}, got {slices!r}") from None
        start, stop = start + size * (start < 0), stop + size * (stop < 0)
        if not (0 <= start <= stop <= size and step >= 1):
            raise ValueError(f"window must be {described} with steps of at least 1, got {slices!r}")
        step = min(step, max(size, 1))
        axes.append((size, start, -((start - stop) // step), step))
    return Window(*(tuple(column) for column in zip(*axes, strict=True)))
